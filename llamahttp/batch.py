"""Batch: the rows of a step, written where libllama reads them. Engine thread only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .abc import Batch
from .schedule import PromptPart
from .slot import Slot


class BatchWriter:
    """Fills the one batch of a decoder. In steady generation only tokens and positions change from step to step."""

    def __init__(self, batch: Batch, slots: Sequence[Slot]) -> None:
        self._batch = batch
        self._slots = slots
        self._rows_of: tuple[int, ...] = ()  # the sequences whose rows stand in the batch from the step before

    def fill(self, generating: Sequence[Slot], parts: Sequence[PromptPart]) -> int:
        """Write a row for each generating slot, then the parts of prompts. Returns the number of rows."""
        batch, n = self._batch, len(generating)
        # rows of generating slots: [0 .. n), then one range a prompt part
        sequences = [slot.sequence for slot in generating if slot.sequence is not None]
        batch.tokens[:n] = [slot.last_token for slot in generating]
        batch.positions[:n] = [sequence.n_past for sequence in sequences]
        ids = tuple(sequence.id for sequence in sequences)
        if ids != self._rows_of:
            batch.outputs[:n] = 1
            for row, id_seq in enumerate(ids):
                batch.set_sequence(row, row + 1, id_seq)
        for part in parts:
            n = self._fill_part(part, n)
        self._rows_of = () if parts else ids
        return n

    def _fill_part(self, part: PromptPart, start: int) -> int:
        """Write a part of a prompt into rows [start, stop); returns `stop`."""
        batch, slot, stop = self._batch, self._slots[part.id_slot], start + part.n_take
        assert slot.sequence is not None, "a slot without a place in memory was planned"
        n_past = slot.n_past
        batch.tokens[start:stop] = slot.tokens[n_past : n_past + part.n_take]
        batch.positions[start:stop] = np.arange(n_past, n_past + part.n_take)
        batch.outputs[start:stop] = 0
        batch.outputs[stop - 1] = part.is_last and slot.wants_tokens
        batch.set_sequence(start, stop, slot.sequence.id)
        return stop
