"""Device sampling: chains that run within the graph of a context, one a sequence, where the model is computed.

Only the token comes back to the host instead of a row of logits. Engine thread only.
"""

from __future__ import annotations

import ctypes as c
import logging
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..candidates import NO_TOKEN, are_numbers
from . import library
from .chain import Candidates, LlamaChain
from .llama_context import LlamaContext

log = logging.getLogger(__name__)


class DeviceSampling:
    """What is attached to the sequences of one context.

    Each has a copy of its request's chain, as libllama allows a chain to be attached only once; the request's own
    goes on beside it, with the same history and random numbers, for when the sequence is another one.
    """

    def __init__(self, context: LlamaContext, n_vocab: int) -> None:
        self._lib = library.load()
        self._context = context
        self._n_vocab = n_vocab
        self._is_refused = False
        self._attached: dict[int, tuple[LlamaChain, int]] = {}  # of each sequence the request's chain, and its copy

    def set(self, chains: Mapping[int, LlamaChain]) -> None:
        """Attach a chain to each of these sequences and to no others. What changes makes libllama plan its graph anew
        at the next decode."""
        for id_seq, (chain, _) in list(self._attached.items()):
            if chains.get(id_seq) is not chain:
                self._lib.llama_set_sampler(self._context.handle, id_seq, None)
                self._free(id_seq)
        for id_seq, chain in chains.items():
            if id_seq not in self._attached and not self._is_refused:
                self._attach(id_seq, chain)

    def _attach(self, id_seq: int, chain: LlamaChain) -> None:
        copy = chain.copy()
        self._attached[id_seq] = (chain, copy)
        if not self._lib.llama_set_sampler(self._context.handle, id_seq, copy):
            log.warning("--backend-sampling is without effect: libllama does not sample on this device")
            self._is_refused = True
            self._free(id_seq)

    def _free(self, id_seq: int) -> None:
        _, copy = self._attached.pop(id_seq)
        self._lib.llama_sampler_free(copy)

    def take(self, ids: Sequence[int]) -> list[int | None]:
        """The tokens that were sampled at the last decode, whose rows with outputs belong to the sequences `ids`, in
        their order; None where nothing is attached, NO_TOKEN where the logits are not numbers."""
        return [self._take(row - len(ids), id_seq) for row, id_seq in enumerate(ids)]

    def _take(self, row: int, id_seq: int) -> int | None:
        """`row` counts from the end, as libllama has it: -1 is the last."""
        if id_seq not in self._attached:
            return None
        _, copy = self._attached[id_seq]
        token = int(self._lib.llama_get_sampled_token_ith(self._context.handle, row))
        if token == NO_TOKEN:
            token = self._finish(copy, row)
        elif not (0 <= token < self._n_vocab and are_numbers(self._logits(row))):
            token = NO_TOKEN  # a device draws a token from anything
        if token != NO_TOKEN:
            self._lib.llama_sampler_accept(copy, token)
        return token

    def _logits(self, row: int) -> NDArray[np.float32]:
        """What the device has left of a row's logits, -inf where it has cut; a view."""
        lib, handle = self._lib, self._context.handle
        n = lib.llama_get_sampled_logits_count_ith(handle, row)
        if n == 0:
            return np.empty(0, np.float32)
        return np.ctypeslib.as_array((c.c_float * n).from_address(lib.llama_get_sampled_logits_ith(handle, row)))

    def _finish(self, copy: int, row: int) -> int:
        """Apply what of a chain this device does not compute to what it has left of the logits."""
        lib, handle, logits = self._lib, self._context.handle, self._logits(row)
        if not are_numbers(logits):
            return NO_TOKEN
        n, is_left = len(logits), logits > -np.inf
        tokens = np.array((c.c_int32 * n).from_address(lib.llama_get_sampled_candidates_ith(handle, row)))
        candidates = Candidates(n)
        candidates.fill(tokens[is_left], logits[is_left])
        lib.llama_sampler_apply_long(copy, candidates.pointer)
        return candidates.selected

    def close(self) -> None:
        """Free the copies; the context is closed. Safe twice."""
        for id_seq in list(self._attached):
            self._free(id_seq)
