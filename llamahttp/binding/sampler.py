"""Samplers: libllama's chains, run on as few candidates as the parameters allow. Implements `abc.SamplerFactory`."""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .. import candidates, sampling
from ..abc import Constraint
from ..candidates import N_STAND_INS, NO_TOKEN, Scratch
from ..draws import Draws
from ..errors import InvalidRequest
from ..sampling import History, Plan, Tier
from ..task import RANDOM_SEED, SamplingParams, TokenProbs
from .chain import Candidates, LlamaChain
from .dry import DryStages
from .model import LlamaVocab

MAX_HISTORY = 1 << 20
"""Tokens that penalties and DRY look back at most: libllama reserves memory for all it is asked for, up to 8 GiB."""

MAX_INFILL_PIECE = 512
"""Bytes of a token's text that libllama's infill has room for."""

N_PER_TASK = 4
"""Slots with few candidates that one thread of the pool samples: less would not pay for the crossing."""


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

    def choose_among(self, desk: Desk, row: NDArray[np.float32], tokens: NDArray[np.int32]) -> int:
        """CANDIDATES: what the chain selects among `tokens`, ascending, and those whose logits it changes first."""
        if len(self.changed):
            tokens = candidates.distinct(tokens, self.changed)
        return self._select(desk, tokens, row[tokens])

    def choose(self, desk: Desk, row: NDArray[np.float32], all_tokens: NDArray[np.int32]) -> int:
        """The other tiers. Any thread; what reads the whole row does so without the GIL."""
        plan = self._plan
        row = self._before_cut(desk, row)
        match self.tier:
            case Tier.CHANGED:
                (tokens,) = candidates.top_tokens(row[np.newaxis], plan.top_k)
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
        (tokens,) = candidates.top_tokens(masked[np.newaxis], self.n_candidates)
        return self.choose_among(desk, masked, tokens)

    def close(self) -> None:
        chain, self._chain = self._chain, None
        if chain is not None:
            chain.close()


