"""RadixIndex: which holders begin with which tokens.

A compressed trie over token ids. Holders are whatever its user likes to find: sequences, stored snapshots. Pure: no
clock, no I/O, no handle; used on the engine thread.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from itertools import islice
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

HolderT = TypeVar("HolderT", bound=Hashable)

MOST_HOLDERS = 64
"""Most holders that `RadixIndex.deepest` lists."""


def common_prefix(left: NDArray[np.int32], right: NDArray[np.int32]) -> int:
    """Length of the longest common prefix of two token lists."""
    n = min(len(left), len(right))
    if n == 0:
        return 0
    differs = left[:n] != right[:n]
    first = int(differs.argmax())
    return first if differs[first] else n


class _Node(Generic[HolderT]):
    """The tokens of positions [start, stop), below a parent that has those of [0, start).

    Every node but the root has tokens, and is there for a reason: a holder that ends with it, or two children.
    """

    __slots__ = ("children", "holders", "parent", "start", "stop", "tokens")

    def __init__(self, parent: _Node[HolderT] | None, start: int, tokens: NDArray[np.int32]) -> None:
        self.parent = parent
        self.children: dict[int, _Node[HolderT]] = {}
        self.holders: set[HolderT] = set()
        self.replace(start, tokens)

    def replace(self, start: int, tokens: NDArray[np.int32]) -> None:
        """Stand for positions [start, start + len(tokens))."""
        self.tokens = tokens.copy()  # the caller's may be a window of something that changes
        self.start, self.stop = start, start + len(tokens)

    def attach(self, child: _Node[HolderT]) -> None:
        child.parent = self
        self.children[int(child.tokens[0])] = child


class RadixIndex(Generic[HolderT]):
    """Finds who shares the most tokens with a prompt.

    Looking up costs one comparison of arrays a node passed, so O(len(tokens)) without Python per token.
    """

    def __init__(self) -> None:
        self._root: _Node[HolderT] = _Node(None, 0, np.empty(0, np.int32))
        self._nodes: dict[HolderT, _Node[HolderT]] = {}

    def __len__(self) -> int:
        """Holders."""
        return len(self._nodes)

    def __iter__(self) -> Iterator[HolderT]:
        return iter(self._nodes)

    def insert(self, holder: HolderT, tokens: NDArray[np.int32]) -> None:
        """`holder` now stands for exactly these tokens, whatever it stood for; they are copied."""
        self.remove(holder)
        self._place(holder, tokens)

    def remove(self, holder: HolderT) -> None:
        """Forget a holder. Safe if it is not there."""
        node = self._nodes.pop(holder, None)
        if node is not None:
            node.holders.remove(holder)
            self._tidy(node)

    def deepest(self, tokens: NDArray[np.int32]) -> tuple[int, frozenset[HolderT]]:
        """The longest common prefix of `tokens` with any holder, and those that share all of it.

        Their own tokens may go on differently or longer. Of more than MOST_HOLDERS, some; (0, empty) if none.
        """
        node, n = self._descend(tokens)
        if n == 0:
            return 0, frozenset()
        # About every second node has a holder, so the walk is short.
        sharing = (holder for below in self._walk(node) for holder in below.holders)
        return n, frozenset(islice(sharing, MOST_HOLDERS))

    def ending(self, tokens: NDArray[np.int32]) -> list[tuple[int, HolderT]]:
        """Holders whose whole tokens are a prefix of `tokens`, with their length, longest first."""
        node, n = self._descend(tokens)
        passed = node if node.stop == n else node.parent
        found = []
        while passed is not None:
            found += [(passed.stop, holder) for holder in passed.holders]
            passed = passed.parent
        return found

    def common(self, holder: HolderT, tokens: NDArray[np.int32]) -> int:
        """Length of the common prefix of `tokens` with those of a holder. Raises KeyError."""
        n = 0
        for node in self._path(holder):
            n += common_prefix(node.tokens, tokens[node.start :])
            if n < node.stop:
                break
        return n

    def _path(self, holder: HolderT) -> list[_Node[HolderT]]:
        """The nodes from the root to the one that a holder ends with."""
        path = []
        node: _Node[HolderT] | None = self._nodes[holder]
        while node is not None:
            path.append(node)
            node = node.parent
        return path[::-1]

    @staticmethod
    def _walk(node: _Node[HolderT]) -> Iterator[_Node[HolderT]]:
        """A node and all below it, depth first."""
        waiting = [node]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(node.children.values())

    def _descend(self, tokens: NDArray[np.int32]) -> tuple[_Node[HolderT], int]:
        """Follow `tokens` from the root: the last node that shares any of them, and the end n of what is shared.

        n lies in (start, stop] of that node; (root, 0) if nothing is shared.
        """
        node, n = self._root, 0
        while n == node.stop and n < len(tokens):
            child = node.children.get(int(tokens[n]))
            if child is None:
                break
            node, n = child, n + common_prefix(child.tokens, tokens[n:])
        return node, n

    def _place(self, holder: HolderT, tokens: NDArray[np.int32]) -> None:
        """Let an unknown holder end with `tokens`."""
        node, n = self._descend(tokens)
        if n < node.stop:
            node = self._split(node, n)
        if n < len(tokens):
            child = _Node(node, n, tokens[n:])
            node.attach(child)
            node = child
        node.holders.add(holder)
        self._nodes[holder] = node

    @staticmethod
    def _split(node: _Node[HolderT], n: int) -> _Node[HolderT]:
        """Put a new node above `node`, which keeps holders and children. Returns the new one."""
        # before   parent | [start ................ stop) node
        # after    parent | [start .. n) upper | [n .. stop) node
        assert node.parent is not None and node.start < n < node.stop
        tokens, start = node.tokens, node.start
        upper = _Node(node.parent, start, tokens[: n - start])
        node.parent.attach(upper)
        node.replace(n, tokens[n - start :])
        upper.attach(node)
        return upper

    def _tidy(self, node: _Node[HolderT]) -> None:
        """Take away nodes that have lost their reason, from `node` upwards."""
        while node.parent is not None and not node.holders and not node.children:
            del node.parent.children[int(node.tokens[0])]
            node = node.parent
        if node.parent is not None and not node.holders and len(node.children) == 1:
            (child,) = node.children.values()
            child.replace(node.start, np.concatenate((node.tokens, child.tokens)))
            node.parent.attach(child)
