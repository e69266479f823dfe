"""Decoder: a llama_context, its KV memory and its batch. Engine thread only; implements `abc.Decoder`."""

from __future__ import annotations

import ctypes as c
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..abc import BatchError
from ..errors import ModelError
from . import cpu, library
from .adapter import LlamaAdapter
from .model import LlamaModel
from .structs import BatchStruct, ContextParams

KV_BYTES = 2
"""Bytes of one number in the KV cache, which is f16."""

SPARSE = 8
"""At least one layer in so many keeps the whole context, in models that mix kinds of attention."""


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Sizes of a context, already decided: nothing here is -1 or 0 for "choose"."""

    n_ctx: int
    n_seq_max: int
    n_batch: int
    n_ubatch: int
    n_threads: int
    n_threads_batch: int
    kv_unified: bool
    swa_full: bool = True
    """Layers with a sliding window keep the whole context too, which costs memory and lets any prefix be reused."""


class LlamaBatch:
    """Columns of a llama_batch in numpy arrays that libllama reads in place; implements `abc.Batch`."""

    def __init__(self, capacity: int, n_seq_max: int) -> None:
        self.capacity = capacity
        self.tokens = np.zeros(capacity, np.int32)
        self.positions = np.zeros(capacity, np.int32)
        self.outputs = np.zeros(capacity, np.int8)
        self._n_seq_id = np.ones(capacity, np.int32)
        self._ids = np.arange(n_seq_max, dtype=np.int32)
        # llama_batch.seq_id holds a pointer a row: to the one element of _ids that names the row's sequence
        self._seq_id = np.full(capacity, self._ids.ctypes.data, np.uintp)
        self._struct = BatchStruct(
            n_tokens=0,
            token=self.tokens.ctypes.data,
            embd=None,
            pos=self.positions.ctypes.data,
            n_seq_id=self._n_seq_id.ctypes.data,
            seq_id=self._seq_id.ctypes.data,
            logits=self.outputs.ctypes.data,
        )

    def set_sequence(self, start: int, stop: int, id_seq: int) -> None:
        self._seq_id[start:stop] = self._ids.ctypes.data + id_seq * self._ids.itemsize

    def struct(self, n_rows: int) -> BatchStruct:
        """The llama_batch of rows [0, n_rows)."""
        self._struct.n_tokens = n_rows
        return self._struct


class LlamaDecoder:
    """A context over an open model. Raises ModelError if its memory does not fit."""

    def __init__(self, model: LlamaModel, config: DecoderConfig) -> None:
        check_memory(model, config)
        self._lib = lib = library.load()
        self._owner = model.owner  # must outlive the context
        library.take_errors()
        self._handle: int | None = lib.llama_init_from_model(model.handle, _params(lib, config))
        if not self._handle:
            reason = "; ".join(library.take_errors()) or "libllama gives no reason"
            raise ModelError(f"cannot make a context of {config.n_ctx} tokens: {reason}; try a smaller --ctx-size")
        if not self.memory:
            self.close()
            raise ModelError(f"{model.info.desc} has no memory to generate from; only decoder models are served so far")
        self.n_ctx: int = lib.llama_n_ctx(self._handle)
        self.n_ctx_seq: int = lib.llama_n_ctx_seq(self._handle)
        self.n_batch: int = lib.llama_n_batch(self._handle)
        self.n_ubatch: int = lib.llama_n_ubatch(self._handle)
        self.n_seq_max: int = lib.llama_n_seq_max(self._handle)
        self._n_swa = 0 if config.swa_full else model.n_swa
        self._n_vocab = model.info.n_vocab
        self._views: dict[tuple[int, int], NDArray[np.float32]] = {}
        self.batch = LlamaBatch(self.n_batch, self.n_seq_max)

    @property
    def handle(self) -> int:
        assert self._handle is not None, "the context is closed"
        return self._handle

    @property
    def memory(self) -> int | None:
        """The llama_memory_t of the context, which has none if the model does not generate."""
        memory: int | None = self._lib.llama_get_memory(self.handle)
        return memory

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle:
            self._lib.llama_free(handle)
            del self._owner

    def decode(self, n_rows: int) -> None:
        status = self._lib.llama_decode(self.handle, self.batch.struct(n_rows))
        if status == 0:
            self._lib.llama_synchronize(self.handle)
            return
        match status:
            case 1:
                raise BatchError("Context size has been exceeded.", no_cells=True)
            case 2:
                raise BatchError("The computation was aborted.", fatal=True)
            case -1:
                raise BatchError("Invalid input batch.")
            case _:
                reason = "; ".join(library.take_errors())
                raise BatchError(f"Compute error ({status}){': ' + reason if reason else '.'}", fatal=True)

    def logits(self, n_outputs: int) -> NDArray[np.float32]:
        address = self._lib.llama_get_logits(self.handle)
        view = self._views.get((address, n_outputs))
        if view is None:
            view = self._view(address, n_outputs)
        return view

    def _view(self, address: int, n_outputs: int) -> NDArray[np.float32]:
        if any(known != address for known, _ in self._views):
            self._views.clear()  # libllama has moved its buffer
        memory = (c.c_float * (n_outputs * self._n_vocab)).from_address(address)
        view: NDArray[np.float32] = np.ctypeslib.as_array(memory).reshape(n_outputs, self._n_vocab)
        self._views[address, n_outputs] = view
        return view

    def set_adapters(self, adapters: Sequence[tuple[LlamaAdapter, float]]) -> None:
        """Apply these adapters, each with its scale, to all that is decoded from now on."""
        handles = (c.c_void_p * len(adapters))(*(adapter.handle for adapter, _ in adapters))
        scales = (c.c_float * len(adapters))(*(scale for _, scale in adapters))
        status = self._lib.llama_set_adapters_lora(self.handle, handles, len(adapters), scales)
        if status != 0:
            raise ModelError(f"libllama does not take {[str(adapter.path) for adapter, _ in adapters]}: {status}")

    def remove(self, id_seq: int, start: int, stop: int = -1) -> bool:
        if start > 0 and self._n_swa > 0 and not self._keeps_window(id_seq, start):
            return False
        return bool(self._lib.llama_memory_seq_rm(self.memory, id_seq, start, stop))

    def _keeps_window(self, id_seq: int, start: int) -> bool:
        """Whether the cells that position `start` will look back at are still there in a sliding-window cache."""
        # window   (start - n_swa .. start]      `start` itself is computed next
        # kept     [first ............ end)      without gaps: libllama drops all before a cell that it reuses
        first = self._lib.llama_memory_seq_pos_min(self.memory, id_seq)
        return bool(0 <= first <= max(0, start - self._n_swa + 1))


def _params(lib: object, config: DecoderConfig) -> ContextParams:
    params: ContextParams = lib.llama_context_default_params()  # type: ignore[attr-defined]
    params.n_ctx = config.n_ctx
    params.n_batch = config.n_batch
    params.n_ubatch = config.n_ubatch
    params.n_seq_max = config.n_seq_max
    # one row of logits a sequence: the default reserves n_batch rows, a gigabyte with 128k tokens
    params.n_outputs_max = min(config.n_batch, config.n_seq_max)
    params.n_outputs_max_per_seq = 1
    params.n_threads = config.n_threads
    params.n_threads_batch = config.n_threads_batch
    params.kv_unified = config.kv_unified
    params.swa_full = config.swa_full
    params.no_perf = True
    return params


def check_memory(model: LlamaModel, config: DecoderConfig) -> None:
    """Raise ModelError if the KV cache alone is larger than the memory left: libllama would be killed, not refused."""
    if library.gpus():
        return  # the cache may lie on a device, which refuses what does not fit
    available, wanted = cpu.available_bytes(), kv_bytes(model.info.metadata, config.n_ctx)
    if available is not None and wanted > available:
        raise ModelError(
            f"a context of {config.n_ctx} tokens needs {wanted / 2**30:.1f} GiB for its KV cache, but only "
            f"{available / 2**30:.1f} GiB of memory are available; try a smaller --ctx-size"
        )


def kv_bytes(metadata: dict[str, str], n_ctx: int) -> int:
    """Bytes that a KV cache has at least, from a GGUF's metadata. 0 where the metadata does not tell.

    Tables (sizes a layer) are not among the metadata. Models with a sliding window or with recurrent layers need
    less than full attention, by how much depends on the architecture: one layer in `SPARSE` is counted.
    """
    arch = metadata.get("general.architecture", "")

    def number(key: str, default: int = 0) -> int:
        value = metadata.get(f"{arch}.{key}", "")
        return int(value) if value.isdigit() else default

    n_head = number("attention.head_count")
    if n_head == 0:
        return 0  # no attention at all, or another number of heads in each layer
    n_head_kv = number("attention.head_count_kv", 1)
    n_layers = number("block_count")
    if number("attention.sliding_window") or any(key.startswith(f"{arch}.ssm.") for key in metadata):
        n_layers //= SPARSE
    head_size = number("embedding_length") // n_head
    k, v = number("attention.key_length", head_size), number("attention.value_length", head_size)
    return n_ctx * n_layers * n_head_kv * (k + v) * KV_BYTES
