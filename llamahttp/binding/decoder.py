"""Decoder: a llama_context, its KV memory and its batch. Engine thread only; implements `abc.Decoder`."""

from __future__ import annotations

import ctypes as c
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..abc import BatchError
from ..errors import EngineError, ModelError, NoMemory
from . import cpu, devices, library, library_log, manifest
from .adapter import LlamaAdapter
from .fingerprint import fingerprint
from .functions import CONSTANTS
from .model import LlamaModel
from .structs import BatchStruct, ContextParams

KV_BYTES = 2
"""Bytes of one number in the KV cache, which is f16."""

CPU_TILE = 64
"""Queries that the CPU's flash attention takes at once. It computes fewer of them, or those of several streams, one by
one: behind 3,000 tokens 32 rows took 34 ms, 64 rows 11 ms."""

SPARSE = 8
"""At least one layer in so many keeps the whole context, in models that mix kinds of attention."""

new_bytes = c.pythonapi.PyBytes_FromStringAndSize
"""new_bytes(None, size) -> bytes of that size, for C to fill before anybody else sees them: a state needs no copy."""
new_bytes.restype, new_bytes.argtypes = c.py_object, [c.c_void_p, c.c_ssize_t]


@dataclass(frozen=True, slots=True, kw_only=True)
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
    n_outputs: int = 0
    """Rows of logits that a batch may ask for; one a sequence are always possible."""
    loras: tuple[tuple[Path, float], ...] = ()
    """LoRA adapters, which are all loaded, with the scales that are applied at first."""


