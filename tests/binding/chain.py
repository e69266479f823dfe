"""The oracle of the sampler tests: libllama's own chain over the whole vocabulary, as llama-server builds it."""

from __future__ import annotations

import ctypes as c
from collections.abc import Iterator
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from llamahttp.binding import library
from llamahttp.binding.structs import LogitBias, TokenDataArray
from llamahttp.task import SamplingParams

CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class FullChain:
    """Every stage, also those that change nothing, applied to all tokens. Use it in a `with` block."""

    def __init__(
        self,
        params: SamplingParams,
        eog: frozenset[int],
        n_vocab: int,
        prompt: NDArray[np.int32],
        vocab: int | None = None,
    ) -> None:
        self._lib = lib = library.load()
        self._n_vocab = n_vocab
        self._vocab = vocab
        bans = [(token, -np.inf) for token in sorted(eog)] if params.ignore_eos else []
        biases = [LogitBias(*bias) for bias in (*params.logit_bias, *bans)]
        array = (LogitBias * len(biases))(*biases)
        self._chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        for stage in (
            lib.llama_sampler_init_logit_bias(n_vocab, len(biases), c.addressof(array)),
            *self._stages(params),
        ):
            lib.llama_sampler_chain_add(self._chain, stage)
        for token in prompt.tolist():
            lib.llama_sampler_accept(self._chain, token)

    def _stages(self, p: SamplingParams) -> Iterator[int]:
        lib = self._lib
        if p.mirostat:
            yield lib.llama_sampler_init_temp(p.temperature)
            if p.mirostat == 1:
                yield lib.llama_sampler_init_mirostat(self._n_vocab, p.seed, p.mirostat_tau, p.mirostat_eta, 100)
            else:
                yield lib.llama_sampler_init_mirostat_v2(p.seed, p.mirostat_tau, p.mirostat_eta)
            return
        for name in p.samplers:
            if name != "adaptive_p":
                yield self._stage(name, p)
        if "adaptive_p" in p.samplers:
            yield lib.llama_sampler_init_adaptive_p(p.adaptive_target, p.adaptive_decay, p.seed)
        else:
            yield lib.llama_sampler_init_dist(p.seed)

    def _stage(self, name: str, p: SamplingParams) -> int:
        lib = self._lib
        match name:
            case "penalties":
                stage = lib.llama_sampler_init_penalties(
                    self._n_vocab, p.repeat_last_n, p.repeat_penalty, p.frequency_penalty, p.presence_penalty
                )
            case "dry":
                texts = [text.encode() for text in p.dry_sequence_breakers]
                array = (c.c_char_p * len(texts))(*texts)
                stage = lib.llama_sampler_init_dry(
                    self._vocab,
                    p.dry_multiplier,
                    p.dry_base,
                    p.dry_allowed_length,
                    p.dry_penalty_last_n,
                    c.addressof(array) if texts else None,
                    len(texts),
                )
            case "top_n_sigma":
                stage = lib.llama_sampler_init_top_n_sigma(p.top_n_sigma)
            case "top_k":
                stage = lib.llama_sampler_init_top_k(p.top_k)
            case "typ_p":
                stage = lib.llama_sampler_init_typical(p.typical_p, p.min_keep)
            case "top_p":
                stage = lib.llama_sampler_init_top_p(p.top_p, p.min_keep)
            case "min_p":
                stage = lib.llama_sampler_init_min_p(p.min_p, p.min_keep)
            case "xtc":
                stage = lib.llama_sampler_init_xtc(p.xtc_probability, p.xtc_threshold, p.min_keep, p.seed)
            case "temperature":
                stage = lib.llama_sampler_init_temp_ext(p.temperature, p.dynatemp_range, p.dynatemp_exponent)
            case _:
                assert name == "infill"
                stage = lib.llama_sampler_init_infill(self._vocab)
        return int(stage)

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
