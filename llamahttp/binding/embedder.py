"""Embedder: a llama_context that computes embeddings, beside the one that generates; implements `abc.Embedder`.

It shares the model's weights and has compute buffers, and with attention to the past a KV cache, of its own. They are
as large as the inputs so far wanted them: `reserve` makes the context anew.
"""

from __future__ import annotations

import ctypes as c
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..abc import BatchError, InputPart
from ..config import Pooling
from ..errors import EngineError, ModelError
from . import fingerprint, library, library_log
from .adapter import LlamaAdapters
from .functions import CONSTANTS
from .gguf_head import read_head
from .llama_batch import LlamaBatch
from .llama_context import ContextSizes, LlamaContext, check_memory, context_params
from .model import LlamaModel

POOLINGS = {CONSTANTS[f"LLAMA_POOLING_TYPE_{pooling.name}"]: pooling for pooling in Pooling}

N_SEQUENCES, N_STATES = 64, 8
"""Inputs in a batch; and where each takes a recurrent state, which is large."""

RANKS_LAST = "qwen3"
"""Architectures whose classifier looks at the last token."""

CLASSIFIERS = {"cls.weight", "cls.output.weight"}
"""Tensors of which a classifier has at least one."""

FIRST_BATCHES = 4
"""Batches that the KV cache has room for before a longer input comes."""


@dataclass(frozen=True, slots=True)
class EmbedderConfig:
    """What the context of embeddings does not have in common with that of generation."""

    pooling: Pooling | None
    """None takes what the model says."""
    n_ctx: int
    """Most tokens of an input."""


