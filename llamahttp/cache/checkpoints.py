"""Checkpoints: ways back for memory that cannot be cut, under limits of number and bytes. Engine thread only."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection

import numpy as np

from ..abc import Decoder
from ..errors import EngineError
from .sequence import Sequence
from .snapshot import Checkpoint

log = logging.getLogger(__name__)


class Checkpoints:
    """Makes and drops the checkpoints of all sequences."""

    def __init__(self, decoder: Decoder, n_most: int, most_bytes: int | None) -> None:
        """`n_most` of a sequence, and `most_bytes` of all; None is no limit."""
        self._decoder = decoder
        self._n_most = n_most
        self._most_bytes = most_bytes

    def make(self, sequence: Sequence, sequences: Collection[Sequence]) -> None:
        """Keep a way back to where a sequence is now; `sequences` are all that there are."""
        if self._n_most == 0 or any(known.n_tokens == sequence.n_past for known in sequence.checkpoints):
            return
        try:
            state = self._decoder.save(sequence.id, partial=True)
        except EngineError as error:  # it only was to save work later
            log.warning("sequence %d | no checkpoint at %d tokens: %s", sequence.id, sequence.n_past, error)
            return
        sequence.checkpoints.append(Checkpoint(sequence.n_past, state))
        self.limit(sequences)

    def limit(self, sequences: Collection[Sequence]) -> None:
        """Drop what is beyond the limits, of the sequences used longest ago first. Copies share bytes."""
        for sequence in sequences:
            while len(sequence.checkpoints) > self._n_most:
                del sequence.checkpoints[closest(sequence.checkpoints)]
        if self._most_bytes is None:
            return
        states = [checkpoint.state for sequence in sequences for checkpoint in sequence.checkpoints]
        n_users = Counter(map(id, states))
        n_bytes = sum(len(state) for state in {id(state): state for state in states}.values())
        for sequence in sorted(sequences, key=lambda sequence: (sequence.is_busy, sequence.last_used)):
            while n_bytes > self._most_bytes and sequence.checkpoints:
                state = sequence.checkpoints.pop(closest(sequence.checkpoints)).state
                n_users[id(state)] -= 1
                if n_users[id(state)] == 0:
                    n_bytes -= len(state)


def closest(checkpoints: list[Checkpoint]) -> int:
    """The index of the checkpoint that is missed least: the one nearest behind its predecessor, never the last."""
    places = [0, *(checkpoint.n_tokens for checkpoint in checkpoints)]
    gaps = [places[i + 1] - places[i] for i in range(len(checkpoints) - 1)]
    return int(np.argmin(gaps)) if gaps else 0
