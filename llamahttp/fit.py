"""Fit: how large a context is whose size nobody chose, so that memory has room for it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

ALIGNMENT = 256
"""Cells of a context come in multiples of so many."""


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes that a memory has for the context, and the share (0..1) of the context that lies there."""

    n_bytes: int
    share: float


def fitted(whole: int, least: int, n_streams: int, token_bytes: float, rooms: Iterable[Room]) -> int:
    """Tokens of a context: `whole` if the rooms hold it, else the most that they do, but `least` at any rate.

    `n_streams`: the caches that it is divided into; `token_bytes`: what one token takes.
    """
    most = min((room.n_bytes / (room.share * token_bytes) for room in rooms if room.share * token_bytes), default=whole)
    if most >= whole:
        return whole
    step = ALIGNMENT * n_streams
    return max(int(most) // step * step, min(least, whole))
