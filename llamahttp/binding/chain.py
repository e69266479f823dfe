"""Chain: libllama's sampler stages for one request, and the candidates that a chain is applied to."""

from __future__ import annotations

import ctypes as c
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..candidates import NO_TOKEN
from ..sampling import stages
from ..task import SamplingParams, TokenProbs
from . import library
from .dry import DryStages
from .structs import LogitBias, TokenData, TokenDataArray

TOKEN_DATA = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
assert TOKEN_DATA.itemsize == c.sizeof(TokenData)

MAX_SHORT = 2048
"""Candidates that a chain is applied to with the GIL: giving it away would cost more."""

MIROSTAT_M = 100
"""Tokens from which Mirostat 1 estimates the distribution; llama-server's."""


class Candidates:
    """A llama_token_data_array over a numpy buffer of fixed capacity, for one chain after another.

    Its memory is touched only as far as it is used, and costs page faults when it first is: keep it.
    """

    def __init__(self, capacity: int) -> None:
        self._data = np.zeros(capacity, TOKEN_DATA)
        self._address = self._data.ctypes.data
        self._array = TokenDataArray()
        self.pointer = c.byref(self._array)

    def fill(self, tokens: NDArray[np.int32], logits: NDArray[np.float32], *, is_sorted: bool = False) -> None:
        """Hold `tokens` and the logit of each, nothing selected."""
        n, data, array = len(logits), self._data, self._array
        data["id"][:n] = tokens
        data["logit"][:n] = logits
        array.data, array.size, array.selected, array.sorted = self._address, n, -1, is_sorted

    @property
    def size(self) -> int:
        """How many there are now."""
        return int(self._array.size)

    def logits(self, n: int) -> NDArray[np.float32]:
        """Of the first `n`, in the order in which they were filled in unless a chain has sorted them; a view."""
        return self._data["logit"][:n]

    @property
    def selected(self) -> int:
        """The token that a chain has selected, or NO_TOKEN."""
        array = self._array
        if not 0 <= array.selected < array.size:
            return NO_TOKEN
        return int(c.c_int32.from_address(array.data + array.selected * TOKEN_DATA.itemsize).value)

    def probs(self, token: int, n_top: int) -> TokenProbs:
        """The logarithms of the probabilities of `token` and of the `n_top` likeliest that the chain has left."""
        array = self._array
        start = (array.data - self._address) // TOKEN_DATA.itemsize  # xtc moves the beginning
        left = self._data[start : start + array.size]
        p = left["p"]
        own = float(p[left["id"] == token][0])
        if array.sorted:
            top = np.arange(min(n_top, len(p)))
        else:
            top = np.argpartition(-p, min(n_top, len(p)) - 1)[:n_top]
            top = top[np.argsort(-p[top], kind="stable")]
        top = top[: np.append(p[top] == 0, True).argmax()]  # as llama-server, up to the first without a chance
        pairs = zip(left["id"][top].tolist(), np.log(p[top], dtype=np.float64).tolist(), strict=True)
        return TokenProbs(math.log(own) if own > 0 else -math.inf, tuple(pairs))


