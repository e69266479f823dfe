"""Models for the cases: random weights in real shapes, made anew for every run.

python -m bench.models 8b llama-8b.gguf      # to keep one
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf

from bench.errors import BenchError
from bench.quantized import write_quantized
from bench.tiny_model import Shape, write_model

DENSE = Shape(n_ctx=131_072)
"""Two layers, 32k tokens, 37 MB: the prompt of the cases takes seconds, and a unified pool may be large."""
LARGE_VOCABULARY = Shape(n_ctx=131_072, n_vocab=131_072, tokenizer="bpe")
"""The same layers and 128k tokens, 141 MB: choosing a token costs as much as it does with today's models."""
LLAMA_8B = Shape(
    n_layers=32,
    d_model=4_096,
    n_heads=32,
    n_heads_kv=8,
    n_ff=14_336,
    n_vocab=128_256,
    n_ctx=131_072,
    tokenizer="bpe",
)
"""The sizes of Llama 3 8B, 4.9 GB in Q4_K, for a GPU."""
MINI_LM = Shape(n_layers=6, d_model=384, n_heads=12, n_heads_kv=12, n_ff=1536, n_vocab=30_000, n_ctx=512, weights="f32")
"""The sizes of all-MiniLM-L6."""
SMALL = Shape(n_layers=2, d_model=64, n_heads=4, n_heads_kv=2, n_vocab=1_200, n_ctx=65_536)
"""Loads in milliseconds and takes 256 bytes of cache a token."""
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
    """There is no writer for a model."""


Writer = Callable[[Path, bool], None]
"""Writes the model to the path; a small one if true."""


def llama(shape: Shape) -> Writer:
    """A writer of a llama in f16."""

    def write(path: Path, small: bool) -> None:
        write_model(path, SMALL if small else shape)

    return write


def quantized(shape: Shape) -> Writer:
    """A writer of a llama in Q4_K."""

    def write(path: Path, small: bool) -> None:
        write_quantized(path, replace(SMALL, d_model=256) if small else shape)

    return write


def other(name: str, shape: Shape = OTHERS, **sizes: int) -> Writer:
    """A writer of `tests.models`, which knows the architectures that only tests and cases need."""

    def write(path: Path, small: bool) -> None:
        from tests import models  # here: the rest of the benchmark runs without the tests

        writer = getattr(models, name, None)
        if writer is None:
            raise NoModelError(f"tests/models.py has no {name}")
        writer(path, replace(SMALL if small and shape is OTHERS else shape, weights="f32"), **sizes)

    return write


WRITERS: dict[str, Writer] = {
    "dense": llama(DENSE),
    "128k": llama(LARGE_VOCABULARY),
    "8b": quantized(LLAMA_8B),
    "small": llama(SMALL),
    "encoder": other("write_bert", MINI_LM),
    "swa": other("write_gemma3", window=WINDOW),
    "recurrent": other("write_mamba"),
    "hybrid": other("write_lfm2"),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write a model with random weights.")
    parser.add_argument("name", choices=WRITERS)
    parser.add_argument("path", type=Path, help="the GGUF to write")
    args = parser.parse_args(argv)
    try:
        WRITERS[args.name](args.path, False)
    except OSError as error:
        print(f"cannot write {args.path}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
