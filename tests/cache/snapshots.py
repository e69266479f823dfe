"""Snapshots to store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from llamahttp.cache.snapshot import Checkpoint, Namespace, Snapshot

MODEL = "a model"
NAMESPACE = Namespace()


def tokens(ids: Iterable[int]) -> NDArray[np.int32]:
    return np.array(list(ids), np.int32)


def snapshot(
    ids: Sequence[int],
    size: int = 1000,
    checkpoints: Sequence[int] = (),
    namespace: Namespace = NAMESPACE,
    after: Snapshot | None = None,
) -> Snapshot:
    """One of `size` bytes of state, which depends on the tokens; `after` another one, if that is given."""
    start = 0 if after is None else after.start + len(after.tokens)
    state = (bytes([sum(ids) % 256, start % 256]) * size)[:size]
    parts = tuple(Checkpoint(n, b"part") for n in checkpoints)
    return Snapshot(namespace, tokens(ids), start, state, parts, "" if after is None else after.key)


def chain(n: int) -> list[Snapshot]:
    """Snapshots of one token each, of which each continues the one before."""
    pieces = [snapshot([0])]
    while len(pieces) < n:
        pieces.append(snapshot([len(pieces)], after=pieces[-1]))
    return pieces
