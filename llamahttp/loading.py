"""Loading: from a configuration to an open model, its context and its store.

Decides what a configuration leaves open, as llama-server does.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from .abc import Decoder
from .binding import cpu, devices, portability
from .binding.adapter import LlamaAdapters
from .binding.control_vector import read_control_vector
from .binding.decoder import LlamaDecoder
from .binding.embedder import EmbedderConfig, LlamaEmbedder
from .binding.encoder import NoDecoder
from .binding.llama_context import ContextSizes, kv_bytes
from .binding.model import LlamaModel
from .cache.disk import DiskTier
from .cache.store import Store
from .config import N_SLOTS_MAX, EngineConfig, Pooling
from .errors import ModelError, NoMemory, StartupError
from .fit import ALIGNMENT, Room, fitted

log = logging.getLogger(__name__)

N_SPARE = 9
"""Sequences of a unified cache that keep prompts for which there is no slot; one of them moves pieces of memory."""

CACHE_RAM_MOST = 8192 << 20
"""Bytes that the RAM tier takes by default at most, which is llama-server's default; and its share of free memory."""
CACHE_RAM_SHARE = 8

SPARSE_MOST = 2
"""At most one layer in so many keeps the whole context, in models that mix kinds of attention."""
FAR = 1 << 20
"""Tokens that the cost of one is measured over."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What an engine is made of."""

    model: LlamaModel
    adapters: LlamaAdapters
    decoder: LlamaDecoder | NoDecoder
    embedder: LlamaEmbedder | None
    store: Store
    n_slots: int

    def close_model(self) -> None:
        """Close what the contexts use, after they are closed. Safe twice."""
        self.adapters.close()
        self.model.close()


class _GivenUp(Exception):
    """Nobody waits for the model any more."""


class Loading:
    """A model and its context, opened on another thread since it takes seconds, and given up from the event loop.

    Both sides may be at it at once. Each first says what it did (opened something, gave up) and then looks at what the
    other said, so that one of them closes what was opened; taking it from the list makes it only one.
    """

    def __init__(self, config: EngineConfig, on_progress: Callable[[float], None] | None) -> None:
        self._config = config
        self._on_progress = on_progress
        self._opened: list[LlamaModel | LlamaAdapters | LlamaDecoder | NoDecoder | LlamaEmbedder | Store] = []
        self._is_given_up = False

    def run(self) -> Opened:
        """Open everything. Raises StartupError; closes what it opened if it raises."""
        try:
            return self._run()
        except BaseException:
            self._close()
            raise

    def _run(self) -> Opened:
        config = self._config
        portability.check_cpu()
        devices.prepare_numa(config.load.numa)
        free = cpu.available_bytes()
        model = LlamaModel(config.model, n_gpu_layers=config.n_gpu_layers, load=config.load, on_progress=self._go_on)
        self._opened.append(model)
        if model.is_encoder_decoder:
            raise ModelError(f"{config.model} is an encoder-decoder model, which this server does not run")
        config = with_context(config, model, free)
        n_slots, sizes = decide_sizes(config, model.info.n_ctx_train, n_spare=N_SPARE if model.only_attends else 0)
        self._go_on()
        adapters = _open_adapters(config, model)
        self._opened.append(adapters)
        self._go_on()
        if config.backend_sampling and not devices.gpus():
            log.warning("--backend-sampling: there is no device but the CPU, where sampling within the graph is slower")
        decoder = _open_decoder(model, sizes, adapters)
        self._opened.append(decoder)
        self._go_on()
        embedder = _open_embedder(config, model, decoder, sizes, adapters)
        if embedder is not None:
            self._opened.append(embedder)
        self._go_on()
        store = open_store(config, decoder)
        self._opened.append(store)
        self._go_on()
        return Opened(model, adapters, decoder, embedder, store, n_slots)

    def _go_on(self, done: float | None = None) -> None:
        if self._is_given_up:
            raise _GivenUp
        if done is not None and self._on_progress is not None:
            self._on_progress(done)

    def give_up(self) -> None:
        """Close what is open, and let what is not open yet end early. Safe after the end."""
        self._is_given_up = True
        self._close()

    def _close(self) -> None:
        with contextlib.suppress(IndexError):  # of the list: it is empty
            while True:
                self._opened.pop().close()


def _open_adapters(config: EngineConfig, model: LlamaModel) -> LlamaAdapters:
    vectors = config.control_vectors
    vector = read_control_vector(model, vectors, config.control_vector_layers) if vectors else None
    return LlamaAdapters(model, [path for path, _ in config.loras], vector)


def _open_decoder(model: LlamaModel, sizes: ContextSizes, adapters: LlamaAdapters) -> LlamaDecoder | NoDecoder:
    try:
        return LlamaDecoder(model, sizes, adapters)
    except NoMemory:
        return NoDecoder(sizes)


def _open_embedder(
    config: EngineConfig, model: LlamaModel, decoder: Decoder, sizes: ContextSizes, adapters: LlamaAdapters
) -> LlamaEmbedder | None:
    if not (config.embeddings or config.reranking or isinstance(decoder, NoDecoder)):
        return None
    n_ctx = slot_context(config, decoder.n_ctx_seq, model.info.n_ctx_train)
    pooling = Pooling.RANK if config.reranking else config.pooling
    return LlamaEmbedder(model, sizes, EmbedderConfig(pooling, n_ctx), adapters)


