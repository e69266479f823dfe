"""A fake of `abc.Embedder`, exact about what a real context of embeddings demands."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llamahttp.abc import BatchError, InputPart
from llamahttp.config import Pooling
from llamahttp.errors import EngineError


class FakeEmbedder:
    """Of a token the vector is (its id, its position, 1), pooled as a model without memory would, or not at all."""

    n_out = 3

    def __init__(
        self,
        pooling: Pooling = Pooling.MEAN,
        n_ctx: int = 256,
        n_batch: int = 64,
        n_seq_max: int = 9,
        *,
        takes_parts: bool = True,
        log: list[str] | None = None,
    ) -> None:
        self.pooling, self.takes_parts = pooling, takes_parts
        self.pools = pooling is Pooling.RANK or (pooling is not Pooling.NONE and not takes_parts)
        self.n_ctx, self.n_batch, self.n_seq_max = n_ctx, n_batch, n_seq_max
        self.batches: list[list[int]] = []
        """Of every decode how many tokens each part had."""
        self.log = log if log is not None else []
        """`embed` for every decode; a decoder may write its own steps into the same list."""
        self.errors: list[Exception] = []
        """Raised by the next decodes, one each."""
        self.poison: int | None = None
        """A token that no batch survives."""
        self.not_numbers: int | None = None
        """A token whose vector is not numbers."""
        self.step_seconds = 0.0
        self.reserved = n_batch
        self.refuses_over: int | None = None
        """Inputs longer than this find no memory."""
        self.n_past: dict[int, int] = {}
        """Of each sequence how many tokens it holds."""
        self.n_rebuilt = 0
        self.adapters: list[tuple[tuple[int, float], ...]] = []
        """What `set_adapters` was called with."""
        self.closed = False

    def set_adapters(self, adapters: Sequence[tuple[int, float]]) -> None:
        self.adapters.append(tuple(adapters))

    def reserve(self, n_tokens: int) -> None:
        assert n_tokens <= self.n_ctx, "a longer input was not refused"
        if self.refuses_over is not None and n_tokens > self.refuses_over:
            raise EngineError(f"no memory for {n_tokens} tokens")
        if n_tokens > self.reserved:
            assert not self.n_past, "what the sequences hold is lost"
            self.reserved = n_tokens

    def decode(self, parts: Sequence[InputPart]) -> list[NDArray[np.float32]]:
        n_rows = sum(len(part.tokens) for part in parts)
        assert 0 < n_rows <= self.n_batch or (len(parts) == 1 and not self.takes_parts), "too large a batch"
        assert len({part.id_seq for part in parts}) == len(parts), "two parts of one sequence"
        assert max(part.id_seq for part in parts) < self.n_seq_max, "too many sequences"
        self.batches.append([len(part.tokens) for part in parts])
        self.log.append("embed")
        time.sleep(self.step_seconds)
        try:
            if self.errors:
                raise self.errors.pop(0)
            if any(self.poison in part.tokens for part in parts if self.poison is not None):
                raise BatchError("Compute error.", fatal=True)
        except BatchError:
            for part in parts:
                self.forget(part.id_seq)
            raise
        return [self._compute(part) for part in parts]

    def _compute(self, part: InputPart) -> NDArray[np.float32]:
        n = len(part.tokens)
        assert part.start == self.n_past.get(part.id_seq, 0), "a part that does not continue its input"
        assert self.takes_parts or part.start == 0, "an input in parts"
        assert part.start + n <= self.reserved, "no room was reserved"
        self.n_past[part.id_seq] = part.start + n
        rows = np.stack([part.tokens, np.arange(part.start, part.start + n), np.ones(n)], axis=1).astype(np.float32)
        if self.not_numbers is not None:
            rows[part.tokens == self.not_numbers] = np.nan
        return rows.mean(axis=0, keepdims=True) if self.pools else rows

    def forget(self, id_seq: int) -> None:
        self.n_past.pop(id_seq, None)

    def rebuild(self) -> None:
        self.n_rebuilt += 1
        self.n_past.clear()

    def close(self) -> None:
        self.closed = True
