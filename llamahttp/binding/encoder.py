"""Encoder: what stands in for a decoder where the model has none; implements `abc.Decoder`.

Embedding models and rerankers have no memory to continue a text from. Their server has slots like any other, but no
task ever comes to them: the engine refuses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .llama_batch import LlamaBatch
from .llama_context import ContextSizes


class NoDecoder:
    """A context without memory, in which nothing is ever decoded."""

    can_cut = can_shift = True
    n_cells = 0
    n_tile = 1
    fingerprint = "encoder"

    def __init__(self, sizes: ContextSizes) -> None:
        self.n_ctx = self.n_ctx_seq = sizes.n_ctx
        self.n_batch, self.n_ubatch, self.n_seq_max = sizes.n_batch, sizes.n_ubatch, sizes.n_seq_max
        self.kv_unified = sizes.kv_unified
        self.batch = LlamaBatch(1, sizes.n_seq_max)

    def decode(self, n_rows: int) -> None:
        """Only a warm-up comes here."""

    def logits(self, n_outputs: int) -> NDArray[np.float32]:
        raise AssertionError("an encoder has no logits")

    def remove(self, id_seq: int, start: int, stop: int = -1) -> bool:
        return True

    def least_cut(self, id_seq: int) -> int:
        return 0

    def copy(self, source: int, target: int) -> None:
        """All sequences are empty."""

    def append(self, source: int, target: int) -> None:
        """All sequences are empty."""

    def shift(self, id_seq: int, start: int, stop: int, delta: int) -> None:
        """All sequences are empty."""

    def saved_size(self, id_seq: int) -> int:
        return 0

    def save(self, id_seq: int, *, partial: bool = False) -> bytes:
        return b""

    def restore(self, id_seq: int, state: bytes, *, partial: bool = False) -> bool:
        return False

    def set_adapters(self, adapters: Sequence[tuple[int, float]]) -> None:
        """They are the embedder's."""

    def set_samplers(self, samplers: Mapping[int, object]) -> None:
        """There is nothing to sample."""

    def sampled(self, ids: Sequence[int]) -> list[int | None]:
        return []

    def rebuild(self) -> None:
        """There is nothing that could break."""

    def close(self) -> None:
        """There is nothing to free."""
