"""Chain: libllama's sampler stages for one request, and the candidates that a chain is applied to."""

from __future__ import annotations

import ctypes as c
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..sampling import NO_TOKEN
from ..task import SamplingParams
from . import library
from .structs import LogitBias, TokenData, TokenDataArray

TOKEN_DATA = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
assert TOKEN_DATA.itemsize == c.sizeof(TokenData)


class Candidates:
    """A llama_token_data_array over a numpy buffer of fixed capacity, for one chain after another.

    Its memory is touched only as far as it is used, and costs page faults when it first is: keep it.
    """

    def __init__(self, capacity: int) -> None:
        self._data = np.zeros(capacity, TOKEN_DATA)
        self._array = TokenDataArray()
        self.pointer = c.byref(self._array)

    def fill(self, tokens: NDArray[np.int32], logits: NDArray[np.float32]) -> None:
        """Hold `tokens` and the logit of each, nothing selected."""
        n, data, array = len(logits), self._data, self._array
        data["id"][:n] = tokens
        data["logit"][:n] = logits
        array.data, array.size, array.selected, array.sorted = data.ctypes.data, n, -1, False

    @property
    def selected(self) -> int:
        """The token that a chain has selected, or NO_TOKEN."""
        array = self._array
        if not 0 <= array.selected < array.size:
            return NO_TOKEN
        return int(c.c_int32.from_address(array.data + array.selected * TOKEN_DATA.itemsize).value)


class LlamaChain:
    """The stages that `params` ask for, in llama-server's default order, without those that would change nothing.

    Its history and its random numbers belong to one request; to make a chain and free it takes some 30 us.
    """

    def __init__(self, params: SamplingParams, n_vocab: int) -> None:
        self._lib = lib = library.load()
        chain_params = lib.llama_sampler_chain_default_params()
        chain_params.no_perf = True
        self._handle: int | None = lib.llama_sampler_chain_init(chain_params)
        for stage in _stages(lib, params, n_vocab):
            lib.llama_sampler_chain_add(self._handle, stage)  # which owns the stage from now on

    @property
    def handle(self) -> int:
        assert self._handle is not None, "the chain is closed"
        return self._handle

    def accept(self, token: int) -> None:
        """Add a token to the history that penalties look at."""
        self._lib.llama_sampler_accept(self.handle, token)

    def select(self, candidates: Candidates, tokens: NDArray[np.int32], logits: NDArray[np.float32]) -> int:
        """Apply the chain to a few `tokens` with their `logits`; the token that it selects.

        NO_TOKEN for logits that are not numbers, which libllama would abort on or sort beyond its memory.
        """
        return self._select(self._lib.llama_sampler_apply, candidates, tokens, logits)

    def select_long(self, candidates: Candidates, tokens: NDArray[np.int32], logits: NDArray[np.float32]) -> int:
        """`select` for many tokens, without the GIL meanwhile."""
        return self._select(self._lib.llama_sampler_apply_long, candidates, tokens, logits)

    def _select(
        self, apply: Any, candidates: Candidates, tokens: NDArray[np.int32], logits: NDArray[np.float32]
    ) -> int:
        if len(logits) == 0 or math.isnan(logits.max()):
            return NO_TOKEN
        candidates.fill(tokens, logits)
        apply(self.handle, candidates.pointer)
        return candidates.selected

    def close(self) -> None:
        """Free the chain with its stages. Safe twice."""
        handle, self._handle = self._handle, None
        if handle:
            self._lib.llama_sampler_free(handle)


def _stages(lib: Any, params: SamplingParams, n_vocab: int) -> Iterator[int]:
    if params.logit_bias:
        biases = (LogitBias * len(params.logit_bias))(*(LogitBias(*bias) for bias in params.logit_bias))
        yield lib.llama_sampler_init_logit_bias(n_vocab, len(biases), c.addressof(biases))
    if params.has_penalties:
        yield lib.llama_sampler_init_penalties(
            n_vocab,
            params.repeat_last_n,
            params.repeat_penalty,
            params.frequency_penalty,
            params.presence_penalty,
        )
    if params.top_k > 0:
        yield lib.llama_sampler_init_top_k(params.top_k)
    if params.top_p < 1:
        yield lib.llama_sampler_init_top_p(params.top_p, params.min_keep)
    if params.min_p > 0:
        yield lib.llama_sampler_init_min_p(params.min_p, params.min_keep)
    yield lib.llama_sampler_init_temp_ext(params.temperature, 0.0, 1.0)
    yield lib.llama_sampler_init_dist(params.seed)
