"""SamplerFactory: makes samplers over one vocabulary and samples for all slots of a step.

Implements `abc.SamplerFactory`. Engine thread only, but for `prepare`.
"""

from __future__ import annotations

import math
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .. import candidates, sampling
from ..abc import Constraint
from ..candidates import N_STAND_INS, NO_TOKEN, Scratch
from ..draws import Draws
from ..errors import InvalidRequest
from ..sampling import Tier
from ..task import RANDOM_SEED, SamplingParams, TokenProbs
from .chain import Candidates, LlamaChain
from .dry import DryStages
from .model import LlamaVocab
from .sampler import Desk, LlamaSampler

MAX_HISTORY = 1 << 20
"""Tokens that penalties and DRY look back at most: libllama reserves memory for all it is asked for, up to 8 GiB."""

MAX_INFILL_PIECE = 512
"""Bytes of a token's text that libllama's infill has room for."""

LONG_CHOICE_S = 0.0005
"""Seconds for a choice among allowed tokens above which those of other slots are made on the pool."""


class LlamaSamplerFactory:
    """Owns the pool of threads, and of each thread what it needs to sample."""

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
        began, (first, *others) = time.perf_counter(), rows
        tokens[first] = samplers[first].choose_allowed(self._own, logits[first], self._all_tokens)
        # threads gain only where llguidance, which needs no GIL, takes most of the time: else they wait for each other
        is_long = time.perf_counter() - began > LONG_CHOICE_S
        chosen = (self._pool.map if is_long else map)(
            self._choose_allowed, [samplers[i] for i in others], [logits[i] for i in others]
        )
        for i, token in zip(others, chosen, strict=True):
            tokens[i] = token

    def _sample_greedy(self, samplers: Sequence[LlamaSampler], logits: NDArray[np.float32]) -> list[int]:
        tokens = candidates.argmax(logits)
        return [sampler.likeliest(logits[i], tokens[i]) for i, sampler in enumerate(samplers)]

    def _sample_candidates(self, samplers: Sequence[LlamaSampler], logits: NDArray[np.float32]) -> list[int]:
        """All on this thread: each row is many short steps, and threads that take turns at the GIL take half as long
        again as one."""
        return [sampler.choose_among_few(self._own, row) for sampler, row in zip(samplers, logits, strict=True)]

    def _sample_others(self, samplers: Sequence[LlamaSampler], logits: NDArray[np.float32]) -> list[int]:
        """In parts: the first here, the others on the pool."""
        n_parts = min(self._n_workers, len(samplers))
        ends = [len(samplers) * i // n_parts for i in range(n_parts + 1)]

        def choose_part(first: int, last: int) -> list[int]:
            with self._desk() as desk:
                return self._choose_each(desk, samplers[first:last], logits[first:last])

        others = [self._pool.submit(choose_part, *part) for part in pairwise(ends[1:])]
        try:
            tokens = self._choose_each(self._own, samplers[: ends[1]], logits[: ends[1]])
        finally:
            wait(others)  # also when one fails: the samplers are closed then, and the logits overwritten
        for other in others:
            tokens += other.result()
        return tokens

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
