"""Placement: tasks get their places in memory, wait for them, and lose them. Engine thread only.

A task that was launched waits until the cache has been asked what there is of its tokens: for a prefix that another
slot is computing, for the disk, or for cells. One that is preempted comes back here with all that it knows.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from .abc import Decoder
from .cache.resident import NOTHING, Match, ResidentCache
from .errors import EngineError
from .schedule import Tiling
from .slot import Slot, Wanted
from .task import Miss, SlotState

log = logging.getLogger(__name__)

HEADROOM = 64
"""Cells that each running task can still take before a further one is admitted to a crowded pool."""

FAR = 1024
"""Tokens behind which attention costs more than all else, so that it matters how many rows it computes at once."""

LAST_TURN = 64
"""A checkpoint this near the end of a prompt makes one at its very end superfluous."""


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of waiting tasks: those that begin now, and those whose memory could not be filled."""

    begun: list[Slot] = field(default_factory=list)
    failed: list[tuple[Slot, EngineError]] = field(default_factory=list)


class Placement:
    """Decides over the sequences of a cache; the slots are its caller's."""

    def __init__(self, decoder: Decoder, cache: ResidentCache, slots: list[Slot], checkpoint_min_step: int) -> None:
        self._decoder = decoder
        self._cache = cache
        self._slots = slots
        self._checkpoint_step = max(checkpoint_min_step, decoder.n_batch)  # a part of a prompt ends at each
        self.is_short = False
        """A decode found no cells although there should have been some: nobody joins until a task has ended."""
        self.n_preempted = 0

    def place_waiting(self, running: Collection[Slot]) -> Placed:
        """Give waiting tasks their sequences, by rank and as far as there is room."""
        placed = Placed()
        for slot in running:
            slot.wanted = None
        waiting = [slot for slot in running if slot.state is SlotState.WAITING]
        is_reading = False
        n_least = self._least_part(running)
        for slot in sorted(waiting, key=lambda slot: slot.rank):
            found = self._find(slot, n_least)
            slot.is_loading = False
            if found.coming is not None:
                self._wait_for(slot, found)
            elif is_reading and found.pieces:
                slot.is_loading = True  # one after the other: what was read fills RAM until it is placed
            elif not self._admit(slot, found, running):
                break  # what comes later must not slip past it again and again
            elif not self._cache.load(found):
                slot.is_loading = is_reading = True
            else:
                self._place(slot, found, placed)
        return placed

    def _least_part(self, running: Collection[Slot]) -> int:
        """Tokens of a far prompt that take no longer than fewer do."""
        decoder = self._decoder
        n_generating = sum(slot.state is SlotState.GENERATING for slot in running)
        tiling = Tiling.beside(n_generating, decoder.n_tile, decoder.n_ubatch, decoder.n_batch)
        return 1 if tiling is None else tiling.least

    def _find(self, slot: Slot, n_least: int) -> Match:
        """What there is of a prompt; less, should fewer than `n_least` tokens be left to compute: that takes longer."""
        if not slot.task.cache_prompt:
            return NOTHING
        found = self._cache.match(slot.namespace, slot.tokens[: slot.n_reusable])
        n_left = slot.n_tokens - max(found.n_found, found.n_common)
        if self._decoder.can_cut and n_least // 4 < n_left < n_least and slot.n_tokens >= FAR:
            return self._cache.match(slot.namespace, slot.tokens[: min(slot.n_reusable, slot.n_tokens - n_least)])
        return found

    def _wait_for(self, slot: Slot, found: Match) -> None:
        """Another slot computes what this one needs; where memory cannot be cut, it has to stop there."""
        assert found.coming is not None
        other, priority, n_tokens = self._slots[found.coming.id_slot], slot.task.priority, found.n_common
        if other.wanted is not None:
            priority, n_tokens = min(priority, other.wanted.priority), min(n_tokens, other.wanted.n_tokens)
        other.wanted = Wanted(priority, n_tokens)
        if not self._decoder.can_cut and found.n_common not in other.marks:
            other.marks = sorted({*other.marks, found.n_common})

    def _admit(self, slot: Slot, found: Match, running: Collection[Slot]) -> bool:
        """Whether the pool of cells has room for a task, and for those that run to go on for a while.

        What is less urgent makes way for it.
        """
        n_new = max(slot.n_tokens + 1, found.n_passing) - found.n_resident
        while active := [other for other in running if other.is_active]:
            n_cells = n_new + sum(_headroom(other) for other in active)
            if not self.is_short and self._cache.make_room(n_cells, found):
                return True
            last = max(active, key=lambda other: other.rank)
            if last.task.priority <= slot.task.priority or last.sequence is found.source:
                return False
            self._preempt(last)
        self._cache.make_room(n_new, found)
        return True

    def _place(self, slot: Slot, found: Match, placed: Placed) -> None:
        try:
            taken = self._cache.take(
                found, slot.namespace, slot.tokens, slot.n_plain or slot.n_tokens, slot.id, slot.task.n_cache_reuse
            )
        except EngineError as error:
            placed.failed.append((slot, error))
            return
        slot.place(taken.sequence, replace(taken.use, miss=_miss(slot, found, taken.sequence.n_past)))
        slot.marks = self._marks(slot, found)
        if slot.n_preempted == 0:
            placed.begun.append(slot)
            n_cached = slot.use.n_cached
            log.info("slot %d | task %d | prompt %d tokens, %d cached", slot.id, slot.id_task, slot.n_prompt, n_cached)
        else:
            log.info("slot %d | task %d | resumed, %d tokens to compute", slot.id, slot.id_task, slot.n_left)

    def _marks(self, slot: Slot, found: Match) -> list[int]:
        """Where adapters become active, and for memory that cannot be cut anywhere, where to take checkpoints."""
        activation = [slot.n_plain] if slot.n_past < slot.n_plain else []
        if self._decoder.can_cut:
            return activation
        last, n_step = slot.n_tokens - 1, self._checkpoint_step
        # turns, steps, and where prompts have differed before
        marks = {*activation, *slot.task.turns, *range(n_step, last, n_step), found.n_common}
        if not any(max(0, last - LAST_TURN) < mark <= last for mark in marks):
            marks.add(last)
        return sorted(mark for mark in marks if slot.n_past < mark <= last)

    def preempt_last(self, running: Collection[Slot]) -> bool:
        """Make room at the cost of the last in rank. False if there is only one left."""
        active = [slot for slot in running if slot.is_active]
        if len(active) < 2:
            return False
        self._preempt(max(active, key=lambda slot: slot.rank))
        return True

    def _preempt(self, slot: Slot) -> None:
        """Take a task's place in memory from it; it goes on when there is room again.

        What it had is cached like that of a task that has ended, and perhaps still there then.
        """
        log.info("slot %d | task %d | preempted at %d tokens", slot.id, slot.id_task, slot.n_past)
        sequence = slot.sequence
        slot.preempt()
        self.n_preempted += 1
        if sequence is not None:
            self._cache.give_back(sequence, slot.n_shared)


def _headroom(slot: Slot) -> int:
    """Cells that a running task will take before long."""
    n_predict = slot.task.n_predict
    n_more = HEADROOM if n_predict < 0 else min(HEADROOM, n_predict - slot.n_predicted)
    return slot.n_left + n_more


def _miss(slot: Slot, found: Match, n_past: int) -> Miss:
    """Why a task that was given a sequence of `n_past` tokens has to compute the others."""
    if n_past >= slot.n_reusable:
        return Miss.NONE
    if not slot.task.cache_prompt:
        return Miss.OFF
    if n_past < found.n_found:
        return Miss.STORAGE
    if n_past < found.n_common:
        return Miss.CHECKPOINT
    return Miss.DIVERGED if n_past else Miss.NEW
