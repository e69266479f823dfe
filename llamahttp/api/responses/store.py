"""Response store: responses in memory, for those who go on from them or ask for them. Event loop only.

A response holds what its own request added: its input, its output. What came before is its predecessor's, which is kept
as long as somebody goes on from it, even when nobody can ask for it any more.

    stored      a <- b <- c      d is dropped: nobody can ask for it, but e goes on from it
                     b <- d <- e
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

MAX_RESPONSES = 4096
MAX_BYTES = 64 << 20
"""Of all responses of all owners; those who have the most lose theirs first, the least recently used before others."""
KEPT_S = 24 * 3600.0
"""How long a response is kept that nobody uses."""
OVERHEAD = 1024
"""Bytes that a response, and each item of its output, takes beside its text."""


@dataclass(eq=False, slots=True)
class StoredResponse:
    """One response."""

    id: str
    owner: str
    response: bytes
    """The whole response, JSON."""
    input: bytes
    """The items that its request added, a JSON array."""
    item_ids: tuple[str, ...] = ()
    """Of its output."""
    previous: StoredResponse | None = None
    used_at: float = 0.0
    n_holders: int = 0
    """The store, while it can be asked for, and each response that goes on from it."""

    @property
    def n_bytes(self) -> int:
        return len(self.response) + len(self.input) + OVERHEAD * (1 + len(self.item_ids))

    def chain(self) -> list[StoredResponse]:
        """All that it goes on from, oldest first, and itself."""
        found: list[StoredResponse] = []
        each: StoredResponse | None = self
        while each is not None:
            found.append(each)
            each = each.previous
        return found[::-1]


class ResponseStore:
    """Bounded in number and in bytes; lost when the server ends."""

    def __init__(
        self,
        max_responses: int = MAX_RESPONSES,
        max_bytes: int = MAX_BYTES,
        kept_s: float = KEPT_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_responses = max_responses
        self._max_bytes = max_bytes
        self._kept_s = kept_s
        self._now = now
        self._shelves: dict[str, OrderedDict[str, StoredResponse]] = {}
        """By owner and id; the least recently used first."""
        self._items: dict[tuple[str, str], StoredResponse] = {}
        """By owner and the id of an item of the output."""
        self.n_bytes = 0
        """Of all that is kept, for predecessors that cannot be asked for too."""

    def __len__(self) -> int:
        """Responses that can be asked for."""
        return sum(map(len, self._shelves.values()))

    def find(self, owner: str, id_response: str) -> StoredResponse | None:
        """A response of this owner, which counts as a use of it."""
        self._expire()
        found = self._of(owner).get(id_response)
        if found is not None:
            found.used_at = self._now()
            self._of(owner).move_to_end(id_response)
        return found

    def find_item(self, owner: str, id_item: str) -> StoredResponse | None:
        """The response of this owner with such an item in its output."""
        found = self._items.get((owner, id_item))
        return found and self.find(owner, found.id)

    def _of(self, owner: str) -> OrderedDict[str, StoredResponse]:
        return self._shelves.get(owner) or OrderedDict()

    def put(self, stored: StoredResponse) -> None:
        """Keep a response, whose predecessor may have been dropped meanwhile. One that is too large is not kept."""
        self._expire()
        if stored.n_bytes > self._max_bytes:
            return
        stored.used_at = self._now()
        self._hold(stored)
        self._shelves.setdefault(stored.owner, OrderedDict())[stored.id] = stored
        self._items.update(((stored.owner, id_item), stored) for id_item in stored.item_ids)
        while len(self) > self._max_responses or self.n_bytes > self._max_bytes:
            shelf = max(self._shelves.values(), key=lambda shelf: sum(each.n_bytes for each in shelf.values()))
            self._drop(next(iter(shelf.values())))

    def delete(self, owner: str, id_response: str) -> bool:
        """Forget a response; False where there is none. Those that go on from it keep what they need."""
        found = self._of(owner).get(id_response)
        if found is not None:
            self._drop(found)
        return found is not None

    def _expire(self) -> None:
        since = self._now() - self._kept_s
        for stored in [each for shelf in self._shelves.values() for each in self._unused(shelf, since)]:
            self._drop(stored)

    def _unused(self, shelf: OrderedDict[str, StoredResponse], since: float) -> Iterator[StoredResponse]:
        for stored in shelf.values():
            if stored.used_at >= since:
                return
            yield stored

    def _drop(self, stored: StoredResponse) -> None:
        shelf = self._shelves[stored.owner]
        del shelf[stored.id]
        for id_item in stored.item_ids:
            self._items.pop((stored.owner, id_item), None)
        if not shelf:
            del self._shelves[stored.owner]
        self._release(stored)

    def _hold(self, stored: StoredResponse) -> None:
        each: StoredResponse | None = stored
        while each is not None:
            each.n_holders += 1
            if each.n_holders > 1:
                return
            self.n_bytes += each.n_bytes
            each = each.previous

    def _release(self, stored: StoredResponse) -> None:
        each: StoredResponse | None = stored
        while each is not None:
            each.n_holders -= 1
            if each.n_holders > 0:
                return
            self.n_bytes -= each.n_bytes
            each = each.previous
