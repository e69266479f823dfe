"""Samplers: libllama's chains, run on as few candidates as the parameters allow. Implements `abc.SamplerFactory`."""

from __future__ import annotations

import ctypes as c
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import sampling
from ..sampling import Path
from ..task import SamplingParams, TokenProbs
from . import library
from .model import LlamaVocab
from .structs import LogitBias, TokenData, TokenDataArray

TOKEN_DATA = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
assert TOKEN_DATA.itemsize == c.sizeof(TokenData)

MAX_HISTORY = 1 << 20
"""Tokens that penalties look back at most: libllama reserves memory for all it is asked for, 8 GiB for 2**31 - 1."""


class Candidates:
    """A llama_token_data_array over a numpy buffer of fixed capacity."""

    def __init__(self, capacity: int) -> None:
        self._data = np.zeros(capacity, TOKEN_DATA)
        self._array = TokenDataArray()
        self._pointer = c.byref(self._array)

    def run(self, apply: Callable[[int, Any], None], chain: int, tokens: Any, logits: NDArray[np.float32]) -> int:
        """Fill with `tokens` and their `logits`, apply the chain, return the token it selected.

        NO_TOKEN for logits that are not numbers, which libllama would abort on or sort beyond its memory.
        """
        n, data, array = len(logits), self._data, self._array
        if n == 0 or math.isnan(logits.max()):
            return sampling.NO_TOKEN
        data["id"][:n] = tokens
        data["logit"][:n] = logits
        array.data, array.size, array.selected, array.sorted = data.ctypes.data, n, -1, False
        apply(chain, self._pointer)
        if not 0 <= array.selected < array.size:
            return sampling.NO_TOKEN
        return int(c.c_int32.from_address(array.data + array.selected * TOKEN_DATA.itemsize).value)


class LlamaSampler:
    """The chain of one request, and the path that its parameters allow; implements `abc.Sampler`."""

    def __init__(self, factory: LlamaSamplerFactory, params: SamplingParams, prompt: NDArray[np.int32]) -> None:
        self._factory: LlamaSamplerFactory | None = factory
        self._lib = factory.lib
        self._params = params
        self.banned = np.array([token for token, bias in params.logit_bias if bias == -math.inf], np.int32)
        self.banned_set = frozenset(self.banned.tolist())
        self._biased = [token for token, _ in params.logit_bias]
        n_special = len(self._biased) + (params.repeat_last_n if params.has_penalties else 0)
        self.path = sampling.choose_path(params, n_special, factory.n_vocab)
        self.n_candidates = sampling.n_candidates(params, n_special)
        self._recent: list[int] = []
        self.chain: int | None = None
        if self.path is not Path.GREEDY:
            self.chain = factory.take_chain(params)
            if params.has_penalties:
                for token in prompt[-params.repeat_last_n :].tolist():
                    self.accept(token)

    def accept(self, token: int) -> None:
        """Add a token to the history that penalties look at."""
        if self.chain is None:
            return
        self._lib.llama_sampler_accept(self.chain, token)
        if self._params.has_penalties:
            self._recent.append(token)
            del self._recent[: -self._params.repeat_last_n]

    @property
    def special(self) -> NDArray[np.int32]:
        """Tokens whose logits the chain changes before it cuts: they must be among the candidates."""
        return np.array(self._biased + self._recent, np.int32)

    def close(self) -> None:
        factory, self._factory = self._factory, None
        if factory is not None and self.chain is not None:
            factory.free_chain(self.chain)
            self.chain = None


