"""The oracle of the sampler tests: libllama's own chain over the whole vocabulary, as llama-server builds it."""

from __future__ import annotations

import ctypes as c
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from llamahttp.binding import library
from llamahttp.binding.structs import LogitBias, TokenDataArray
from llamahttp.task import SamplingParams

CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class FullChain:
    """Every stage, also those that change nothing, applied to all tokens. Use it in a `with` block."""

    def __init__(self, params: SamplingParams, eog: frozenset[int], n_vocab: int, prompt: NDArray[np.int32]) -> None:
        self._lib = lib = library.load()
        self._n_vocab = n_vocab
        bans = [(token, -np.inf) for token in sorted(eog)] if params.ignore_eos else []
        biases = [LogitBias(*bias) for bias in (*params.logit_bias, *bans)]
        array = (LogitBias * len(biases))(*biases)
        self._chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        for stage in (
            lib.llama_sampler_init_logit_bias(n_vocab, len(biases), c.addressof(array)),
            lib.llama_sampler_init_penalties(
                n_vocab,
                params.repeat_last_n,
                params.repeat_penalty,
                params.frequency_penalty,
                params.presence_penalty,
            ),
            lib.llama_sampler_init_top_k(params.top_k),
            lib.llama_sampler_init_top_p(params.top_p, params.min_keep),
            lib.llama_sampler_init_min_p(params.min_p, params.min_keep),
            lib.llama_sampler_init_temp_ext(params.temperature, 0.0, 1.0),
            lib.llama_sampler_init_dist(params.seed),
        ):
            lib.llama_sampler_chain_add(self._chain, stage)
        for token in prompt.tolist():
            lib.llama_sampler_accept(self._chain, token)

    def __enter__(self) -> FullChain:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lib.llama_sampler_free(self._chain)

    def sample(self, row: NDArray[np.float32]) -> int:
        """The token that the chain selects from float32[n_vocab], accepted into its history."""
        return self._accept(self._select(row))

    def sample_allowed(self, row: NDArray[np.float32], allowed: NDArray[np.bool_]) -> int:
        """As llama-server does under a grammar: if the selected token is not allowed, select once more among those."""
        token = self._select(row)
        return self._accept(token if allowed[token] else self._select(np.where(allowed, row, np.float32(-np.inf))))

    def _select(self, row: NDArray[np.float32]) -> int:
        data = np.zeros(self._n_vocab, CANDIDATE)
        data["id"], data["logit"] = np.arange(self._n_vocab), row
        array = TokenDataArray(data=data.ctypes.data, size=len(data), selected=-1, sorted=False)
        self._lib.llama_sampler_apply(self._chain, c.byref(array))
        first = (array.data - data.ctypes.data) // data.itemsize  # xtc moves the beginning of the array
        return int(data["id"][first + array.selected])

    def _accept(self, token: int) -> int:
        self._lib.llama_sampler_accept(self._chain, token)
        return token
