"""Samplers: libllama's chains, run on as few candidates as the parameters allow. Implements `abc.SamplerFactory`."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .. import sampling
from ..abc import Constraint
from ..sampling import NO_TOKEN, Tier
from ..task import SamplingParams, TokenProbs
from .chain import Candidates, LlamaChain
from .model import LlamaVocab

MAX_HISTORY = 1 << 20
"""Tokens that penalties look back at most: libllama reserves memory for all it is asked for, 8 GiB for 2**31 - 1."""


class LlamaSampler:
    """The tier that one request's parameters allow, and its chain; implements `abc.Sampler`."""

    def __init__(
        self, params: SamplingParams, n_vocab: int, prompt: NDArray[np.int32], constraint: Constraint | None = None
    ) -> None:
        self._params = params
        self.constraint = constraint
        self._banned = np.array([token for token, bias in params.logit_bias if bias == -math.inf], np.int32)
        self._banned_set = frozenset(self._banned.tolist())
        self._biased = [token for token, _ in params.logit_bias]
        n_special = len(self._biased) + (params.repeat_last_n if params.has_penalties else 0)
        self.tier = sampling.choose_tier(params, n_special, n_vocab)
        self.n_candidates = sampling.n_candidates(params, n_special)
        self._recent: list[int] = []
        self._chain = LlamaChain(params, n_vocab) if self.tier is not Tier.GREEDY else None
        if params.has_penalties:
            for token in prompt[-params.repeat_last_n :].tolist():
                self._remember(token)

    @property
    def is_plain(self) -> bool:
        """Whether nothing has to be remembered: greedy, and free."""
        return self.tier is Tier.GREEDY and self.constraint is None

    def accept(self, token: int) -> None:
        """`token` is the next one of the answer."""
        if self.constraint is not None:
            self.constraint.accept(token)
        self._remember(token)

    def _remember(self, token: int) -> None:
        """Add a token to the history that penalties look at."""
        if self._chain is None:
            return
        self._chain.accept(token)
        if self._params.has_penalties:
            self._recent.append(token)
            del self._recent[: -self._params.repeat_last_n]

    def likeliest(self, row: NDArray[np.float32], token: int) -> int:
        """GREEDY: the largest logit's token, which is `token` unless that is banned."""
        return sampling.argmax_without(row, self._banned) if token in self._banned_set else token

    def choose_among(self, buffer: Candidates, row: NDArray[np.float32], tokens: NDArray[np.int32]) -> int:
        """CANDIDATES: what the chain selects among `tokens`, ascending, and those whose logits it changes first."""
        assert self._chain is not None, "a sampler that is greedy, or closed"
        if self._biased or self._recent:
            tokens = np.union1d(tokens, np.array(self._biased + self._recent, np.int32))
        return self._chain.select(buffer, tokens, row[tokens])

    def choose(self, buffer: Candidates, row: NDArray[np.float32], tokens: NDArray[np.int32]) -> int:
        """FULL: what the chain selects among all `tokens`. Any thread, without the GIL."""
        assert self._chain is not None, "a sampler that is greedy, or closed"
        return self._chain.select_long(buffer, tokens, row)

    def forced(self, buffer: Candidates) -> int:
        """The token that the constraint leaves no choice but, or NO_TOKEN.

        A draw is spent on it, as in llama-server, so that a seed gives the same tokens after it.
        """
        token = None if self.constraint is None else self.constraint.forced()
        if token is None:
            return NO_TOKEN
        if self._chain is not None:
            self._chain.select(buffer, np.array([token], np.int32), np.zeros(1, np.float32))
        return token

    def rejects(self, token: int) -> bool:
        """Whether a token was sampled that may not come."""
        return self.constraint is not None and token != NO_TOKEN and not self.constraint.allows(token)

    def choose_allowed(self, buffer: Candidates, row: NDArray[np.float32]) -> int:
        """What the chain selects among the tokens that the constraint allows. Any thread.

        The random numbers advance once more, as llama-server's do. A constraint is stronger than a ban: where all that
        it allows is banned, the likeliest of that is taken.
        """
        assert self.constraint is not None, "nothing was rejected"
        tokens = np.flatnonzero(self.constraint.mask()).astype(np.int32)
        free = np.setdiff1d(tokens, self._banned, assume_unique=True) if len(self._banned) else tokens
        if len(free) == 0 or self._chain is None:
            tokens = free if len(free) else tokens
            return int(tokens[row[tokens].argmax()]) if len(tokens) else NO_TOKEN
        return self._chain.select_long(buffer, free, row[free])

    def close(self) -> None:
        chain, self._chain = self._chain, None
        if chain is not None:
            chain.close()


