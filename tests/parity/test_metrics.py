"""Metrics: llama-server's series are ours too, under their names, and count the same."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

from . import servers

SPEEDS = {"llamacpp:prompt_tokens_seconds", "llamacpp:predicted_tokens_seconds"}
TIMES = {"llamacpp:prompt_seconds_total", "llamacpp:tokens_predicted_seconds_total"}
DIFFER = {
    # ours shares a prompt's first tokens in steps of its own
    "llamacpp:n_decode_total",
    "llamacpp:n_busy_slots_per_decode",
}


def scrape(url: str) -> tuple[dict[str, float], str]:
    """llama-server's series and the content type."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as response:
        text, content_type = response.read().decode(), response.headers["Content-Type"]
        assert int(response.headers["Process-Start-Time-Unix"]) > 0
    # as they are written: llama-server calls n_tokens_max a counter, and a parser would then call it ..._total
    return {name: float(value) for name, value in re.findall(r"^(llamacpp:\w+) (\S+)$", text, re.M)}, content_type


def test_the_reference_s_series_count_the_same(llama_gguf: Path, tmp_path: Path) -> None:
    with servers.pair(llama_gguf, tmp_path / "log", ["--metrics"]) as pair:
        for _ in range(2):
            pair.both(prompt="once upon a time there was", n_predict=8, temperature=0, ignore_eos=True)
        (ours, our_type), (theirs, their_type) = scrape(pair.ours), scrape(pair.reference)
    assert theirs.keys() - ours.keys() == set()
    assert our_type.startswith(their_type.split(";")[0])
    for name in theirs.keys() - SPEEDS - TIMES - DIFFER:
        assert ours[name] == theirs[name], name
    for name in TIMES | SPEEDS:
        assert (ours[name] > 0) == (theirs[name] > 0), name
