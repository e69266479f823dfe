"""Chunks: parts of an old text that a new one has elsewhere (`--cache-reuse`). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .radix import common_prefix


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens [start, start + length) of the old text, which stand at `to` in the new one."""

    start: int
    to: int
    length: int


def equal_chunks(old: NDArray[np.int32], new: NDArray[np.int32], n: int, n_min: int) -> Iterator[Chunk]:
    """Parts of `old` that continue `new` from `n` on, each at least `n_min` long, in order."""
    start = n
    while n + n_min <= len(new):
        found = _find(old, new[n : n + n_min], start)
        if found is None:
            return
        length = common_prefix(old[found:], new[n:])
        yield Chunk(found, n, length)
        start, n = found + length, n + length


def _find(old: NDArray[np.int32], part: NDArray[np.int32], start: int) -> int | None:
    """Where `part` first stands in old[start:]."""
    places = np.arange(start, len(old) - len(part) + 1)
    for i, token in enumerate(part):
        if len(places) == 0:
            return None
        places = places[old[places + i] == token]
    return int(places[0]) if len(places) else None
