"""Decoder: a llama_context, its KV memory and its batch. Engine thread only; implements `abc.Decoder`."""

from __future__ import annotations

import ctypes as c
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..abc import BatchError
from ..errors import EngineError, ModelError, NoMemory
from . import devices, library, library_log, manifest
from .adapter import LlamaAdapters
from .chain import LlamaChain
from .device_sampling import DeviceSampling
from .fingerprint import fingerprint
from .functions import CONSTANTS
from .llama_batch import LlamaBatch
from .llama_context import DEFAULT_COMPUTE, ContextSizes, LlamaContext, check_memory, context_params
from .model import LlamaModel
from .structs import BatchStruct

CPU_TILE = 64
"""Queries that the CPU's flash attention takes at once. It computes fewer of them, or those of several streams, one by
one: behind 3,000 tokens 32 rows took 34 ms, 64 rows 11 ms."""

new_bytes = c.pythonapi.PyBytes_FromStringAndSize
"""new_bytes(None, size) -> bytes of that size, for C to fill before anybody else sees them: a state needs no copy."""
new_bytes.restype, new_bytes.argtypes = c.py_object, [c.c_void_p, c.c_ssize_t]


class LlamaDecoder:
    """A context over an open model. Raises ModelError if its memory does not fit.

    libllama puts off what has to move data (copies between streams, shifted positions) until the next decode. Until
    then the sequences concerned are `_unsettled`: their cells say one thing and the buffers hold another.
    """

    def __init__(self, model: LlamaModel, sizes: ContextSizes, adapters: LlamaAdapters | None = None) -> None:
        """`adapters` must outlive the decoder; none of the LoRAs is applied at first."""
        check_memory(model, sizes)
        self._lib = library.load()
        self._model, self._sizes = model, sizes
        self._adapters = adapters or LlamaAdapters(model)
        self._context = LlamaContext(model, self._adapters)
        self._device = DeviceSampling(self._context, model.info.n_vocab)
        self._unsettled: set[int] = set()
        self._copied: tuple[int, bytes] | None = None  # what copies were made of since the last decode
        self._sharing_window: int | None = None
        self._views: dict[tuple[int, int], NDArray[np.float32]] = {}
        try:
            self._open()
            self._read_sizes()
            self._read_abilities()
            self.fingerprint = self._fingerprint()
        except BaseException:
            self.close()
            raise
        self.batch = LlamaBatch(self.n_batch, self.n_seq_max)

    def _open(self) -> None:
        sizes = self._sizes
        self._context.open(context_params(self._lib, sizes), f"a context of {sizes.n_ctx} tokens", sizes.compute)
        if not self.memory:
            raise NoMemory(f"{self._model.info.desc} has no memory to generate from")

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
        self.kv_unified = self._sizes.kv_unified

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
        self._shares_window = self.kv_unified and not self._sizes.swa_full and 0 < self._n_window_cells < self.n_ctx
        self.can_cut = model.only_attends
        self.can_shift = not self._is_recurrent and bool(self._lib.llama_memory_can_shift(self.memory))

    @property
    def _n_window_cells(self) -> int:
        """Cells that all windows and a batch need in a unified cache; 0 without windows."""
        return self._n_swa and self._n_swa * self.n_seq_max + self.n_ubatch

    def _fingerprint(self) -> str:
        """States go from one context into another if these agree. Rope scaling may depend on the context's size."""
        info, params = self._model.info, context_params(self._lib, self._sizes)
        is_scaled = any(".rope.scaling." in key for key in info.metadata)
        settings = (
            manifest.version(self._lib.manifest),
            (params.type_k, params.type_v, params.flash_attn_type),
            1 if self.kv_unified else self.n_seq_max,
            self.n_ctx_seq if is_scaled else None,
            *self._model.overrides,
            *self._positions(),
        )
        loras, vector = self._adapters.loras, self._adapters.vector
        vectors = () if vector is None else (vector.digest,)
        try:
            return fingerprint(Path(info.path), [lora.path for lora in loras], *settings, *vectors)
        except OSError as error:
            raise ModelError(f"cannot read {error.filename} a second time: {error.strerror}") from None

    def _positions(self) -> tuple[object, ...]:
        """What the configuration says of how positions are encoded; nothing where it leaves that to the model."""
        given = self._sizes.compute
        names = [field.name for field in fields(given) if field.name.startswith(("rope", "yarn"))]
        said = {name: getattr(given, name) for name in names if getattr(given, name) != getattr(DEFAULT_COMPUTE, name)}
        return tuple(said.items())

    @property
    def handle(self) -> int:
        """The llama_context. Another one after `rebuild`."""
        return self._context.handle

    @property
    def memory(self) -> int | None:
        """The llama_memory_t of the context, which has none if the model does not generate."""
        return self._context.memory

    def close(self) -> None:
        self._context.close()
        self._device.close()

    def rebuild(self) -> None:
        self.close()
        self._views.clear()
        self._unsettled.clear()
        self._copied = self._sharing_window = None
        self._open()

    def decode(self, n_rows: int) -> None:
        self._unshare_window()
        self._decode(self.batch.struct(n_rows))

    def _decode(self, rows: BatchStruct) -> None:
        self._copied = None
        try:
            self._context.decode(rows)
        except BatchError as error:
            if error.no_cells or error.fatal:  # not refused at once: all that was put off has been done
                self._unsettled.clear()
            raise
        self._unsettled.clear()

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
        self._context.set_adapters(adapters)

    def set_samplers(self, samplers: Mapping[int, LlamaChain]) -> None:
        self._device.set(samplers)

    def sampled(self, ids: Sequence[int]) -> list[int | None]:
        return self._device.take(ids)

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


def _flags(partial: bool) -> int:
    return CONSTANTS["LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY"] if partial else 0
