"""Samplers: libllama's chains, run on as few candidates as the parameters allow. Implements `abc.SamplerFactory`."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .. import sampling
from ..sampling import NO_TOKEN, Tier
from ..task import SamplingParams, TokenProbs
from .chain import Candidates, LlamaChain
from .model import LlamaVocab

MAX_HISTORY = 1 << 20
"""Tokens that penalties look back at most: libllama reserves memory for all it is asked for, 8 GiB for 2**31 - 1."""


class LlamaSampler:
    """The tier that one request's parameters allow, and its chain; implements `abc.Sampler`."""

    def __init__(self, params: SamplingParams, n_vocab: int, prompt: NDArray[np.int32]) -> None:
        self._params = params
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
                self.accept(token)

    def accept(self, token: int) -> None:
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

    def open(self, params: SamplingParams, prompt: NDArray[np.int32]) -> LlamaSampler:
        sampling.check(params, self.n_vocab)
        return LlamaSampler(self._prepare(params), self.n_vocab, prompt)

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
        if all(sampler.tier is Tier.GREEDY for sampler in samplers):
            return self._sample_greedy(samplers, logits)
        tokens = [NO_TOKEN] * len(samplers)
        for tier, method in (
            (Tier.GREEDY, self._sample_greedy),
            (Tier.CANDIDATES, self._sample_candidates),
            (Tier.FULL, self._sample_full),
        ):
            rows = [i for i, sampler in enumerate(samplers) if sampler.tier is tier]
            if rows:
                chosen = [samplers[i] for i in rows]
                some = logits if len(rows) == len(samplers) else logits[rows]
                for i, token in zip(rows, method(chosen, some), strict=True):
                    tokens[i] = token
        for sampler, token in zip(samplers, tokens, strict=True):
            if token != NO_TOKEN:
                sampler.accept(token)
        return tokens

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
        """On a pool thread. There are as many spare buffers as threads, so `pop` always finds one."""
        buffer = self._spare.pop()
        try:
            return sampler.choose(buffer, row, self._all_tokens)
        finally:
            self._spare.append(buffer)

    def probs(self, row: NDArray[np.float32], token: int, n_top: int) -> TokenProbs:
        n_top = min(n_top, self.n_vocab)
        top = np.argpartition(row, self.n_vocab - n_top)[self.n_vocab - n_top :]
        top = top[np.argsort(-row[top], kind="stable")]
        values = sampling.log_softmax_at(row, np.append(top, token)).tolist()
        return TokenProbs(values[-1], tuple(zip(top.tolist(), values, strict=False)))
