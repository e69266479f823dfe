"""Catalog: which stored snapshots there are, and what they share with a prompt.

Engine thread only. Knows nothing of tiers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .radix import RadixIndex
from .snapshot import Namespace, Snapshot


@dataclass(eq=False, slots=True)
class Entry:
    """One stored snapshot, wherever it is."""

    key: str
    namespace: Namespace
    parent: str
    """Key of the entry that it continues, which need not be there; empty if it starts at 0."""
    start: int
    n_tokens: int
    """Where it ends, counted from 0."""
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


class Catalog:
    """Entries by what they continue, and there by their own tokens, so that long prompts in many blocks cost no more
    than one comparison of each token.

    That the tokens before an entry are equal is proved by those who follow a prompt from block to block: a key stands
    for all tokens up to its entry's end (128 bits of BLAKE2b).
    """

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._shelves: dict[tuple[Namespace, str], RadixIndex[tuple[Entry, int]]] = {}
        """Of each parent every position of what continues it, standing for the tokens between."""

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def add(self, entry: Entry, tokens: NDArray[np.int32]) -> None:
        """An entry whose key is not there yet, and its tokens [start, n_tokens)."""
        assert entry.key not in self._entries and len(tokens) == entry.n_tokens - entry.start
        self._entries[entry.key] = entry
        shelf = self._shelves.setdefault((entry.namespace, entry.parent), RadixIndex())
        for position in entry.positions:
            shelf.insert((entry, position), tokens[: position - entry.start])

    def remove(self, entry: Entry) -> None:
        """Safe if it is not there."""
        if self._entries.get(entry.key) is not entry:
            return
        del self._entries[entry.key]
        shelf = self._shelves[entry.namespace, entry.parent]
        for position in entry.positions:
            shelf.remove((entry, position))
        if not len(shelf):
            del self._shelves[entry.namespace, entry.parent]

    def deepest(self, namespace: Namespace, tokens: NDArray[np.int32], parent: str = "") -> tuple[int, list[Entry]]:
        """How many of `tokens`, which follow `parent`, entries share at most, and those that do."""
        shelf = self._shelves.get((namespace, parent))
        n, places = shelf.deepest(tokens) if shelf is not None else (0, ())
        return n, list({entry.key: entry for entry, _ in places}.values())

    def prefixes(self, namespace: Namespace, tokens: NDArray[np.int32], parent: str = "") -> list[tuple[int, Entry]]:
        """(position, entry), deepest first: the entry's tokens before that position begin `tokens`."""
        shelf = self._shelves.get((namespace, parent))
        if shelf is None:
            return []
        return [(position, entry) for _, (entry, position) in shelf.ending(tokens)]

    def shorter(self, namespace: Namespace, tokens: NDArray[np.int32], parent: str = "") -> list[Entry]:
        """Entries whose tokens are these or begin them, longest first."""
        prefixes = self.prefixes(namespace, tokens, parent)
        return [entry for position, entry in prefixes if entry.n_tokens == position]

    def exact(self, namespace: Namespace, tokens: NDArray[np.int32], parent: str = "") -> Entry | None:
        """The entry for exactly these tokens."""
        longest = next(iter(self.shorter(namespace, tokens, parent)), None)
        return longest if longest is not None and longest.n_tokens - longest.start == len(tokens) else None

    def chain(self, entry: Entry) -> list[Entry]:
        """An entry and those before it that it builds on, as far as they are there without a gap. Deepest first."""
        links = [entry]
        parent = self._entries.get(entry.parent)
        while parent is not None:
            links.append(parent)
            parent = self._entries.get(parent.parent)
        return links
