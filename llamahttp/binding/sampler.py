"""Sampler: one request's chain of libllama's, run on as few candidates as the parameters allow."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import candidates, sampling
from ..abc import Constraint
from ..candidates import NO_TOKEN, Scratch
from ..draws import Draws
from ..sampling import History, Plan, Tier
from ..task import SamplingParams, TokenProbs
from .chain import Candidates, LlamaChain

MANY_ALLOWED = 2048
"""Tokens that a constraint allows, above which it is cheaper to blot out what it forbids."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What one thread needs to sample. Kept: its first use costs milliseconds of page faults with 128k tokens."""

    candidates: Candidates
    scratch: Scratch


class LlamaSampler:
    """The tier that one request's parameters allow, and its chain; implements `abc.Sampler`."""

    def __init__(
        self,
        params: SamplingParams,
        plan: Plan,
        chain: LlamaChain | None,
        n_vocab: int,
        constraint: Constraint | None,
        *,
        is_for_device: bool = False,
    ) -> None:
        """Owns `chain`, which is None for the tier that needs none."""
        self._is_for_device = is_for_device
        self.tier = plan.tier
        """How the next token is found; CHANGED or FULL for a step where a chain changes too many logits."""
        self.changed = self._biased = np.array(sorted({token for token, _ in params.logit_bias}), np.int32)
        """Tokens whose logits the chain changes at this step, ascending."""
        self.post_probs: TokenProbs | None = None
        """Of the last token, if the request wants those."""
        self.constraint = constraint
        self._params = params
        self._plan = plan
        self._chain = chain
        self._n_vocab = n_vocab
        self._banned = np.array([token for token, bias in params.logit_bias if bias == -math.inf], np.int32)
        self._banned_set = frozenset(self._banned.tolist())
        self._names = sampling.stages(params)
        self._history: History | None = None
        self._draws = Draws(params.seed) if plan.tier is Tier.DRAW else None
        self._was_rejected = False
        self._masking: Future[NDArray[np.bool_]] | None = None
        self._mask: NDArray[np.bool_] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether nothing has to be remembered: greedy, and free."""
        return self.tier is Tier.GREEDY and self.constraint is None and not self._params.n_post_probs

    @property
    def for_device(self) -> LlamaChain | None:
        return self._chain if self._is_for_device else None

    def begin(self, prompt: NDArray[np.int32]) -> None:
        """Remember as much of the prompt as the chain looks back at."""
        params = self._params
        n = max(
            params.repeat_last_n if "penalties" in self._names else 0,
            params.dry_penalty_last_n if "dry" in self._names else 0,
        )
        if n == 0 or self._chain is None:
            return
        self._history = History(prompt, n)
        for token in self._history.last(n).tolist():
            self._chain.accept(token)

    def prepare(self) -> None:
        """Before each step: see how many logits the chain will change, and what `look_ahead` has found."""
        self.post_probs = None
        masking, self._masking = self._masking, None
        self._mask = None if masking is None else masking.result()
        self._was_rejected = False
        if self._history is not None:
            self.changed = sampling.changed_tokens(self._params, self._names, self._history, self._biased)
        if self._plan.tier is Tier.CANDIDATES:
            is_few = self.n_candidates <= sampling.max_candidates(self._n_vocab)
            self.tier = Tier.CANDIDATES if is_few else Tier.FULL if self._plan.changes_later else Tier.CHANGED

    @property
    def n_candidates(self) -> int:
        """CANDIDATES: how many of the largest logits can be among the top k after the chain has changed some."""
        return self._plan.top_k + len(self.changed)

    def accept(self, token: int) -> None:
        """`token` is the next one of the answer."""
        self._mask = None
        if self.constraint is not None:
            self.constraint.accept(token)
        if self._chain is not None:
            self._chain.accept(token)
        if self._history is not None:
            self._history.append(token)

    # --- each tier

    def likeliest(self, row: NDArray[np.float32], token: int) -> int:
        """GREEDY: the largest logit's token, which is `token` unless that is banned."""
        if token in self._banned_set:
            token = candidates.argmax_without(row, self._banned)
        return self._certain(token)

    def choose_among_few(self, desk: Desk, row: NDArray[np.float32]) -> int:
        """CANDIDATES: what the chain selects among the largest logits and those that it changes first."""
        tokens = candidates.top_tokens(row, self.n_candidates)
        if len(self.changed):
            tokens = candidates.distinct(tokens, self.changed)
        return self._select(desk, tokens, row[tokens])

    def choose(self, desk: Desk, row: NDArray[np.float32], all_tokens: NDArray[np.int32]) -> int:
        """The other tiers. Any thread; what reads the whole row does so without the GIL."""
        plan = self._plan
        row = self._before_cut(desk, row)
        match self.tier:
            case Tier.CHANGED:
                tokens = candidates.top_tokens(row, plan.top_k)
                return self._select_changed(desk, tokens, row[tokens])
            case Tier.FLOOR:
                tokens = candidates.at_least(row, -math.log(plan.min_p))
                return self._select_changed(desk, tokens, row[tokens])
            case Tier.NUCLEUS:
                few = candidates.nucleus(row, plan.top_p, plan.min_p, desk.scratch)
                if few is not None:
                    return self._select_changed(desk, *few, is_sorted=True)
            case Tier.DRAW:
                assert self._draws is not None and self._chain is not None, "closed"
                token = candidates.draw(row, self._draws.next(), desk.scratch)
                if token is not None:
                    self._chain.skip(desk.candidates, token)  # in case the next one is the chain's to draw
                    return token
            case Tier.FULL if plan.is_sorted:
                return self._select_changed(desk, *candidates.by_logit(row, desk.scratch), is_sorted=True)
        return self._select_changed(desk, all_tokens, row)

    def _before_cut(self, desk: Desk, row: NDArray[np.float32]) -> NDArray[np.float32]:
        """The logits of all tokens as the chain's first cut finds them."""
        plan, changed = self._plan, self.changed
        if plan.n_before == 0 or (len(changed) == 0 and not plan.temperatures):
            return row
        assert self._chain is not None, "a sampler that is greedy, or closed"
        out = desk.scratch.row
        desk.candidates.fill(changed, row[changed])  # before the others are scaled: `row` may be `out`
        np.copyto(out, row)
        for temperature in plan.temperatures:
            np.divide(out, np.float32(temperature), out=out)
        if len(changed):
            self._chain.change(desk.candidates)
            out[changed] = desk.candidates.logits(len(changed))
        return out

    def _select(self, desk: Desk, tokens: NDArray[np.int32], logits: NDArray[np.float32]) -> int:
        """What the chain selects among `tokens`."""
        assert self._chain is not None, "a sampler that is greedy, or closed"
        return self._selected(self._chain.select, desk, tokens, logits, is_sorted=False)

    def _select_changed(
        self, desk: Desk, tokens: NDArray[np.int32], logits: NDArray[np.float32], *, is_sorted: bool = False
    ) -> int:
        """The same for logits from `_before_cut`."""
        assert self._chain is not None, "a sampler that is greedy, or closed"
        return self._selected(self._chain.select_changed, desk, tokens, logits, is_sorted=is_sorted)

    def _selected(
        self,
        select: Callable[[Candidates], int],
        desk: Desk,
        tokens: NDArray[np.int32],
        logits: NDArray[np.float32],
        *,
        is_sorted: bool,
    ) -> int:
        """NO_TOKEN for logits that are not numbers, which libllama would abort on, or sort beyond its memory."""
        if not candidates.are_numbers(logits):
            return NO_TOKEN
        desk.candidates.fill(tokens, logits, is_sorted=is_sorted)
        token = select(desk.candidates)
        if self._params.n_post_probs and token != NO_TOKEN:
            self.post_probs = desk.candidates.probs(token, self._params.n_post_probs)
        return token

    def _certain(self, token: int) -> int:
        if self._params.n_post_probs:
            self.post_probs = TokenProbs(0.0, ((token, 0.0),))
        return token

    # --- constraints

    def forced(self, desk: Desk) -> int | None:
        """The token that the constraint leaves no choice but."""
        token = None if self.constraint is None else self.constraint.forced()
        return None if token is None else self.take(desk, token)

    def take(self, desk: Desk, token: int) -> int:
        """`token`, which was not sampled here. A draw is spent on it, as in llama-server, so that a seed gives the same
        tokens after it."""
        if token == NO_TOKEN:
            return token
        if self._chain is not None:
            self._chain.skip(desk.candidates, token)
        if self._draws is not None:
            self._draws.next()
        return self._certain(token)

    def rejects(self, token: int) -> bool:
        """Whether a token was sampled that may not come."""
        if self.constraint is None or token == NO_TOKEN:
            return False
        is_allowed = self.constraint.allows(token) if self._mask is None else bool(self._mask[token])
        self._was_rejected = not is_allowed
        return self._was_rejected

    def look_ahead(self, pool: Executor) -> None:
        """After a rejection another is likely: find out what may come next while the next step is computed.

        Nothing else may be asked of the constraint before `prepare`.
        """
        if self.constraint is not None and self._was_rejected:
            self._masking = pool.submit(self.constraint.mask)

    def choose_allowed(self, desk: Desk, row: NDArray[np.float32], all_tokens: NDArray[np.int32]) -> int:
        """What the chain selects among the tokens that the constraint allows. Any thread.

        The random numbers advance once more, as llama-server's do. A constraint is stronger than a ban: where all that
        it allows is banned, the likeliest of that is taken.
        """
        assert self.constraint is not None, "nothing was rejected"
        mask = self.constraint.mask() if self._mask is None else self._mask
        tokens = np.flatnonzero(mask).astype(np.int32)
        free = np.setdiff1d(tokens, self._banned, assume_unique=True) if len(self._banned) else tokens
        if len(free) > MANY_ALLOWED and self.tier not in (Tier.GREEDY, Tier.FULL):
            return self._choose_masked(desk, row, mask, all_tokens)
        if self._draws is not None:
            self._draws.next()
        if len(free) == 0 or self._chain is None:
            tokens = free if len(free) else tokens
            return self._certain(int(tokens[row[tokens].argmax()])) if len(tokens) else NO_TOKEN
        return self._select(desk, free, row[free])

    def _choose_masked(
        self, desk: Desk, row: NDArray[np.float32], mask: NDArray[np.bool_], all_tokens: NDArray[np.int32]
    ) -> int:
        """The same where hardly anything is forbidden: by the tier, over a row without it."""
        masked = desk.scratch.row
        masked.fill(-np.inf)
        np.copyto(masked, row, where=mask)
        if self.tier is not Tier.CANDIDATES:
            return self.choose(desk, masked, all_tokens)
        masked[self._banned] = -np.inf
        return self.choose_among_few(desk, masked)

    def close(self) -> None:
        chain, self._chain = self._chain, None
        if chain is not None:
            chain.close()