class LlamaSamplerFactory:
    """Makes samplers over one vocabulary and samples for all slots of a step. Engine thread only.

    Keeps the buffers of candidates: the first use of a fresh one costs milliseconds of page faults with 128k tokens.
    Chains are each sampler's own.
    """

    def __init__(self, vocab: LlamaVocab, n_workers: int | None = None) -> None:
        self.n_vocab = vocab.n_tokens
        self._always_banned = tuple((token, -math.inf) for token in vocab.suppressed)
        self._eog_banned = tuple((token, -math.inf) for token in sorted(vocab.eog))
        self._all_tokens = np.arange(self.n_vocab, dtype=np.int32)
        self._few = Candidates(self.n_vocab)
        n_workers = n_workers or min(8, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(n_workers, thread_name_prefix="sampling")
        self._spare = [Candidates(self.n_vocab) for _ in range(n_workers)]  # one a thread of the pool

    def open(
        self, params: SamplingParams, prompt: NDArray[np.int32], constraint: Constraint | None = None
    ) -> LlamaSampler:
        sampling.check(params, self.n_vocab)
        return LlamaSampler(self._prepare(params), self.n_vocab, prompt, constraint)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _prepare(self, params: SamplingParams) -> SamplingParams:
        """The parameters with the bans that they and the model imply, and a bounded history."""
        bans = self._always_banned + (self._eog_banned if params.ignore_eos else ())
        return replace(
            params,
            logit_bias=params.logit_bias + bans,
            repeat_last_n=min(params.repeat_last_n, MAX_HISTORY),
        )

    def sample(self, samplers: Sequence[LlamaSampler], logits: NDArray[np.float32]) -> list[int]:
        if all(sampler.is_plain for sampler in samplers):
            return self._sample_greedy(samplers, logits)
        tokens = [sampler.forced(self._few) for sampler in samplers]
        self._sample_rest(samplers, logits, tokens)
        self._sample_again(samplers, logits, tokens)
        for sampler, token in zip(samplers, tokens, strict=True):
            if token != NO_TOKEN:
                sampler.accept(token)
        return tokens

    def _sample_rest(self, samplers: Sequence[LlamaSampler], logits: NDArray[np.float32], tokens: list[int]) -> None:
        """Sample what is not forced into `tokens`, each tier at once."""
        for tier, method in (
            (Tier.GREEDY, self._sample_greedy),
            (Tier.CANDIDATES, self._sample_candidates),
            (Tier.FULL, self._sample_full),
        ):
            rows = [i for i, sampler in enumerate(samplers) if tokens[i] == NO_TOKEN and sampler.tier is tier]
            if rows:
                chosen = [samplers[i] for i in rows]
                some = logits if len(rows) == len(samplers) else logits[rows]
                for i, token in zip(rows, method(chosen, some), strict=True):
                    tokens[i] = token

    def _sample_again(self, samplers: Sequence[LlamaSampler], logits: NDArray[np.float32], tokens: list[int]) -> None:
        """Replace those of `tokens` that their constraints reject. Rejections are few, masks cost: hence this order."""
        rows = [i for i, sampler in enumerate(samplers) if sampler.rejects(tokens[i])]
        if not rows:
            return
        again = self._pool.map(self._choose_allowed, [samplers[i] for i in rows], [logits[i] for i in rows])
        for i, token in zip(rows, again, strict=True):
            tokens[i] = token

    def _sample_greedy(self, samplers: Sequence[LlamaSampler], logits: NDArray[np.float32]) -> list[int]:
        tokens = sampling.argmax(logits)
        return [sampler.likeliest(logits[i], tokens[i]) for i, sampler in enumerate(samplers)]

    def _sample_candidates(self, samplers: Sequence[LlamaSampler], logits: NDArray[np.float32]) -> list[int]:
        n = max(sampler.n_candidates for sampler in samplers)
        rows = sampling.top_tokens(logits, n)
        return [sampler.choose_among(self._few, logits[i], rows[i]) for i, sampler in enumerate(samplers)]

    def _sample_full(self, samplers: Sequence[LlamaSampler], logits: NDArray[np.float32]) -> list[int]:
        return list(self._pool.map(self._choose, samplers, logits))

    def _choose(self, sampler: LlamaSampler, row: NDArray[np.float32]) -> int:
        with self._buffer() as buffer:
            return sampler.choose(buffer, row, self._all_tokens)

    def _choose_allowed(self, sampler: LlamaSampler, row: NDArray[np.float32]) -> int:
        with self._buffer() as buffer:
            return sampler.choose_allowed(buffer, row)

    @contextmanager
    def _buffer(self) -> Iterator[Candidates]:
        """On a pool thread. There are as many spare buffers as threads, so `pop` always finds one."""
        buffer = self._spare.pop()
        try:
            yield buffer
        finally:
            self._spare.append(buffer)

    def probs(self, row: NDArray[np.float32], token: int, n_top: int) -> TokenProbs:
        n_top = min(n_top, self.n_vocab)
        top = np.argpartition(row, self.n_vocab - n_top)[self.n_vocab - n_top :]
        top = top[np.argsort(-row[top], kind="stable")]
        values = sampling.log_softmax_at(row, np.append(top, token)).tolist()
        return TokenProbs(values[-1], tuple(zip(top.tolist(), values, strict=False)))
