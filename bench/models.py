"""Models for the cases: one writer an architecture, random weights, made anew for every run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf

from bench.errors import BenchError
from bench.tiny_model import Shape, write_model

DENSE = Shape(n_ctx=131_072)
"""Two layers, 32k tokens, 37 MB: the prompt of the cases takes seconds, and a unified pool may be large."""
SMALL = Shape(n_layers=2, d_model=64, n_heads=4, n_heads_kv=2, n_vocab=1_200, n_ctx=65_536)
"""Loads in milliseconds; for a quick look."""
OTHERS = Shape(n_layers=4, d_model=256, n_heads=4, n_heads_kv=2, n_vocab=8_000, n_ctx=32_768)
WINDOW = 128
"""Tokens of the sliding window: less than a turn of the dialogues."""


def n_vocab_of(path: Path) -> int:
    """Tokens in the vocabulary of a GGUF. BenchError when it is none."""
    try:
        return len(gguf.GGUFReader(path).fields["tokenizer.ggml.tokens"].data)
    except (ValueError, KeyError) as error:
        raise BenchError(f"{path} is no model with a vocabulary: {error}") from None


class NoModelError(BenchError):
    """There is no writer for an architecture."""


Writer = Callable[[Path, bool], None]
"""Writes the model to the path; a small one if true."""


def write_dense(path: Path, small: bool) -> None:
    write_model(path, SMALL if small else DENSE)


def other(name: str, **sizes: int) -> Writer:
    """A writer of `tests.models`, which knows the architectures that only tests and cases need."""

    def write(path: Path, small: bool) -> None:
        from tests import models  # here: the rest of the benchmark runs without the tests

        writer = getattr(models, name, None)
        if writer is None:
            raise NoModelError(f"tests/models.py has no {name}")
        shape = replace(SMALL if small else OTHERS, weights="f32")
        writer(path, shape, **sizes)

    return write


WRITERS: dict[str, Writer] = {
    "dense": write_dense,
    "swa": other("write_gemma3", window=WINDOW),
    "recurrent": other("write_mamba"),
    "hybrid": other("write_lfm2"),
}
