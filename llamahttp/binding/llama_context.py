"""LlamaContext: the owner of a llama_context, for the decoder and the embedder alike; and the sizes it is made with."""

from __future__ import annotations

import ctypes as c
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..abc import BatchError
from ..errors import EngineError, ModelError
from . import cpu, devices, library, library_log
from .adapter import LlamaAdapters
from .model import LlamaModel
from .structs import BatchStruct, ContextParams

KV_BYTES = 2
"""Bytes of one number in the KV cache, which is f16."""

SPARSE = 8
"""At least one layer in so many keeps the whole context, in models that mix kinds of attention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSizes:
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


class LlamaContext:
    """A llama_context over an open model, closed until `open`, which may be called again to make it anew."""

    def __init__(self, model: LlamaModel, adapters: LlamaAdapters) -> None:
        """`adapters` must outlive the context."""
        self._lib = library.load()
        self._model = model
        self._adapters = adapters
        self._applied: tuple[tuple[int, float], ...] = ()
        self._handle: int | None = None

    def open(self, params: ContextParams, what: str) -> None:
        """Free what there is and make the context, with the adapters that were last set and the control vector.

        Raises ModelError, in which `what` stands for the context.
        """
        self.close()
        self._owner = self._model.owner  # must outlive the context
        with library_log.telling_errors() as errors:
            self._handle = self._lib.llama_init_from_model(self._model.handle, params)
            if not self._handle:
                reason = "; ".join(errors) or "libllama gives no reason"
                raise ModelError(f"cannot make {what}: {reason}; try a smaller --ctx-size")
        self._apply_vector()
        self._apply_loras()

    def close(self) -> None:
        """Free the context. Safe twice."""
        handle, self._handle = self._handle, None
        if handle:
            self._lib.llama_free(handle)
            del self._owner

    @property
    def is_open(self) -> bool:
        return self._handle is not None

    @property
    def handle(self) -> int:
        assert self._handle is not None, "the context is closed"
        return self._handle

    @property
    def memory(self) -> int | None:
        """The llama_memory_t of the context, which has none if the model does not generate."""
        memory: int | None = self._lib.llama_get_memory(self.handle)
        return memory

    def decode(self, rows: BatchStruct) -> None:
        """Compute a batch and wait for it. Raises BatchError."""
        handle = self.handle
        with library_log.telling_errors() as errors:
            status = self._lib.llama_decode(handle, rows)
            if status != 0:
                raise batch_error(status, errors)
        self._lib.llama_synchronize(handle)

    # --- adapters

    def set_adapters(self, adapters: Sequence[tuple[int, float]]) -> None:
        """Apply LoRAs, pairs (index, scale), and no others, to all that is decoded from now on, here and in what
        `open` makes later. Raises EngineError."""
        self._applied = tuple(adapters)
        if self.is_open:
            self._apply_loras()

    def _apply_loras(self) -> None:
        loras, applied = self._adapters.loras, self._applied
        handles = (c.c_void_p * len(applied))(*(loras[index].handle for index, _ in applied))
        scales = (c.c_float * len(applied))(*(scale for _, scale in applied))
        status = self._lib.llama_set_adapters_lora(self.handle, handles, len(applied), scales)
        if status != 0:
            raise EngineError(f"libllama does not take the adapters {applied}: {status}")

    def _apply_vector(self) -> None:
        vector = self._adapters.vector
        if vector is None:
            return
        rows = vector.rows
        with library_log.telling_errors() as errors:  # libllama copies the rows
            status = self._lib.llama_set_adapter_cvec(
                self.handle, rows.ctypes.data, rows.size, rows.shape[1], vector.first, vector.last
            )
            if status != 0:
                raise ModelError(f"libllama does not take the control vector: {library_log.reason(errors)}")


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


def context_params(lib: Any, sizes: ContextSizes) -> ContextParams:
    params: ContextParams = lib.llama_context_default_params()
    params.n_ctx = sizes.n_ctx
    params.n_batch = sizes.n_batch
    params.n_ubatch = sizes.n_ubatch
    params.n_seq_max = sizes.n_seq_max
    # The default reserves n_batch rows of logits, a gigabyte with 128k tokens. With fewer than there are sequences
    # libllama aborts.
    params.n_outputs_max = max(sizes.n_outputs, sizes.n_seq_max)
    params.n_outputs_max_per_seq = 1
    params.n_threads = sizes.n_threads
    params.n_threads_batch = sizes.n_threads_batch
    params.kv_unified = sizes.kv_unified
    params.swa_full = sizes.swa_full
    params.no_perf = True
    return params


def check_memory(model: LlamaModel, sizes: ContextSizes) -> None:
    """Raise ModelError if the KV cache alone is larger than the memory left: libllama would be killed, not refused."""
    if devices.gpus():
        return  # the cache may lie on a device, which refuses what does not fit
    available, wanted = cpu.available_bytes(), kv_bytes(model.info.metadata, sizes.n_ctx)
    if available is not None and wanted > available:
        raise ModelError(
            f"a context of {sizes.n_ctx} tokens needs {wanted / 2**30:.1f} GiB for its KV cache, but only "
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
