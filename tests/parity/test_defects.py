"""Two stories of llama-server's users, told to both servers: there the answer changes, here it does not."""

from __future__ import annotations

import json
import threading
import urllib.request
from pathlib import Path
from typing import Any

from tests import models

from .servers import complete, pair
from .test_tokens import assert_same_but_for_rounding

PROBS = {"temperature": 0, "n_probs": 5, "ignore_eos": True}


def test_a_plain_request_after_one_with_a_lora(llama_gguf: Path, tmp_path: Path) -> None:
    """llama-server goes on from what it computed with the adapter."""
    lora = models.write_lora(tmp_path / "lora.gguf")
    request = {"prompt": [300 + i % 400 for i in range(200)], "id_slot": 0, "n_predict": 8, **PROBS}
    plain, adapted = [{"id": 0, "scale": 0.0}], [{"id": 0, "scale": 1.0}]
    with pair(llama_gguf, tmp_path / "log", ["--lora-scaled", f"{lora}:0"]) as both:
        for url, is_right in ((both.ours, True), (both.reference, False)):
            clean = complete(url, **request, lora=plain)
            complete(url, **request, lora=adapted, cache_prompt=True)
            after = complete(url, **request, cache_prompt=True)
            assert is_same(after, clean) == is_right


def is_same(answer: dict[str, Any], expected: dict[str, Any]) -> bool:
    try:
        assert_same_but_for_rounding(answer, expected)
    except AssertionError:
        return False
    return True


def test_a_request_pinned_to_a_busy_slot(llama_gguf: Path, tmp_path: Path) -> None:
    """llama-server replaces the running one's memory by what it has cached for the other."""
    first, second, third = ([start + i % 300 for i in range(n)] for start, n in ((300, 300), (500, 500), (700, 400)))
    running = {"prompt": first, "id_slot": 0, "n_predict": 400, **PROBS}
    with pair(llama_gguf, tmp_path / "log", ["--cache-ram", "64"]) as both:
        for url, is_right in ((both.ours, True), (both.reference, False)):
            clean = complete(url, **running)
            for prompt in (second, third):  # which drives the second one out into RAM
                complete(url, prompt=prompt, id_slot=0, cache_prompt=True, n_predict=1, temperature=0)
            disturbed, other = complete_while(url, running, {"prompt": [*second, 900], "id_slot": 0, "n_predict": 1})
            assert is_same(disturbed, clean) == is_right
            assert len(other["tokens"]) == 1


def complete_while(url: str, running: dict[str, Any], other: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The answer to `running`, and to `other`, which was sent when the first token of it had come."""
    body = {"return_tokens": True, "cache_prompt": True, "stream": True, **running}
    request = urllib.request.Request(
        f"{url}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    answers: list[dict[str, Any]] = []
    ask_other = threading.Thread(target=lambda: answers.append(complete(url, **other, cache_prompt=True)))
    tokens: list[int] = []
    probabilities: list[Any] = []
    with urllib.request.urlopen(request, timeout=120) as response:
        for line in response:
            if line.startswith(b"data: {"):
                event = json.loads(line[6:])
                tokens += event.get("tokens", [])
                probabilities += event.get("completion_probabilities", [])
                if len(tokens) == 1 and not ask_other.is_alive() and not answers:
                    ask_other.start()
    ask_other.join()
    return {"tokens": tokens, "completion_probabilities": probabilities}, answers[0]
