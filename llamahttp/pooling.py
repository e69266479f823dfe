"""Pooling: from the vectors of an input's tokens to its embedding, and what is done to its length. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .config import Pooling

Vectors = NDArray[np.float32]

NORM_NONE, NORM_MAX = -1, 0
"""Values of `embd_normalize` that stand for no p-norm."""
INT16_RANGE = 32760.0
"""What the largest number becomes with NORM_MAX."""


class Pool:
    """Takes the vectors of an input's tokens, float32[n, n_out], part by part, and gives the embedding."""

    def __init__(self, pooling: Pooling) -> None:
        """`pooling` RANK stands for parts that are pooled already, of which the last is the embedding."""
        self._pooling = pooling
        self._kept: list[Vectors] = []
        self._sum: NDArray[np.float64] | None = None
        self._n = 0

    def add(self, vectors: Vectors) -> None:
        self._n += len(vectors)
        match self._pooling:
            case Pooling.NONE:
                self._kept.append(vectors)
            case Pooling.MEAN:
                total = vectors.sum(axis=0, dtype=np.float64)
                self._sum = total if self._sum is None else self._sum + total
            case Pooling.CLS:
                self._kept = self._kept or [vectors[:1]]
            case Pooling.LAST | Pooling.RANK:
                self._kept = [vectors[-1:]]

    def result(self) -> Vectors:
        """float32[n_vectors, n_out]: one vector, or with NONE those of all tokens."""
        if self._sum is not None:
            return (self._sum / self._n).astype(np.float32)[np.newaxis]
        return np.concatenate(self._kept)


def normalize(vectors: Vectors, norm: int) -> Vectors:
    """Vectors, float32[..., n], scaled as llama-server's `embd_normalize` says: -1 not at all, 0 the largest number to
    the range of int16, p > 0 so that the p-norm is 1. A vector of zeros stays one."""
    if norm == NORM_NONE:
        return vectors
    lengths = _lengths(vectors.astype(np.float64), norm)
    scales = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return vectors * scales.astype(np.float32)


def _lengths(vectors: NDArray[np.float64], norm: int) -> NDArray[np.float64]:
    sizes = np.abs(vectors)
    largest: NDArray[np.float64] = sizes.max(axis=-1, keepdims=True)
    if norm == NORM_MAX:
        return largest / INT16_RANGE
    # relative to the largest, else a high power of it would be infinite or nothing
    safe = np.where(largest > 0, largest, 1.0)
    sums: NDArray[np.float64] = ((sizes / safe) ** norm).sum(axis=-1, keepdims=True)
    return largest * sums ** (1.0 / norm)


def shorten(vectors: Vectors, n_dimensions: int) -> Vectors:
    """The first `n_dimensions` numbers of each vector, which are an embedding too if the model is trained for it."""
    return vectors[..., :n_dimensions]
