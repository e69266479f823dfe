"""Contexts and steps over them, for the tests of the decoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from llamahttp.binding.decoder import LlamaDecoder
from llamahttp.binding.llama_context import ContextSizes

CONFIG = ContextSizes(
    n_ctx=1024, n_seq_max=4, n_batch=256, n_ubatch=64, n_threads=1, n_threads_batch=1, kv_unified=True
)
SEPARATE = replace(CONFIG, kv_unified=False)
WINDOWED = replace(CONFIG, n_ctx=4096, swa_full=False)

TOLERANCE = 0.02
"""Of logits that differ by about 2 from token to token. How rows share batches decides in which order floats are added,
and the cache rounds to f16; one token more, less or at another place changes every logit by far more."""

MakeDecoder = Callable[..., LlamaDecoder]


def text(n: int, seed: int = 0) -> NDArray[np.int32]:
    """Random tokens of the tiny vocabularies."""
    return np.random.default_rng(seed).integers(300, 1100, n).astype(np.int32)


def fill(decoder: LlamaDecoder, row: int, tokens: NDArray[np.int32], start: int, id_seq: int, *, output: bool) -> int:
    """Write rows for `tokens` at positions from `start`; logits for the last. Returns the next row."""
    batch, stop = decoder.batch, row + len(tokens)
    batch.tokens[row:stop] = tokens
    batch.positions[row:stop] = np.arange(start, start + len(tokens))
    batch.outputs[row:stop] = 0
    batch.outputs[stop - 1] = output
    batch.set_sequence(row, stop, id_seq)
    return stop


def prefill(decoder: LlamaDecoder, tokens: NDArray[np.int32], start: int = 0, id_seq: int = 0) -> NDArray[np.float32]:
    """Decode `tokens` from position `start` on. Returns the logits after the last, float32[n_vocab]."""
    for at in range(0, len(tokens), decoder.n_batch):
        part = tokens[at : at + decoder.n_batch]
        decoder.decode(fill(decoder, 0, part, start + at, id_seq, output=True))
    return decoder.logits(1)[0].copy()


def assert_same(ours: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    assert np.abs(ours - expected).max() < TOLERANCE


def greedy(
    decoder: LlamaDecoder, tokens: NDArray[np.int32], start: int = 0, id_seq: int = 0, n: int = 8
) -> tuple[list[int], NDArray[np.float32]]:
    """Decode `tokens` from position `start` on, and then the `n` most likely ones: these, and the last logits."""
    found: list[int] = []
    logits = prefill(decoder, tokens, start, id_seq)
    for at in range(start + len(tokens), start + len(tokens) + n):
        found.append(int(logits.argmax()))
        logits = prefill(decoder, np.array(found[-1:], np.int32), at, id_seq)
    return found, logits