class LlamaEmbedder:
    """A context for embeddings over an open model. Raises ModelError if there is no room for it."""

    def __init__(
        self,
        model: LlamaModel,
        sizes: ContextSizes,
        config: EmbedderConfig,
        adapters: LlamaAdapters | None = None,
    ) -> None:
        """`sizes` are those of the context that generates; `adapters` must outlive the embedder."""
        self._lib = library.load()
        self._model = model
        self._context = LlamaContext(model, adapters or LlamaAdapters(model))
        self.n_ctx = config.n_ctx
        self.n_batch = min(sizes.n_ubatch, config.n_ctx)
        self.n_seq_max = min(N_SEQUENCES if model.only_attends else N_STATES, self.n_batch)
        self._sizes = replace(sizes, n_seq_max=self.n_seq_max, kv_unified=True, n_outputs=0)
        self._capacity = self.n_batch
        self._pooling_type = CONSTANTS[f"LLAMA_POOLING_TYPE_{config.pooling.name if config.pooling else 'UNSPECIFIED'}"]
        self.takes_parts = self.generates = True
        try:
            self._open()
            self._read_abilities()
            self._reopen()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        sizes = self._sized()
        self._context.close()  # what it has taken is free for the next
        check_memory(self._model, sizes)
        params = context_params(self._lib, sizes)
        params.embeddings = True
        params.n_outputs_max = params.n_outputs_max_per_seq = sizes.n_batch
        params.pooling_type = self._pooling_type
        with library_log.quietly():  # it warns of the pooling, and of cells for more than the model's context
            self._context.open(params, f"a context for embeddings of {self._capacity} tokens", sizes.compute)
        self._batch = LlamaBatch(sizes.n_batch, self.n_seq_max)
        self._batch.outputs[:] = 1

    def _sized(self) -> ContextSizes:
        """Room for an input of `_capacity` tokens, which in parts needs no larger batch, but cells beside others'."""
        if self.takes_parts:
            n_ctx, n_batch = self._capacity + self.n_batch, self.n_batch
        else:
            n_ctx, n_batch = self._capacity if self.generates else self.n_ctx, self._capacity
        n_batch += -n_batch % self.n_seq_max  # libllama reserves as many tokens for each sequence, and aborts otherwise
        return replace(self._sizes, n_ctx=max(n_ctx, n_batch), n_batch=n_batch, n_ubatch=n_batch)

    def _read_abilities(self) -> None:
        lib, handle = self._lib, self._context.handle
        self.pooling = POOLINGS[lib.llama_pooling_type(handle)]
        self.generates = self._context.memory is not None
        is_ranking = self.pooling is Pooling.RANK
        path = Path(self._model.info.path)
        if is_ranking and not _has_classifier(path):
            raise ModelError(f"{path} cannot rerank: it has no classifier ({' or '.join(sorted(CLASSIFIERS))})")
        # which token a classifier looks at, libllama decides batch by batch
        can_cut = not is_ranking or self._model.info.metadata.get("general.architecture", "").startswith(RANKS_LAST)
        self.takes_parts = can_cut and self.generates and bool(lib.llama_get_causal_attn(handle))
        self.pools = is_ranking or (self.pooling is not Pooling.NONE and not self.takes_parts)
        size = lib.llama_model_n_cls_out if is_ranking else lib.llama_model_n_embd_out
        self.n_out = int(size(self._model.handle))

    def _reopen(self) -> None:
        """Make the context again, now that it is known what for."""
        if not self.pools:  # libllama would pool what is in one batch, which is not the whole of what comes in parts
            self._pooling_type = CONSTANTS["LLAMA_POOLING_TYPE_NONE"]
        if self.takes_parts:
            self._capacity = self.n_ctx if _is_scaled(self._model) else min(self.n_ctx, FIRST_BATCHES * self.n_batch)
        self._open()

    def reserve(self, n_tokens: int) -> None:
        assert n_tokens <= self.n_ctx, "a longer input was not refused"
        if n_tokens <= self._capacity:
            return
        before = self._capacity
        self._capacity = min(self.n_ctx, max(n_tokens, 2 * before))
        try:
            self.rebuild()
        except EngineError:
            self._capacity = before
            self.rebuild()
            raise

    def rebuild(self) -> None:
        try:
            self._open()
        except ModelError as error:  # of a running server, which is no reason to end it
            raise EngineError(str(error)) from None

    def decode(self, parts: Sequence[InputPart]) -> list[NDArray[np.float32]]:
        if not self._context.is_open:
            raise BatchError("there is no context for embeddings", fatal=True)
        batch, row = self._batch, 0
        for part in parts:
            n = len(part.tokens)
            batch.tokens[row : row + n] = part.tokens
            batch.positions[row : row + n] = np.arange(part.start, part.start + n)
            batch.set_sequence(row, row + n, part.id_seq)
            row += n
        try:
            self._context.decode(batch.struct(row))
        except BatchError:
            for part in parts:
                self.forget(part.id_seq)
            raise
        return [self._scores(part) for part in parts] if self.pools else self._split(parts, row)

    def _scores(self, part: InputPart) -> NDArray[np.float32]:
        address = self._lib.llama_get_embeddings_seq(self._context.handle, part.id_seq)
        return self._read(address, 1)

    def _split(self, parts: Sequence[InputPart], n_rows: int) -> list[NDArray[np.float32]]:
        rows = self._read(self._lib.llama_get_embeddings(self._context.handle), n_rows)
        ends = np.cumsum([len(part.tokens) for part in parts])
        return np.split(rows, ends[:-1])

    def _read(self, address: int | None, n_rows: int) -> NDArray[np.float32]:
        if not address:
            raise BatchError("libllama has computed no embedding.", fatal=True)
        memory = (c.c_float * (n_rows * self.n_out)).from_address(address)
        return np.array(memory, np.float32).reshape(n_rows, self.n_out)

    def set_adapters(self, adapters: Sequence[tuple[int, float]]) -> None:
        self._context.set_adapters(adapters)

    def forget(self, id_seq: int) -> None:
        if self.generates and self._context.is_open:
            self._lib.llama_memory_seq_rm(self._context.memory, id_seq, -1, -1)

    def close(self) -> None:
        self._context.close()


def _has_classifier(path: Path) -> bool:
    """Whether there is anything to rate with: without it, libllama would take a number of the hidden state for the
    score."""
    names = {tensor.name for part in fingerprint.parts(path) for tensor in read_head(part).tensors}
    return not CLASSIFIERS.isdisjoint(names)


def _is_scaled(model: LlamaModel) -> bool:
    """Whether what a model computes may depend on the size of its context."""
    return any(".rope.scaling." in key for key in model.info.metadata)
