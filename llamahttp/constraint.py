"""Constraints: what the next token of one answer may be, by a grammar and a budget of thoughts together.

They combine as in llama-server. The budget goes first, since a token that it forces is not chosen. A lazy grammar
sleeps during a thought, and then is shown what ended it, which may be its trigger; others hold from the first token on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .budget import BudgetSpec, ReasoningBudget
from .gbnf import GrammarError
from .grammar import Grammar, GrammarState
from .trigger import Triggers, TriggerScanner


class LazyGrammar:
    """A grammar that holds from a trigger on; before, everything is allowed.

    A trigger after which the grammar has already been broken, within the same token, is none: llama-server would die.
    """

    def __init__(self, grammar: GrammarState, triggers: Triggers, pieces: Sequence[bytes]) -> None:
        self.holds = False
        self._grammar = grammar
        self._scanner = TriggerScanner(triggers)
        self._pieces = pieces

    def allows(self, token: int) -> bool:
        return not self.holds or self._grammar.allows(token)

    def mask(self) -> NDArray[np.bool_]:
        return self._grammar.mask()

    def fault(self) -> GrammarError | None:
        return self._grammar.fault() if self.holds else None

    def accept(self, token: int) -> None:
        if self.holds:
            self._grammar.accept(token)
            return
        found = self._scanner.feed(token, self._pieces[token])
        self.holds = found is not None and self._grammar.take(found.head, found.tokens)


@dataclass(frozen=True, slots=True)
class ConstraintSpec:
    """What an answer has to obey; `start` makes the constraint of one answer. Any thread."""

    pieces: Sequence[bytes]
    """Bytes of each token with control tokens written out, and as they appear in an answer."""
    visible_pieces: Sequence[bytes]
    grammar: Grammar | None = None
    triggers: Triggers | None = None
    """Makes the grammar a lazy one."""
    budget: BudgetSpec | None = None

    @property
    def is_empty(self) -> bool:
        """Everything is allowed."""
        return self.grammar is None and self.budget is None

    def start(self) -> AnswerConstraint:
        state = None if self.grammar is None else self.grammar.start()
        grammar: GrammarState | LazyGrammar | None = state
        if state is not None and self.triggers is not None:
            grammar = LazyGrammar(state, self.triggers, self.pieces)
        budget = None if self.budget is None else ReasoningBudget(self.budget, self.visible_pieces)
        return AnswerConstraint(grammar, budget, len(self.pieces))


class AnswerConstraint:
    """The constraint of one answer; implements `abc.Constraint`."""

    def __init__(
        self, grammar: GrammarState | LazyGrammar | None, budget: ReasoningBudget | None, n_tokens: int
    ) -> None:
        self._grammar = grammar
        self._budget = budget
        self._n_tokens = n_tokens

    def forced(self) -> int | None:
        token = None if self._budget is None else self._budget.forced()
        grammar = self._active_grammar()
        return None if token is not None and grammar is not None and not grammar.allows(token) else token

    def allows(self, token: int) -> bool:
        grammar = self._active_grammar()
        return grammar is None or grammar.allows(token)

    def mask(self) -> NDArray[np.bool_]:
        grammar = self._active_grammar()
        if grammar is None or (isinstance(grammar, LazyGrammar) and not grammar.holds):
            return np.ones(self._n_tokens, np.bool_)
        return grammar.mask()

    def accept(self, token: int) -> None:
        grammar, budget = self._active_grammar(), self._budget
        if budget is not None:
            was_active = budget.is_active
            budget.accept(token)
            if self._grammar is not None and grammar is None and was_active and not budget.is_active:
                for each in budget.end_match:
                    self._grammar.accept(each)
        if grammar is not None:
            grammar.accept(token)

    def end_reasoning(self) -> bool:
        """End the thought that goes on now. False if there is none."""
        return self._budget is not None and self._budget.end()

    def fault(self) -> GrammarError | None:
        """Why the grammar allows no token, if that is so."""
        grammar = self._active_grammar()
        return None if grammar is None else grammar.fault()

    def _active_grammar(self) -> GrammarState | LazyGrammar | None:
        """The grammar, unless it sleeps during a thought."""
        if self._budget is not None and self._budget.is_active and isinstance(self._grammar, LazyGrammar):
            return None
        return self._grammar