def open_store(config: EngineConfig, decoder: Decoder) -> Store:
    """RAM and disk below the context's memory. Raises StartupError for a disk tier that cannot be used."""
    disk = DiskTier(config.cache_disk, config.cache_disk_size << 20) if config.cache_disk is not None else None
    has_checkpoints = not decoder.can_cut and config.n_checkpoints > 0
    limit = ram_limit(config.cache_ram, n_parts=2 if has_checkpoints else 1)
    return Store(limit, disk, decoder.fingerprint, can_cut=decoder.can_cut)


def with_context(config: EngineConfig, model: LlamaModel, free: int | None) -> EngineConfig:
    """The configuration with a context that fits where it names none; `free`: bytes of memory before the load."""
    info, fit = model.info, config.fit
    n_slots, sizes = decide_sizes(config, info.n_ctx_train)
    is_sized = config.n_ctx is not None or (sizes.kv_unified and config.n_ctx_slot > 0)
    if is_sized or not fit.is_on or free is None:
        return config
    n_streams = 1 if sizes.kv_unified else n_slots
    sparse = 1 if config.swa_full else SPARSE_MOST
    token_bytes = kv_bytes(info.metadata, FAR, config.compute, sparse) / FAR
    least = min(fit.n_ctx, info.n_ctx_train) * n_streams
    n_ctx = fitted(sizes.n_ctx, _round_up(least, ALIGNMENT), n_streams, token_bytes, rooms(config, model, free))
    if n_ctx < sizes.n_ctx:
        log.warning(
            "the context is %d tokens, for which memory has room, in place of %d (%.1f GiB): -c chooses another size",
            n_ctx,
            sizes.n_ctx,
            sizes.n_ctx * token_bytes / 2**30,
        )
    return replace(config, n_ctx=n_ctx)


def rooms(config: EngineConfig, model: LlamaModel, free: int) -> list[Room]:
    """What an open model leaves for its context: in the memory that had `free` bytes before it, and on devices."""
    on_devices = devices.free_bytes(config.load.devices) if config.compute.kv_offload else []
    share = 0.0
    if on_devices and config.n_gpu_layers != 0:
        share = 1.0 if config.n_gpu_layers < 0 else min(1.0, config.n_gpu_layers / max(1, model.n_layers))
    margins = [config.fit.target[min(i, len(config.fit.target) - 1)] << 20 for i in range(max(1, len(on_devices)))]
    here = free - int(model.info.n_bytes * (1.0 - share)) - margins[0]
    there = sum(max(0, n_bytes - margin) for n_bytes, margin in zip(on_devices, margins, strict=False))
    return [Room(max(0, here), 1.0 - share), Room(there, share)]


def whole_context(config: EngineConfig, n_ctx_train: int) -> int:
    """Tokens of a context whose size is left open: all that each slot can use, as in llama-server."""
    is_unified = _is_unified(config)
    if config.n_ctx is None and is_unified and config.n_ctx_slot > 0:
        return _slots(config) * config.n_ctx_slot
    return n_ctx_train if is_unified or not config.fit.is_on else _slots(config) * n_ctx_train


def _slots(config: EngineConfig) -> int:
    return 4 if config.n_parallel < 0 else config.n_parallel


def _is_unified(config: EngineConfig) -> bool:
    return config.n_parallel < 0 if config.kv_unified is None else config.kv_unified


def decide_sizes(config: EngineConfig, n_ctx_train: int, n_spare: int = 0) -> tuple[int, ContextSizes]:
    """Slots and the context's sizes, as llama-server decides them: (n_slots, sizes). Raises StartupError.

    `n_spare`: sequences beside those of the slots, for cached prompts, where a unified cache makes them free.
    """
    n_slots, unified = _slots(config), _is_unified(config)
    if not 1 <= n_slots <= N_SLOTS_MAX:
        raise StartupError(f"n_parallel must be between 1 and {N_SLOTS_MAX}, but got {n_slots}")
    n_ctx = _round_up(config.n_ctx or whole_context(config, n_ctx_train), ALIGNMENT)
    n_batch = min(config.n_batch, n_ctx)
    n_threads = config.n_threads if config.n_threads > 0 else cpu.physical_cores()
    sizes = ContextSizes(
        n_ctx=n_ctx,
        n_seq_max=min(n_slots + n_spare, N_SLOTS_MAX) if unified else n_slots,
        n_batch=max(n_batch, n_slots),
        n_ubatch=min(config.n_ubatch, n_batch),
        n_threads=n_threads,
        n_threads_batch=config.n_threads_batch if config.n_threads_batch > 0 else n_threads,
        n_outputs=n_slots,
        kv_unified=unified,
        swa_full=config.swa_full,
        compute=config.compute,
    )
    return n_slots, sizes


def slot_context(config: EngineConfig, n_ctx_seq: int, n_ctx_train: int) -> int:
    """Most tokens of one slot, as llama-server decides it."""
    limits = (n_ctx_seq, n_ctx_train, config.n_ctx_slot)
    return min(limit for limit in limits if limit > 0)


def ram_limit(cache_ram: int, n_parts: int = 1) -> int | None:
    """Bytes for the RAM tier from the flag's MiB; None is no limit.

    By default an eighth of the memory that is free, at most what llama-server takes, and divided by `n_parts` where
    there is more than the RAM tier that takes so much.
    """
    if cache_ram == -1:
        return None
    if cache_ram >= 0:
        return cache_ram << 20
    available = cpu.available_bytes()
    share = CACHE_RAM_MOST if available is None else available
    return min(CACHE_RAM_MOST, share // CACHE_RAM_SHARE) // n_parts


def _round_up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple
