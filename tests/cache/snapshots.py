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
    start: int = 0,
    size: int = 1000,
    checkpoints: Sequence[int] = (),
    namespace: Namespace = NAMESPACE,
) -> Snapshot:
    """One of `size` bytes of state, which depends on the tokens."""
    state = (bytes([sum(ids) % 256, start % 256]) * size)[:size]
    return Snapshot(namespace, tokens(ids), start, state, tuple(Checkpoint(n, b"part") for n in checkpoints))