class LlamaSamplerFactory:
    """Makes samplers over one vocabulary and samples for all slots of a step. Engine thread only."""

    def __init__(
        self,
        vocab: LlamaVocab,
        n_workers: int | None = None,
        *,
        looks_ahead: bool = False,
        uses_device: bool = False,
    ) -> None:
        """`looks_ahead`: masks that will be wanted are computed while libllama computes; only where that is not done on
        the same cores, whose barriers would wait for them. `uses_device`: samplers are for the device where they can.
        """
        self._uses_device = uses_device
        self.n_vocab = vocab.n_tokens
        self._vocab = vocab
        self._looks_ahead = looks_ahead
        self._always_banned = {token: -math.inf for token in vocab.suppressed}
        self._eog_banned = {token: -math.inf for token in sorted(vocab.eog)}
        self._all_tokens = np.arange(self.n_vocab, dtype=np.int32)
        self._dry = DryStages(vocab.handle)
        self._n_workers = n_workers or min(8, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(self._n_workers, thread_name_prefix="sampling")
        self._own = self._new_desk()
        self._spare = [self._new_desk() for _ in range(self._n_workers)]  # one a thread of the pool
        self._knows_draws = self._draws_are_known()

    def _new_desk(self) -> Desk:
        return Desk(Candidates(self.n_vocab + N_STAND_INS), Scratch(self.n_vocab))

    def prepare(self, params: SamplingParams) -> None:
        if params.has_dry:
            sampling.check(params, self.n_vocab)
            self._dry.prepare(self._bounded(params))

    def open(
        self, params: SamplingParams, prompt: NDArray[np.int32], constraint: Constraint | None = None
    ) -> LlamaSampler:
        sampling.check(params, self.n_vocab)
        self._check_infill(params)
        params = self._prepare(params)
        is_mixed = len({token for token, _ in params.logit_bias}) < len(params.logit_bias)
        # of several biases of a token libllama applies only the first to a few candidates
        plan = sampling.FULL if is_mixed else sampling.plan(params, self.n_vocab)
        if plan.tier is Tier.DRAW and not self._knows_draws:
            plan = replace(plan, tier=Tier.FULL)
        is_for_device = self._uses_device and constraint is None and sampling.is_for_device(params, self.n_vocab)
        chain = None if plan.tier is Tier.GREEDY and not is_for_device else self._chain(params, plan.n_before)
        sampler = LlamaSampler(params, plan, chain, self.n_vocab, constraint, is_for_device=is_for_device)
        sampler.begin(prompt)
        return sampler

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._dry.close()

    def _chain(self, params: SamplingParams, n_before: int = 0) -> LlamaChain:
        return LlamaChain(params, self._vocab.handle, self.n_vocab, self._dry, n_before)

    def _prepare(self, params: SamplingParams) -> SamplingParams:
        """The parameters with the bans that they and the model imply, a bounded history, and a seed that is known."""
        bans = self._always_banned | (self._eog_banned if params.ignore_eos else {})
        bans |= {token: bias for token, bias in params.logit_bias if bias == -math.inf}
        return replace(
            self._bounded(params),
            logit_bias=(*(pair for pair in params.logit_bias if pair[0] not in bans), *bans.items()),
            seed=secrets.randbelow(RANDOM_SEED) if params.seed == RANDOM_SEED else params.seed,
        )

    @staticmethod
    def _bounded(params: SamplingParams) -> SamplingParams:
        return replace(
            params,
            repeat_last_n=min(params.repeat_last_n, MAX_HISTORY),
            dry_penalty_last_n=min(params.dry_penalty_last_n, MAX_HISTORY),
        )

    def _check_infill(self, params: SamplingParams) -> None:
        """libllama would abort over a vocabulary without an end, or over texts that are too long for it."""
        if "infill" not in sampling.stages(params):
            return
        if self._vocab.eos < 0:
            raise InvalidRequest("the sampler infill needs an end-of-sequence token, which this model has not")
        if self._longest_piece > MAX_INFILL_PIECE:
            raise InvalidRequest(f"the sampler infill takes tokens of {MAX_INFILL_PIECE} bytes at most")

    @cached_property
    def _longest_piece(self) -> int:
        """Bytes. To ask libllama for all of 128k takes tens of milliseconds."""
        return max(map(len, self._vocab.pieces))

    def _draws_are_known(self) -> bool:
        """Whether `Draws` gives libllama's random numbers, which depend on the C++ library that it was built with."""
        seed, n = 12345, min(4096, self.n_vocab)
        draws = Draws(seed)
        chain = self._chain(SamplingParams(seed=seed, samplers=()))
        tokens = []
        for _ in range(8):
            self._own.candidates.fill(self._all_tokens[:n], np.zeros(n, np.float32))
            tokens.append(chain.select(self._own.candidates))
        chain.close()
        return tokens == [math.ceil(draws.next() * n) - 1 for _ in range(8)]

    # --- a step

    def sample(
        self, samplers: Sequence[LlamaSampler], logits: NDArray[np.float32], given: Sequence[int | None] = ()
    ) -> list[int]:
        if not given and all(sampler.is_plain for sampler in samplers):
            return self._sample_greedy(samplers, logits)
        for sampler in samplers:
            sampler.prepare()
        known = [sampler.forced(self._own) for sampler in samplers]
        for i, given_token in enumerate(given):
            if given_token is not None:
                known[i] = samplers[i].take(self._own, given_token)
        tokens = self._sample_rest(samplers, logits, known)
        self._sample_again(samplers, logits, tokens)
        for sampler, token in zip(samplers, tokens, strict=True):
            if token != NO_TOKEN:
                sampler.accept(token)
                if self._looks_ahead:
                    sampler.look_ahead(self._pool)
        return tokens

    def _sample_rest(
        self, samplers: Sequence[LlamaSampler], logits: NDArray[np.float32], known: Sequence[int | None]
    ) -> list[int]:
        """The tokens of all rows: those that are not known are sampled, slots of one kind at once."""
        methods = {Tier.GREEDY: self._sample_greedy, Tier.CANDIDATES: self._sample_candidates}
        groups: dict[Callable[..., list[int]], list[int]] = {}
        for i, sampler in enumerate(samplers):
            if known[i] is None:
                groups.setdefault(methods.get(sampler.tier, self._sample_others), []).append(i)
        tokens = [NO_TOKEN if token is None else token for token in known]
        for method, rows in groups.items():
            some = logits if len(rows) == len(samplers) else logits[rows]
            for i, token in zip(rows, method([samplers[i] for i in rows], some), strict=True):
                tokens[i] = token
        return tokens

    def _sample_again(self, samplers: Sequence[LlamaSampler], logits: NDArray[np.float32], tokens: list[int]) -> None:
        """Replace those of `tokens` that their constraints reject. Rejections are few, masks cost: hence this order."""
        rows = [i for i, sampler in enumerate(samplers) if sampler.rejects(tokens[i])]
        if not rows:
            return
        again = self._pool.map(self._choose_allowed, [samplers[i] for i in rows], [logits[i] for i in rows])
        for i, token in zip(rows, again, strict=True):
            tokens[i] = token

    def _sample_greedy(self, samplers: Sequence[LlamaSampler], logits: NDArray[np.float32]) -> list[int]:
        tokens = candidates.argmax(logits)
        return [sampler.likeliest(logits[i], tokens[i]) for i, sampler in enumerate(samplers)]

    def _sample_candidates(self, samplers: Sequence[LlamaSampler], logits: NDArray[np.float32]) -> list[int]:
        return self._in_parts(self._choose_among, samplers, logits, N_PER_TASK)

    def _sample_others(self, samplers: Sequence[LlamaSampler], logits: NDArray[np.float32]) -> list[int]:
        return self._in_parts(self._choose_each, samplers, logits, 1)

    def _in_parts(
        self,
        choose: Callable[[Desk, Sequence[LlamaSampler], NDArray[np.float32]], list[int]],
        samplers: Sequence[LlamaSampler],
        logits: NDArray[np.float32],
        n_least: int,
    ) -> list[int]:
        """What `choose` gives, in parts of at least `n_least` slots: the first here, the others on the pool."""
        n_parts = max(1, min(self._n_workers, len(samplers) // n_least))
        ends = [len(samplers) * i // n_parts for i in range(n_parts + 1)]

        def choose_part(first: int, last: int) -> list[int]:
            with self._desk() as desk:
                return choose(desk, samplers[first:last], logits[first:last])

        others = [self._pool.submit(choose_part, *part) for part in pairwise(ends[1:])]
        try:
            tokens = choose(self._own, samplers[: ends[1]], logits[: ends[1]])
        finally:
            wait(others)  # also when one fails: the samplers are closed then, and the logits overwritten
        for other in others:
            tokens += other.result()
        return tokens

    def _choose_among(self, desk: Desk, samplers: Sequence[LlamaSampler], logits: NDArray[np.float32]) -> list[int]:
        rows = candidates.top_tokens(logits, max(sampler.n_candidates for sampler in samplers))
        return [sampler.choose_among(desk, logits[i], rows[i]) for i, sampler in enumerate(samplers)]

    def _choose_each(self, desk: Desk, samplers: Sequence[LlamaSampler], logits: NDArray[np.float32]) -> list[int]:
        return [sampler.choose(desk, logits[i], self._all_tokens) for i, sampler in enumerate(samplers)]

    def _choose_allowed(self, sampler: LlamaSampler, row: NDArray[np.float32]) -> int:
        with self._desk() as desk:
            return sampler.choose_allowed(desk, row, self._all_tokens)

    @contextmanager
    def _desk(self) -> Iterator[Desk]:
        """On a pool thread. There are as many spare ones as threads, so `pop` always finds one."""
        desk = self._spare.pop()
        try:
            yield desk
        finally:
            self._spare.append(desk)

    def probs(self, sampler: LlamaSampler, row: NDArray[np.float32], token: int, n_top: int) -> TokenProbs:
        if sampler.post_probs is not None:
            return sampler.post_probs
        n_top = min(n_top, self.n_vocab)
        top = np.argpartition(row, self.n_vocab - n_top)[self.n_vocab - n_top :]
        top = top[np.argsort(-row[top], kind="stable")]
        values = candidates.log_softmax_at(row, np.append(top, token)).tolist()
        return TokenProbs(values[-1], tuple(zip(top.tolist(), values, strict=False)))
