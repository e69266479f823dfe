"""Catalog: which stored snapshots there are, and what they share with a prompt.

Engine thread only. Knows nothing of tiers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .radix import RadixIndex
from .snapshot import Namespace, Snapshot


@dataclass(eq=False, slots=True)
class Entry:
    """One stored snapshot, wherever it is."""

    key: str
    namespace: Namespace
    start: int
    n_tokens: int
    checkpoints: tuple[int, ...]
    """Positions, ascending."""
    n_bytes: int
    snapshot: Snapshot | None = None
    """None: only on disk."""
    on_disk: bool = False
    from_disk: bool = False
    """`snapshot` was read from disk and has not been used since."""
    is_gone: bool = False
    """Neither in RAM nor on disk any more."""
    is_loading: bool = False
    is_writing: bool = False
    """Waits for the disk, or is being written."""
    replaces: tuple[str, ...] = ()
    """Keys of entries that this one stands for, and whose files go when it is written."""
    wanted_until: float = 0.0
    """Somebody is about to use `snapshot`; time.monotonic()."""

    @property
    def positions(self) -> tuple[int, ...]:
        """Where its memory can be taken up if it cannot be cut."""
        return (*self.checkpoints, self.n_tokens)


@dataclass(slots=True)
class _Shelf:
    """The entries of one namespace."""

    wholes: RadixIndex[Entry] = field(default_factory=RadixIndex)
    """Those that start at 0."""
    places: RadixIndex[tuple[Entry, int]] = field(default_factory=RadixIndex)
    """Every position of every entry, standing for the tokens before it."""


class Catalog:
    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._shelves: dict[Namespace, _Shelf] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def add(self, entry: Entry, tokens: NDArray[np.int32]) -> None:
        """An entry whose key is not there yet, and its tokens [0, n_tokens)."""
        assert entry.key not in self._entries and len(tokens) == entry.n_tokens
        self._entries[entry.key] = entry
        shelf = self._shelves.setdefault(entry.namespace, _Shelf())
        for position in entry.positions:
            shelf.places.insert((entry, position), tokens[:position])
        if entry.start == 0:
            shelf.wholes.insert(entry, tokens)

    def remove(self, entry: Entry) -> None:
        """Safe if it is not there."""
        if self._entries.get(entry.key) is not entry:
            return
        del self._entries[entry.key]
        shelf = self._shelves[entry.namespace]
        for position in entry.positions:
            shelf.places.remove((entry, position))
        shelf.wholes.remove(entry)
        if not len(shelf.places):
            del self._shelves[entry.namespace]

    def longest(self, namespace: Namespace, tokens: NDArray[np.int32]) -> tuple[Entry, int] | None:
        """Of the entries that start at 0 one that shares the most tokens, and how many; rather one in RAM."""
        shelf = self._shelves.get(namespace)
        n, entries = shelf.wholes.deepest(tokens) if shelf is not None else (0, ())
        if not entries:
            return None
        return max(entries, key=lambda entry: (entry.snapshot is not None, -entry.n_bytes)), n

    def prefixes(self, namespace: Namespace, tokens: NDArray[np.int32]) -> list[tuple[int, Entry]]:
        """(position, entry) where all tokens of the entry before that position begin `tokens`, deepest first."""
        shelf = self._shelves.get(namespace)
        if shelf is None:
            return []
        return [(position, entry) for _, (entry, position) in shelf.places.ending(tokens)]

    def deepest(self, namespace: Namespace, tokens: NDArray[np.int32]) -> tuple[int, list[Entry]]:
        """How many tokens the entries share at most with `tokens`, and those that do; they may start anywhere."""
        shelf = self._shelves.get(namespace)
        n, places = shelf.places.deepest(tokens) if shelf is not None else (0, ())
        return n, list({entry.key: entry for entry, _ in places}.values())

    def exact(self, namespace: Namespace, tokens: NDArray[np.int32], start: int) -> Entry | None:
        """The entry for exactly these positions."""
        longest = next(iter(self.shorter(namespace, tokens, start)), None)
        return longest if longest is not None and longest.n_tokens == len(tokens) else None

    def shorter(self, namespace: Namespace, tokens: NDArray[np.int32], start: int) -> list[Entry]:
        """Entries from the same start whose tokens are these or begin them, longest first."""
        prefixes = self.prefixes(namespace, tokens)
        return [entry for position, entry in prefixes if entry.start == start and entry.n_tokens == position]

    def chain(self, entry: Entry) -> list[Entry]:
        """An entry and the ones before it that it builds on, if it does not start at 0. Deepest first."""
        # entry                   [start ... n_tokens)
        # before it      [ ... start)
        # ...  [0 ... )                    there may be gaps, since what is missing can be stored again
        links, start = [entry], entry.start
        if start == 0:
            return links
        tokens = self._shelves[entry.namespace].places.tokens((entry, entry.n_tokens))
        for position, other in self.prefixes(entry.namespace, tokens[:start]):
            if other.start < start and position == other.n_tokens:
                links.append(other)
                start = other.start
        return links