class LlamaBatch:
    """Columns of a llama_batch in numpy arrays that libllama reads in place; implements `abc.Batch`."""

    def __init__(self, capacity: int, n_seq_max: int) -> None:
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
    """A context over an open model. Raises ModelError if its memory does not fit or an adapter is wrong.

    libllama puts off what has to move data (copies between streams, shifted positions) until the next decode. Until
    then the sequences concerned are `_unsettled`: their cells say one thing and the buffers hold another.
    """

    def __init__(self, model: LlamaModel, config: DecoderConfig) -> None:
        check_memory(model, config)
        self._lib = library.load()
        self._model, self._config = model, config
        self._handle: int | None = None
        self._adapters: list[LlamaAdapter] = []
        self._unsettled: set[int] = set()
        self._copied: tuple[int, bytes] | None = None  # what copies were made of since the last decode
        self._sharing_window: int | None = None
        self._views: dict[tuple[int, int], NDArray[np.float32]] = {}
        self._applied = tuple((index, scale) for index, (_, scale) in enumerate(config.loras))
        try:
            self._adapters += (LlamaAdapter(model, path) for path, _ in config.loras)
            self._open()
            self._read_sizes()
            self._read_abilities()
            self.fingerprint = self._fingerprint()
        except BaseException:
            self.close()
            raise
        self.batch = LlamaBatch(self.n_batch, self.n_seq_max)

    def _open(self) -> None:
        """Make the context; the adapters that were applied to the last one are applied again."""
        model, config = self._model, self._config
        self._owner = model.owner  # must outlive the context
        with library_log.telling_errors() as errors:
            self._handle = self._lib.llama_init_from_model(model.handle, context_params(self._lib, config))
            if not self._handle:
                reason = "; ".join(errors) or "libllama gives no reason"
                raise ModelError(f"cannot make a context of {config.n_ctx} tokens: {reason}; try a smaller --ctx-size")
        if not self.memory:
            raise NoMemory(f"{model.info.desc} has no memory to generate from")
        self.set_adapters(self._applied)

    def _read_sizes(self) -> None:
        lib, handle = self._lib, self.handle
        self.n_ctx: int = lib.llama_n_ctx(handle)
        self.n_ctx_seq: int = lib.llama_n_ctx_seq(handle)
        self.n_batch: int = lib.llama_n_batch(handle)
        self.n_ubatch: int = lib.llama_n_ubatch(handle)
        if self._model.n_swa:
            # For several physical batches at once libllama looks for cells in advance, and what that drops from the
            # windows it does not put back: the first of them would see windows with holes.
            self.n_batch = min(self.n_batch, self.n_ubatch)
        self.n_seq_max: int = lib.llama_n_seq_max(handle)
        self._n_vocab = self._model.info.n_vocab
        self.kv_unified = self._config.kv_unified

    def _read_abilities(self) -> None:
        model = self._model
        self._n_swa = model.n_swa
        self._is_recurrent = model.is_recurrent or model.is_hybrid
        self.n_cells = self.n_ctx if self.kv_unified and not model.is_recurrent else 0
        # streams are copied by moving data, unless a sequence is nothing but one state
        self._copies_later = not self.kv_unified and not model.is_recurrent
        self.can_cut = self._n_swa == 0 and not self._is_recurrent
        self.n_tile = 1 if self.kv_unified or devices.gpus() else CPU_TILE
        # In memory that the CPU reads, moving the tokens that there are beats moving a whole stream. Of a hybrid model
        # libllama would put the copy of the attention off, and no decode can make up for that without side effects.
        # Not with a window: its state is no more than the window, and the copy could not be cut any more.
        is_cheap = self.can_cut and not devices.gpus()
        self._copies_through_host = self._copies_later and (self._is_recurrent or is_cheap)
        self._shares_window = self.kv_unified and not self._config.swa_full and 0 < self._n_window_cells < self.n_ctx
        self.can_cut = model.only_attends
        self.can_shift = not self._is_recurrent and bool(self._lib.llama_memory_can_shift(self.memory))

    @property
    def _n_window_cells(self) -> int:
        """Cells that all windows and a batch need in a unified cache; 0 without windows."""
        return self._n_swa and self._n_swa * self.n_seq_max + self.n_ubatch

    def _fingerprint(self) -> str:
        """States go from one context into another if these agree. Rope scaling may depend on the context's size."""
        info, params = self._model.info, context_params(self._lib, self._config)
        is_scaled = any(".rope.scaling." in key for key in info.metadata)
        settings = (
            manifest.version(self._lib.manifest),
            (params.type_k, params.type_v, params.flash_attn_type),
            1 if self.kv_unified else self.n_seq_max,
            self.n_ctx_seq if is_scaled else None,
        )
        try:
            return fingerprint(Path(info.path), [adapter.path for adapter in self._adapters], *settings)
        except OSError as error:
            raise ModelError(f"cannot read {error.filename} a second time: {error.strerror}") from None

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
        self._free()
        while self._adapters:
            self._adapters.pop().close()

    def _free(self) -> None:
        handle, self._handle = self._handle, None
        if handle:
            self._lib.llama_free(handle)
            del self._owner

    def rebuild(self) -> None:
        self._free()
        self._views.clear()
        self._unsettled.clear()
        self._copied = self._sharing_window = None
        self._open()

    def decode(self, n_rows: int) -> None:
        self._unshare_window()
        self._decode(self.batch.struct(n_rows))

    def _decode(self, rows: BatchStruct) -> None:
        with library_log.telling_errors() as errors:
            self._copied = None
            status = self._lib.llama_decode(self.handle, rows)
            if status != -1:
                self._unsettled.clear()
            if status != 0:
                raise batch_error(status, errors)
        self._lib.llama_synchronize(self.handle)

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

    def set_adapters(self, adapters: Sequence[tuple[int, float]]) -> None:
        handles = (c.c_void_p * len(adapters))(*(self._adapters[index].handle for index, _ in adapters))
        scales = (c.c_float * len(adapters))(*(scale for _, scale in adapters))
        status = self._lib.llama_set_adapters_lora(self.handle, handles, len(adapters), scales)
        if status != 0:
            raise EngineError(f"libllama does not take the adapters {list(adapters)}: {status}")
        self._applied = tuple(adapters)

    # --- cutting

    def remove(self, id_seq: int, start: int, stop: int = -1) -> bool:
        return self._can_remove(id_seq, start, stop) and self._remove(id_seq, start, stop)

    def _remove(self, id_seq: int, start: int, stop: int = -1) -> bool:
        self._forget_copy(id_seq)
        return bool(self._lib.llama_memory_seq_rm(self.memory, id_seq, start, stop))

    def _can_remove(self, id_seq: int, start: int, stop: int) -> bool:
        # The last position is that of the window and of the recurrent state. After a partial restore the rest may
        # go on behind it, and is cut off there.
        last = self._last(id_seq)
        is_whole = start <= 0 and (stop < 0 or stop > last)
        return is_whole or start >= self.least_cut(id_seq)

    def least_cut(self, id_seq: int) -> int:
        if self.can_cut:
            return 0
        end = self._last(id_seq) + 1
        return end if self._is_recurrent else min(end, self._least_window_cut(id_seq))

    def _least_window_cut(self, id_seq: int) -> int:
        """The first position of which all cells that it will look back at are still in a sliding-window cache.

        Also one of full size may have lost some: libllama takes any cell outside of the window for a free one.
        """
        # window   (start - n_swa .. start]      `start` itself is computed next
        # kept     [first ............ end)      without gaps: libllama drops all before a cell that it reuses
        first = int(self._lib.llama_memory_seq_pos_min(self.memory, id_seq))
        return first + self._n_swa - 1 if first > 0 else 0

    def _last(self, id_seq: int) -> int:
        """The last position of a sequence, or -1."""
        return int(self._lib.llama_memory_seq_pos_max(self.memory, id_seq))

    # --- copying and shifting

    def copy(self, source: int, target: int) -> None:
        if source == target:
            return
        self._unshare_window()
        self._remove(target, 0)
        if self._copies_through_host:
            if not self._put(target, self._state_to_copy(source), 0):
                self._remove(target, 0)
                raise EngineError(f"cannot copy sequence {source} to {target}")
            return
        self._lib.llama_memory_seq_cp(self.memory, source, target, -1, -1)
        if self._copies_later or source in self._unsettled:
            self._unsettled |= {source, target}
        if self._shares_window:
            self._sharing_window = target

    def _state_to_copy(self, source: int) -> bytes:
        """The state of a sequence, saved once for all copies that are made of it between two decodes."""
        if self._copied is None or self._copied[0] != source:
            self._settle(source)
            self._copied = (source, self._get(source, 0))
        return self._copied[1]

    def append(self, source: int, target: int) -> None:
        assert self.kv_unified and self.can_cut, "only cells of one pool can be shared by parts"
        self._lib.llama_memory_seq_cp(self.memory, source, target, -1, -1)
        if source in self._unsettled:
            self._unsettled.add(target)

    def shift(self, id_seq: int, start: int, stop: int, delta: int) -> None:
        assert self.can_shift, "the positions of this memory cannot be moved"
        self._forget_copy(id_seq)
        self._lib.llama_memory_seq_add(self.memory, id_seq, start, stop, delta)
        self._unsettled.add(id_seq)

    def _settle(self, id_seq: int) -> None:
        """Let libllama do what it has put off: decode one token behind the end, then forget it."""
        if id_seq not in self._unsettled:
            return
        end = self._last(id_seq) + 1
        row = LlamaBatch(1, self.n_seq_max)
        row.positions[0] = end
        row.set_sequence(0, 1, id_seq)
        try:
            self._decode(row.struct(1))
        except BatchError as error:
            if not error.no_cells:  # a full cache takes no token, but only after all has been done
                raise EngineError(f"cannot bring the memory up to date: {error}") from error
        self._remove(id_seq, end)

    def _unshare_window(self) -> None:
        """Give the last copy cells of its own for the sliding window, now that the caller has cut it.

        libllama reuses the cells that no window looks at any more, but not those that two sequences have, and its
        cache has room for one window a sequence: soon nobody would find a free cell.
        """
        target, self._sharing_window = self._sharing_window, None
        if target is None or self._last(target) < 0:
            return
        partial = CONSTANTS["LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY"]
        if not self._put(target, self._get(target, partial), partial):
            raise BatchError(f"The window of sequence {target} finds no cells.", fatal=True)

    # --- states

    def saved_size(self, id_seq: int) -> int:
        return self._size(id_seq, 0)

    def _size(self, id_seq: int, flags: int) -> int:
        return int(self._lib.llama_state_seq_get_size_ext(self.handle, id_seq, flags))

    def save(self, id_seq: int, *, partial: bool = False) -> bytes:
        self._settle(id_seq)
        return self._get(id_seq, _flags(partial))

    def restore(self, id_seq: int, state: bytes, *, partial: bool = False) -> bool:
        self._settle(id_seq)
        self._unshare_window()
        if not partial:
            self._remove(id_seq, 0)
        if self._put(id_seq, state, _flags(partial)):
            return True
        self._remove(id_seq, 0)  # some of it may be there: libllama restores one kind of memory after the other
        return False

    def _get(self, id_seq: int, flags: int) -> bytes:
        size = self._size(id_seq, flags)
        try:
            state: bytes = new_bytes(None, size)
        except MemoryError:
            raise EngineError(f"no memory for the {size} bytes of a sequence's state") from None
        with library_log.telling_errors() as errors:
            n_bytes = self._lib.llama_state_seq_get_data_ext(self.handle, state, size, id_seq, flags)
            if n_bytes != size or size == 0:
                raise EngineError(f"cannot save a sequence of {size} bytes: {library_log.reason(errors)}")
        return state

    def _forget_copy(self, id_seq: int) -> None:
        if self._copied is not None and self._copied[0] == id_seq:
            self._copied = None

    def _put(self, id_seq: int, state: bytes, flags: int) -> bool:
        self._forget_copy(id_seq)
        n_bytes: int = self._lib.llama_state_seq_set_data_ext(self.handle, state, len(state), id_seq, flags)
        return n_bytes == len(state) > 0


