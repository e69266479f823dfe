"""Automaton: which of several sequences end at each symbol of a stream, in constant time a symbol (Aho and Corasick,
1975). Symbols are whatever numbers: bytes of a text, or token ids. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

START = 0


class Automaton:
    """All `sequences`, none of them empty, looked for at once. A state of a stream is a number, at first START."""

    def __init__(self, sequences: Iterable[Sequence[int]]) -> None:
        self.sequences = tuple(tuple(sequence) for sequence in sequences)
        self._next: list[dict[int, int]] = [{}]
        self._ends: list[tuple[int, ...]] = [()]
        for i, sequence in enumerate(self.sequences):
            assert sequence, "an empty sequence ends everywhere"
            state = START
            for symbol in sequence:
                state = self._child(state, symbol)
            self._ends[state] += (i,)
        self._fall_back = self._link()

    def _child(self, state: int, symbol: int) -> int:
        child = self._next[state].get(symbol)
        if child is None:
            child = self._next[state][symbol] = len(self._next)
            self._next.append({})
            self._ends.append(())
        return child

    def _link(self) -> list[int]:
        """Of each state the one of its longest proper suffix; what ends there ends here too."""
        links = [START] * len(self._next)
        queue = deque(self._next[START].values())
        while queue:
            state = queue.popleft()
            for symbol, child in self._next[state].items():
                links[child] = self._step(links, links[state], symbol)
                queue.append(child)
            self._ends[state] += self._ends[links[state]]
        return links

    def _step(self, links: list[int], state: int, symbol: int) -> int:
        while state != START and symbol not in self._next[state]:
            state = links[state]
        return self._next[state].get(symbol, START)

    def step(self, state: int, symbol: int) -> int:
        """The state after one more symbol."""
        return self._step(self._fall_back, state, symbol)

    def ends(self, state: int) -> tuple[int, ...]:
        """Indices of the sequences that end with the last symbol, the longest first."""
        return self._ends[state]