class LlamaChain:
    """The stages that `params` ask for, in their order, without those that would change nothing.

    Its history and its random numbers belong to one request; to make a chain and free it takes some 30 us. It is a
    chain of two, so that the first `n_before` stages can be applied alone, and the others.
    """

    def __init__(self, params: SamplingParams, vocab: int, n_vocab: int, dry: DryStages, n_before: int = 0) -> None:
        """`vocab` is libllama's; DRY and infill read it."""
        self._lib = lib = library.load()
        chain_params = lib.llama_sampler_chain_default_params()
        chain_params.no_perf = True
        self._handle: int | None = lib.llama_sampler_chain_init(chain_params)
        self._before, self._rest = (lib.llama_sampler_chain_init(chain_params) for _ in range(2))
        for part in (self._before, self._rest):
            lib.llama_sampler_chain_add(self._handle, part)  # which owns it from now on
        self._stages = tuple(_Stages(lib, params, vocab, n_vocab, dry))
        for i, stage in enumerate(self._stages):
            lib.llama_sampler_chain_add(self._before if i < n_before else self._rest, stage)

    @property
    def handle(self) -> int:
        assert self._handle is not None, "the chain is closed"
        return self._handle

    def copy(self) -> int:
        """A chain of copies of the stages, with their history and random numbers, for its caller to free.

        It is one chain, not two: of chains within a chain libllama may skip stages that no device has computed.
        """
        assert self._handle is not None, "the chain is closed"
        params = self._lib.llama_sampler_chain_default_params()
        params.no_perf = True
        copy = int(self._lib.llama_sampler_chain_init(params))
        for stage in self._stages:
            self._lib.llama_sampler_chain_add(copy, self._lib.llama_sampler_clone(stage))
        return copy

    def accept(self, token: int) -> None:
        """Add a token to the history that penalties look at."""
        self._lib.llama_sampler_accept(self.handle, token)

    def change(self, candidates: Candidates) -> None:
        """Apply the first `n_before` stages only. None of them cuts, sorts or selects."""
        assert self._handle is not None, "the chain is closed"
        self._apply(self._before, candidates)

    def select(self, candidates: Candidates) -> int:
        """Apply the chain; the token that it selects."""
        self._apply(self.handle, candidates)
        return candidates.selected

    def select_changed(self, candidates: Candidates) -> int:
        """Apply what comes behind the first `n_before` stages; the token that it selects."""
        assert self._handle is not None, "the chain is closed"
        self._apply(self._rest, candidates)
        return candidates.selected

    def _apply(self, handle: int, candidates: Candidates) -> None:
        """To many candidates without the GIL meanwhile."""
        lib = self._lib
        apply = lib.llama_sampler_apply if candidates.size <= MAX_SHORT else lib.llama_sampler_apply_long
        apply(handle, candidates.pointer)

    def skip(self, candidates: Candidates, token: int) -> None:
        """Spend the random numbers of one selection, of which `token` is the result."""
        candidates.fill(np.array([token], np.int32), np.zeros(1, np.float32))
        self.select(candidates)

    def close(self) -> None:
        """Free the chain with its stages. Safe twice."""
        handle, self._handle = self._handle, None
        if handle:
            self._lib.llama_sampler_free(handle)


class _Stages:
    """Makes libllama's stages, each with the arguments that llama-server gives it."""

    def __init__(self, lib: Any, params: SamplingParams, vocab: int, n_vocab: int, dry: DryStages) -> None:
        self._lib = lib
        self._params = params
        self._vocab = vocab
        self._n_vocab = n_vocab
        self._dry = dry

    def __iter__(self) -> Iterator[int]:
        params = self._params
        if params.logit_bias:
            yield self.logit_bias()
        if params.mirostat:
            yield self._lib.llama_sampler_init_temp(params.temperature)
        else:
            for name in stages(params):
                yield getattr(self, name)()
        yield self.last()

    def logit_bias(self) -> int:
        pairs = self._params.logit_bias
        biases = (LogitBias * len(pairs))(*(LogitBias(*pair) for pair in pairs))
        return int(self._lib.llama_sampler_init_logit_bias(self._n_vocab, len(biases), c.addressof(biases)))

    def penalties(self) -> int:
        p = self._params
        return int(
            self._lib.llama_sampler_init_penalties(
                self._n_vocab, p.repeat_last_n, p.repeat_penalty, p.frequency_penalty, p.presence_penalty
            )
        )

    def dry(self) -> int:
        return self._dry.stage(self._params)

    def top_n_sigma(self) -> int:
        return int(self._lib.llama_sampler_init_top_n_sigma(self._params.top_n_sigma))

    def top_k(self) -> int:
        return int(self._lib.llama_sampler_init_top_k(self._params.top_k))

    def typ_p(self) -> int:
        return int(self._lib.llama_sampler_init_typical(self._params.typical_p, self._params.min_keep))

    def top_p(self) -> int:
        return int(self._lib.llama_sampler_init_top_p(self._params.top_p, self._params.min_keep))

    def min_p(self) -> int:
        return int(self._lib.llama_sampler_init_min_p(self._params.min_p, self._params.min_keep))

    def xtc(self) -> int:
        p = self._params
        return int(self._lib.llama_sampler_init_xtc(p.xtc_probability, p.xtc_threshold, p.min_keep, p.seed))

    def temperature(self) -> int:
        p = self._params
        return int(self._lib.llama_sampler_init_temp_ext(p.temperature, p.dynatemp_range, p.dynatemp_exponent))

    def infill(self) -> int:
        return int(self._lib.llama_sampler_init_infill(self._vocab))

    def last(self) -> int:
        """The stage that selects."""
        lib, p = self._lib, self._params
        if p.mirostat == 1:
            return int(
                lib.llama_sampler_init_mirostat(self._n_vocab, p.seed, p.mirostat_tau, p.mirostat_eta, MIROSTAT_M)
            )
        if p.mirostat == 2:
            return int(lib.llama_sampler_init_mirostat_v2(p.seed, p.mirostat_tau, p.mirostat_eta))
        if "adaptive_p" in p.samplers:
            return int(lib.llama_sampler_init_adaptive_p(p.adaptive_target, p.adaptive_decay, p.seed))
        return int(lib.llama_sampler_init_dist(p.seed))
