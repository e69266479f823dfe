"""Sampling within libllama's graph: the tokens that llama-server samples there, and those of the host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import servers
from .servers import Pair, complete

PROMPT = "Once upon a time there was"

SAMPLING: list[dict[str, Any]] = [
    {"temperature": 0},
    {},
    {"top_k": 0},
    {"top_k": 0, "top_p": 1.0, "min_p": 0},
    {"top_p": 0.3},
    {"repeat_penalty": 1.5},
    {"presence_penalty": 1.2, "frequency_penalty": 0.5},
    {"logit_bias": [[700, 6.0], [701, False]]},
    {"ignore_eos": True},
    {"typical_p": 0.5},
    {"grammar": 'root ::= "a" [a-z ]+'},
    {"n_probs": 3},
]


@pytest.fixture(scope="module")
def pair(llama_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with servers.pair(llama_gguf, tmp_path_factory.mktemp("backend") / "log", ["--backend-sampling"]) as both:
        yield both


@pytest.mark.parametrize("sampling", SAMPLING, ids=str)
def test_the_same_tokens(pair: Pair, sampling: dict[str, Any]) -> None:
    ours, reference = pair.both(prompt=PROMPT, seed=42, **sampling)
    assert ours["tokens"] == reference["tokens"]
    assert ours["generation_settings"]["backend_sampling"] is True
    assert complete(pair.ours, prompt=PROMPT, seed=42, backend_sampling=False, **sampling)["tokens"] == ours["tokens"]
