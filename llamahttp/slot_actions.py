"""Slot actions: save, restore and erase what the last task of a slot left in memory, once the slot is idle.

Engine thread only. Files are the asker's business; here they are snapshots.
"""

from __future__ import annotations

from collections.abc import Sequence

from .cache.resident import ResidentCache
from .errors import EngineError, InvalidRequest, LlamaHTTPError, QueueFull
from .queue import Ask, EraseSlot, RestoreSlot, SaveSlot, TaskQueue
from .slot import Slot

MOST_WAITING = 4
"""Actions that may wait for one slot; each that restores holds a snapshot meanwhile."""


class SlotActions:
    """What was asked of slots and waits until they are idle. Everything asked is answered."""

    def __init__(self, queue: TaskQueue, cache: ResidentCache, slots: Sequence[Slot]) -> None:
        self._queue = queue
        self._cache = cache
        self._slots = slots
        self._waiting: list[Ask] = []

    def add(self, ask: Ask) -> None:
        """Keep an action until its slot is idle, or refuse it."""
        assert ask.action is not None, "a question, not an action"
        self._waiting = [other for other in self._waiting if not other.is_abandoned]
        id_slot = ask.action.id_slot
        n_waiting = sum(other.action is not None and other.action.id_slot == id_slot for other in self._waiting)
        if n_waiting < MOST_WAITING:
            self._waiting.append(ask)
        else:
            self._queue.answer(
                ask, QueueFull(f"{n_waiting} actions wait for slot {id_slot} already, which is the limit")
            )

    def act(self) -> None:
        """Do what was asked of slots that are idle now."""
        for ask in self._waiting.copy():
            assert ask.action is not None
            slot = self._slots[ask.action.id_slot]
            if slot.is_idle:
                self._waiting.remove(ask)
                if not ask.is_abandoned:
                    self._answer(ask, slot)

    def end(self, error: LlamaHTTPError) -> None:
        """Answer all that wait with an error."""
        for ask in self._waiting:
            self._queue.answer(ask, error)
        self._waiting.clear()

    def _answer(self, ask: Ask, slot: Slot) -> None:
        result: object = EngineError("the engine failed to act on the slot")
        try:
            result = self._act(ask, slot)
        except LlamaHTTPError as error:
            result = error
        finally:  # also on the way of an exception that nobody expected
            self._queue.answer(ask, result)

    def _act(self, ask: Ask, slot: Slot) -> object:
        sequence = self._cache.last_of(slot.id)
        match ask.action:
            case SaveSlot():
                return None if sequence is None else self._cache.snapshot(sequence)
            case RestoreSlot(_, snapshot):
                n = len(snapshot.tokens)
                if n >= slot.n_ctx:
                    raise InvalidRequest(f"the file holds {n} tokens, but a slot has room for {slot.n_ctx}")
                if not self._cache.adopt(snapshot, slot.id):
                    raise EngineError(f"there is no room in memory for {n} tokens now")
                return None
            case EraseSlot():
                n = 0 if sequence is None else sequence.n_past
                if sequence is not None:
                    self._cache.forget(sequence)
                return n
        raise AssertionError("a question, not an action")
