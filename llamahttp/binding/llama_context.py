"""LlamaContext: the owner of a llama_context, for the decoder and the embedder alike; and the sizes it is made with."""

from __future__ import annotations

import ctypes as c
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..abc import BatchError
from ..config import ComputeConfig
from ..errors import EngineError, ModelError
from . import cpu, devices, library, library_log
from .adapter import LlamaAdapters
from .functions import CONSTANTS
from .model import LlamaModel
from .structs import BatchStruct, ContextParams
from .thread_pool import ThreadPools

KV_BYTES = {
    "f32": 4,
    "f16": 2,
    "bf16": 2,
    "q8_0": 34 / 32,
    "q5_1": 24 / 32,
    "q5_0": 22 / 32,
    "q4_1": 20 / 32,
    "q4_0": 18 / 32,
    "iq4_nl": 18 / 32,
}
"""Bytes of one number in a KV cache of a type."""

DEFAULT_COMPUTE = ComputeConfig()

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
    compute: ComputeConfig = DEFAULT_COMPUTE
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
        self._pools: ThreadPools | None = None

    def open(self, params: ContextParams, what: str, compute: ComputeConfig) -> None:
        """Free what there is and make the context, with the adapters that were last set and the control vector.

        Raises ModelError, in which `what` stands for the context.
        """
        self.close()
        self._owner = self._model.owner  # must outlive the context
        with library_log.telling_errors() as errors:
            self._handle = self._lib.llama_init_from_model(self._model.handle, params)
            if not self._handle:
                reason = "; ".join(errors) or "libllama gives no reason"
                hint = "; try a smaller --ctx-size" if "alloc" in reason or not errors else ""
                raise ModelError(f"cannot make {what}: {reason}{hint}")
        self._pools = ThreadPools(self._lib, compute, params.n_threads, params.n_threads_batch)
        self._pools.attach(self._handle)
        self._apply_vector()
        self._apply_loras()

    def close(self) -> None:
        """Free the context. Safe twice."""
        handle, self._handle = self._handle, None
        if handle:
            self._lib.llama_free(handle)
            del self._owner
        pools, self._pools = self._pools, None
        if pools is not None:
            pools.close()

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
    _compute_params(params, sizes.compute)
    return params


def _compute_params(params: ContextParams, compute: ComputeConfig) -> None:
    attention = {None: "AUTO", False: "DISABLED", True: "ENABLED"}[compute.flash_attn]
    params.flash_attn_type = CONSTANTS[f"LLAMA_FLASH_ATTN_TYPE_{attention}"]
    params.type_k = CONSTANTS[f"GGML_TYPE_{compute.type_k.upper()}"]
    params.type_v = CONSTANTS[f"GGML_TYPE_{compute.type_v.upper()}"]
    params.offload_kqv = compute.kv_offload
    params.op_offload = compute.op_offload
    scaling = (compute.rope_scaling or "unspecified").upper()
    params.rope_scaling_type = CONSTANTS[f"LLAMA_ROPE_SCALING_TYPE_{scaling}"]
    params.rope_freq_base, params.rope_freq_scale = compute.rope_freq_base, compute.rope_freq_scale
    params.yarn_orig_ctx = compute.yarn_orig_ctx
    params.yarn_ext_factor, params.yarn_attn_factor = compute.yarn_ext_factor, compute.yarn_attn_factor
    params.yarn_beta_fast, params.yarn_beta_slow = compute.yarn_beta_fast, compute.yarn_beta_slow


def check_memory(model: LlamaModel, sizes: ContextSizes) -> None:
    """Raise ModelError if the KV cache alone is larger than the memory left: libllama would be killed, not refused."""
    if devices.gpus():
        return  # the cache may lie on a device, which refuses what does not fit
    available, wanted = cpu.available_bytes(), kv_bytes(model.info.metadata, sizes.n_ctx, sizes.compute)
    if available is not None and wanted > available:
        raise ModelError(
            f"a context of {sizes.n_ctx} tokens needs {wanted / 2**30:.1f} GiB for its KV cache, but only "
            f"{available / 2**30:.1f} GiB of memory are available; try a smaller --ctx-size"
        )


def kv_bytes(
    metadata: dict[str, str], n_ctx: int, compute: ComputeConfig = DEFAULT_COMPUTE, sparse: int = SPARSE
) -> int:
    """Bytes that a KV cache has, from a GGUF's metadata. 0 where the metadata does not tell.

    Tables (sizes a layer) are not among the metadata. Models with a sliding window or with recurrent layers need
    less than full attention, by how much depends on the architecture: one layer in `sparse` is counted, by default the
    least that there may be.
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
        n_layers //= sparse
    head_size = number("embedding_length") // n_head
    k, v = number("attention.key_length", head_size), number("attention.value_length", head_size)
    return int(n_ctx * n_layers * n_head_kv * (k * KV_BYTES[compute.type_k] + v * KV_BYTES[compute.type_v]))
