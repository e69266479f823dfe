"""ByteLRU: what is held under a limit of bytes, in the order of its last use."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT", bound=Hashable)


class ByteLRU(Generic[ItemT]):
    """Counts only: what to drop, and how, is its user's business."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        """Bytes; None is no limit."""
        self.used = 0
        self._sizes: OrderedDict[ItemT, int] = OrderedDict()

    def __contains__(self, item: object) -> bool:
        return item in self._sizes

    def __iter__(self) -> Iterator[ItemT]:
        """Longest unused first; over a copy, so that items can be dropped meanwhile."""
        return iter(list(self._sizes))

    def size(self, item: ItemT) -> int:
        """Bytes of an item; 0 if it is not there."""
        return self._sizes.get(item, 0)

    def fits(self, n_bytes: int) -> bool:
        return self.limit is None or self.used + n_bytes <= self.limit

    def put(self, item: ItemT, n_bytes: int) -> None:
        """Hold an item, as the one just used."""
        self.drop(item)
        self._sizes[item] = n_bytes
        self.used += n_bytes

    def touch(self, item: ItemT) -> None:
        """The item was just used. Safe if it is not there."""
        if item in self._sizes:
            self._sizes.move_to_end(item)

    def drop(self, item: ItemT) -> None:
        """Safe if it is not there."""
        self.used -= self._sizes.pop(item, 0)