class LlamaSamplerFactory:
    """Makes samplers over one vocabulary and samples for all slots of a step. Engine thread only."""

    def __init__(self, vocab: LlamaVocab, n_workers: int | None = None) -> None:
        self.lib = library.load()
        self.vocab = vocab
        self.n_vocab = vocab.n_tokens
        self._always_banned = tuple((token, -math.inf) for token in vocab.suppressed)
        self._eog_banned = tuple((token, -math.inf) for token in sorted(vocab.eog))
        self._few = Candidates(self.n_vocab)  # touched only as far as it is used
        self._all_tokens = np.arange(self.n_vocab, dtype=np.int32)
        self._n_workers = n_workers or min(8, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(self._n_workers, thread_name_prefix="sampling")
        self._spare = [Candidates(self.n_vocab) for _ in range(self._n_workers)]

    def open(self, params: SamplingParams, prompt: NDArray[np.int32]) -> LlamaSampler:
        sampling.check(params, self.n_vocab)
        return LlamaSampler(self, self._prepare(params), prompt)

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

    # --- chains

    def take_chain(self, params: SamplingParams) -> int:
        """A new chain in llama-server's default order, without the stages that would change nothing."""
        lib = self.lib
        chain_params = lib.llama_sampler_chain_default_params()
        chain_params.no_perf = True
        chain: int = lib.llama_sampler_chain_init(chain_params)
        for stage in self._stages(params):
            lib.llama_sampler_chain_add(chain, stage)
        return chain

    def _stages(self, params: SamplingParams) -> list[int]:
        lib, stages = self.lib, []
        if params.logit_bias:
            biases = (LogitBias * len(params.logit_bias))(*(LogitBias(*bias) for bias in params.logit_bias))
            stages.append(lib.llama_sampler_init_logit_bias(self.n_vocab, len(biases), c.addressof(biases)))
        if params.has_penalties:
            stages.append(
                lib.llama_sampler_init_penalties(
                    self.n_vocab,
                    params.repeat_last_n,
                    params.repeat_penalty,
                    params.frequency_penalty,
                    params.presence_penalty,
                )
            )
        if params.top_k > 0:
            stages.append(lib.llama_sampler_init_top_k(params.top_k))
        if params.top_p < 1:
            stages.append(lib.llama_sampler_init_top_p(params.top_p, params.min_keep))
        if params.min_p > 0:
            stages.append(lib.llama_sampler_init_min_p(params.min_p, params.min_keep))
        stages.append(lib.llama_sampler_init_temp_ext(params.temperature, 0.0, 1.0))
        stages.append(lib.llama_sampler_init_dist(params.seed))
        return stages

    def free_chain(self, chain: int) -> None:
        """Free a chain and the stages that it owns."""
        self.lib.llama_sampler_free(chain)

    # --- sampling

    def sample(self, samplers: Sequence[LlamaSampler], logits: NDArray[np.float32]) -> list[int]:
        if all(sampler.path is Path.GREEDY for sampler in samplers):
            return self._sample_greedy(samplers, logits)
        tokens = [0] * len(samplers)
        for path, method in (
            (Path.GREEDY, self._sample_greedy),
            (Path.CANDIDATES, self._sample_candidates),
            (Path.FULL, self._sample_full),
        ):
            rows = [i for i, sampler in enumerate(samplers) if sampler.path is path]
            if rows:
                chosen = [samplers[i] for i in rows]
                some = logits if len(rows) == len(samplers) else logits[rows]
                for i, token in zip(rows, method(chosen, some), strict=True):
                    tokens[i] = token
        return tokens

    def _sample_greedy(self, samplers: Sequence[LlamaSampler], logits: NDArray[np.float32]) -> list[int]:
        tokens = sampling.argmax(logits)
        for i, sampler in enumerate(samplers):
            if tokens[i] in sampler.banned_set:
                tokens[i] = sampling.argmax_without(logits[i], sampler.banned)
        return tokens

    def _sample_candidates(self, samplers: Sequence[LlamaSampler], logits: NDArray[np.float32]) -> list[int]:
        n = max(sampler.n_candidates for sampler in samplers)
        rows = sampling.top_tokens(logits, n)
        return [self._sample_few(sampler, logits[i], rows[i]) for i, sampler in enumerate(samplers)]

    def _sample_few(self, sampler: LlamaSampler, row: NDArray[np.float32], candidates: NDArray[np.int32]) -> int:
        assert sampler.chain is not None
        special = sampler.special
        if len(special):
            candidates = np.union1d(candidates, special)
        token = self._few.run(self.lib.llama_sampler_apply, sampler.chain, candidates, row[candidates])
        if token != sampling.NO_TOKEN:
            sampler.accept(token)
        return token

    def _sample_full(self, samplers: Sequence[LlamaSampler], logits: NDArray[np.float32]) -> list[int]:
        tokens = list(self._pool.map(self._apply_full, samplers, logits))
        for sampler, token in zip(samplers, tokens, strict=True):
            if token != sampling.NO_TOKEN:
                sampler.accept(token)
        return tokens

    def _apply_full(self, sampler: LlamaSampler, row: NDArray[np.float32]) -> int:
        """On a pool thread. There are as many spare buffers as threads, so `pop` always finds one."""
        assert sampler.chain is not None
        buffer = self._spare.pop()
        try:
            return buffer.run(self.lib.llama_sampler_apply_long, sampler.chain, self._all_tokens, row)
        finally:
            self._spare.append(buffer)

    def probs(self, row: NDArray[np.float32], token: int, n_top: int) -> TokenProbs:
        n_top = min(n_top, self.n_vocab)
        top = np.argpartition(row, self.n_vocab - n_top)[self.n_vocab - n_top :]
        top = top[np.argsort(-row[top], kind="stable")]
        values = sampling.log_softmax_at(row, np.append(top, token)).tolist()
        return TokenProbs(values[-1], tuple(zip(top.tolist(), values, strict=False)))
