"""Sequence: what the context's memory holds under one sequence id, running or kept for a prompt that begins alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .snapshot import Checkpoint, Namespace

NO_TOKENS: NDArray[np.int32] = np.zeros(0, np.int32)
NOWHERE = Namespace()


class Sequence:
    """Tokens in memory.

    tokens        [0 .......................... n_past)     evaluated; the array may hold more
    checkpoints        x        x                           where a memory that cannot be cut can be taken back to
    stored        [0 ...... n_stored)                       was put into the store, which may have dropped it since
    """

    def __init__(self, id_seq: int) -> None:
        self.id = id_seq
        self.tokens = NO_TOKENS
        """int32[>= n_past]; the slot's own array while one runs here."""
        self.n_past = 0
        self.n_prompt = 0
        """Tokens that the index knows: the prompt while a slot runs here, everything between tasks."""
        self.namespace = NOWHERE
        self.checkpoints: list[Checkpoint] = []
        self.n_stored = 0
        self.block_keys: list[str] = []
        """What the store calls its first blocks, as far as that was asked for."""
        self.is_refused = False
        """The store had no room for more of it."""
        self.is_busy = False
        self.id_slot = -1
        """The slot that runs here, or did last."""
        self.last_used = -1.0

    @property
    def is_empty(self) -> bool:
        return self.n_past == 0 and not self.is_busy

    @property
    def is_cached(self) -> bool:
        """Kept for the next prompt only."""
        return self.n_past > 0 and not self.is_busy

    @property
    def is_coming(self) -> bool:
        """More of what the index knows is just being computed."""
        return self.is_busy and self.n_past < self.n_prompt

    def last_checkpoint(self, n: int) -> Checkpoint | None:
        """The last one that covers at most `n` tokens."""
        return max((c for c in self.checkpoints if c.n_tokens <= n), key=lambda c: c.n_tokens, default=None)
