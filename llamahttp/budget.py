"""Budget: how many tokens a model may think before its thought is ended for it. Pure, on token ids.

    IDLE -- start --> COUNTING -- budget used up --> FORCING -- all forced --> DONE
                        |    '-> WAITING_UTF8 ---------^                        ^  (inside a character)
                        '------------------- an end sequence -------------------'
    DONE -- start --> COUNTING    each thought of an answer has the whole budget

What happens when is as in llama-server, to the token.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .automaton import START, Automaton

Ids = tuple[int, ...]


class BudgetState(enum.Enum):
    """What the budget is doing."""

    IDLE = enum.auto()
    COUNTING = enum.auto()
    WAITING_UTF8 = enum.auto()
    """The budget is used up, but a character is not complete yet."""
    FORCING = enum.auto()
    DONE = enum.auto()


@dataclass(frozen=True, slots=True)
class BudgetSpec:
    """What begins and ends a thought, as token ids, and how long one may be."""

    start: Ids
    ends: tuple[Ids, ...]
    """Any of them ends a thought."""
    forced: Ids
    """What is put in the model's mouth: a message, and the first of `ends`."""
    n_tokens: int = -1
    """-1 is no limit: then only `ReasoningBudget.end` ends a thought."""
    primed: Ids = ()
    """The end of the prompt, which may have begun a thought."""


class ReasoningBudget:
    """The budget of one answer."""

    def __init__(self, spec: BudgetSpec, pieces: Sequence[bytes]) -> None:
        self.state = BudgetState.IDLE
        self.n_left = 0
        self.end_match: Ids = ()
        """The end sequence that ended the last thought, if one did."""
        self._spec = spec
        self._pieces = pieces
        self._starts = Automaton([spec.start] if spec.start else [])
        self._ends = Automaton(_distinct(spec.ends))
        self._start_state = self._end_state = START
        self._n_forced = 0
        for token in spec.primed:
            self.accept(token)

    @property
    def is_active(self) -> bool:
        """In a thought, or ending one."""
        return self.state not in (BudgetState.IDLE, BudgetState.DONE)

    def forced(self) -> int | None:
        """The token that has to come next, if one has to."""
        if self.state is not BudgetState.FORCING or self._n_forced >= len(self._spec.forced):
            return None
        return self._spec.forced[self._n_forced]

    def end(self) -> bool:
        """End the thought now. False if there is none, or its end has begun."""
        if self.state is not BudgetState.COUNTING:
            return False
        self._force()
        return True

    def accept(self, token: int) -> None:
        """`token` has come."""
        match self.state:
            case BudgetState.IDLE | BudgetState.DONE:
                self._look_for_start(token)
            case BudgetState.COUNTING | BudgetState.WAITING_UTF8:
                self._count(token)
            case BudgetState.FORCING:
                ended = self._look_for_end(token)
                self._n_forced += 1
                if self._n_forced >= len(self._spec.forced):
                    self.state, self.end_match = BudgetState.DONE, ended

    def _look_for_start(self, token: int) -> None:
        self._start_state = self._starts.step(self._start_state, token)
        if not self._starts.ends(self._start_state):
            return
        self._start_state = START
        if self.state is BudgetState.DONE:
            self._end_state, self.end_match = START, ()
        self.state, self.n_left = BudgetState.COUNTING, self._spec.n_tokens
        if self.n_left == 0:
            self._force()

    def _look_for_end(self, token: int) -> Ids:
        self._end_state = self._ends.step(self._end_state, token)
        found = self._ends.ends(self._end_state)
        if not found:
            return ()
        self._end_state = START
        return self._ends.sequences[found[0]]

    def _count(self, token: int) -> None:
        ended = self._look_for_end(token)
        if ended:
            self.state, self.end_match = BudgetState.DONE, ended
            return
        if self.state is BudgetState.COUNTING:
            if self.n_left < 0:
                return  # no limit
            self.n_left -= 1
            if self.n_left > 0:
                return
        if is_complete(self._pieces[token]):
            self._force()
        elif self.state is BudgetState.COUNTING:
            self.state, self._end_state = BudgetState.WAITING_UTF8, START

    def _force(self) -> None:
        self.state = BudgetState.FORCING
        self._n_forced, self._end_state = 0, START


def is_complete(piece: bytes) -> bool:
    """Whether a character ends where the bytes of a token end, as far as these tell."""
    for n, byte in enumerate(piece[:-5:-1], 1):
        if byte & 0xC0 != 0x80:  # the byte that a character begins with
            return n >= (4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1)
    return not piece


def _distinct(sequences: Iterable[Ids]) -> list[Ids]:
    return list(dict.fromkeys(sequence for sequence in sequences if sequence))
