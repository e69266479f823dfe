"""The context of a command line that leaves its size open: as large for each slot as llama-server makes it."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from . import servers

NO_ROOM = ("--fit-target", "10000000")
"""More memory is to stay free than there is."""

FLAGS: list[tuple[str, ...]] = [
    (),
    ("-np", "2"),
    ("-np", "2", "-kvu"),
    ("-np", "3", "-c", "0"),
    ("-np", "2", "--fit", "off"),
    ("-c", "0", "-np", "3", "--fit", "off"),
    ("-np", "2", "-c", "300"),
    ("--kv-unified-per-slot", "96"),
    (*NO_ROOM, "-np", "2", "--fit-ctx", "256"),
    (*NO_ROOM, "--fit-ctx", "256"),
    (*NO_ROOM, "-np", "3"),
    (*NO_ROOM, "--fit-ctx", "256", "-c", "0"),
    (*NO_ROOM, "-c", "512", "--fit-ctx", "256"),
]


def contexts(url: str) -> list[int]:
    """The context of each slot."""
    with urllib.request.urlopen(f"{url}/slots", timeout=60) as response:
        return [slot["n_ctx"] for slot in json.load(response)]


@pytest.mark.parametrize(
    "text",
    [
        "[*]\nctx-size = 512 ; a comment\nLLAMA_ARG_N_PARALLEL=2\n",
        "ctx-size = 512\n[other]\nctx-size = 1024\n",
        "[default]\nc = 768\n[*]\nctx-size = 512\nparallel = 3\nfor-another-program = 1\n",
    ],
)
def test_files_of_settings(llama_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "llama.cpp").mkdir()
    (tmp_path / "llama.cpp" / "config.ini").write_text(text)
    with servers.pair(llama_gguf, tmp_path / "log", (), servers.BARE) as both:
        assert contexts(both.ours) == contexts(both.reference)


@pytest.mark.parametrize("flags", FLAGS, ids=" ".join)
def test_slots_have_the_same_context(llama_gguf: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    with servers.pair(llama_gguf, tmp_path / "log", flags, servers.BARE) as both:
        assert contexts(both.ours) == contexts(both.reference)