def batch_error(status: int, errors: list[str]) -> BatchError:
    """What llama_decode's status means; `errors` are the lines that libllama logged."""
    reason = f": {'; '.join(errors)}" if errors else "."
    match status:
        case 1:
            return BatchError("Context size has been exceeded.", no_cells=True)
        case 2:
            return BatchError("The computation was aborted.", fatal=True)
        case -1:
            return BatchError(f"Invalid input batch{reason}")
        case _:
            return BatchError(f"Compute error ({status}){reason}", fatal=True)


def _flags(partial: bool) -> int:
    return CONSTANTS["LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY"] if partial else 0


def context_params(lib: Any, config: DecoderConfig) -> ContextParams:
    params: ContextParams = lib.llama_context_default_params()
    params.n_ctx = config.n_ctx
    params.n_batch = config.n_batch
    params.n_ubatch = config.n_ubatch
    params.n_seq_max = config.n_seq_max
    # The default reserves n_batch rows of logits, a gigabyte with 128k tokens. With fewer than there are sequences
    # libllama aborts.
    params.n_outputs_max = max(config.n_outputs, config.n_seq_max)
    params.n_outputs_max_per_seq = 1
    params.n_threads = config.n_threads
    params.n_threads_batch = config.n_threads_batch
    params.kv_unified = config.kv_unified
    params.swa_full = config.swa_full
    params.no_perf = True
    return params


def check_memory(model: LlamaModel, config: DecoderConfig) -> None:
    """Raise ModelError if the KV cache alone is larger than the memory left: libllama would be killed, not refused."""
    if devices.gpus():
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
