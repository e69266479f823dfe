"""Suspects: after a failed decode, which of the requests in the batch is to blame. Pure.

Half of those that may be are computed alone, then half of those that failed again, until one is left or all have come
further than they were. Engine thread only.
"""

from __future__ import annotations

from collections.abc import Sequence

from .slot import Slot


class Suspects:
    """Slots that were in a batch that failed, each with how far it had come then."""

    def __init__(self) -> None:
        self._n_past: dict[Slot, int] = {}

    def blame(self, in_batch: Sequence[Slot]) -> Slot | None:
        """A batch of these has failed. Returns the culprit once there is only one; else they are the suspects."""
        if len(in_batch) == 1:
            return in_batch[0]
        self._n_past = {slot: slot.n_past for slot in in_batch}
        return None

    def choose(self, active: list[Slot]) -> list[Slot]:
        """Those of `active` that the next step may compute."""
        suspects = [slot for slot in active if slot in self._n_past] if self._n_past else []
        return suspects[: (len(suspects) + 1) // 2] or active

    def acquit(self, slot: Slot) -> None:
        """A slot was computed. It is cleared once it has come further than it was."""
        if self._n_past and slot.n_past > self._n_past.get(slot, slot.n_past):
            del self._n_past[slot]

    def drop(self, slot: Slot) -> None:
        """A slot has ended its task."""
        self._n_past.pop(slot, None)
