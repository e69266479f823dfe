"""Engine: a model opened and ready to continue prompts, without HTTP.

    async with await Engine.open(EngineConfig(model=Path("model.gguf"))) as engine:
        async for text in engine.generate("Once upon a time", n_predict=64):
            print(text, end="", flush=True)

The server is one user of it; a script is another.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .abc import Decoder, ModelInfo, SamplerFactory, Vocab
from .binding import cpu, devices, library, manifest, portability
from .binding.decoder import DecoderConfig, LlamaDecoder
from .binding.model import LlamaModel
from .binding.sampler import LlamaSamplerFactory
from .cache.disk import DiskTier
from .cache.resident import ResidentCache
from .cache.snapshot import read_snapshot, write_snapshot
from .cache.store import Store
from .config import N_SLOTS_MAX, EngineConfig
from .context import ContextConfig, ServerContext
from .errors import ContextExceeded, EngineError, InvalidRequest, ModelError, StartupError, Unavailable
from .queue import EraseSlot, Loaded, RestoreSlot, ResultStream, SaveSlot, SlotAction, TaskQueue
from .task import CompletionTask, EngineSnapshot, Finished, SamplingParams, Tokens
from .text import TextAssembler

N_SPARE = 9
"""Sequences of a unified cache that keep prompts for which there is no slot; one of them moves pieces of memory."""

CACHE_RAM_MOST = 8192 << 20
"""Bytes that the RAM tier takes by default at most, which is llama-server's default; and its share of free memory."""
CACHE_RAM_SHARE = 8

DEFAULT_SAMPLING = SamplingParams()

LONG_TEXT = 4096
"""Characters above which a text is tokenised off the event loop."""


@dataclass(frozen=True, slots=True)
class SlotFile:
    """A slot was written to a file, or read from one."""

    n_tokens: int
    n_bytes: int
    ms: float


class Engine:
    """An open model with its slots. Make it with `open`, or from parts for tests; end it with `close`.

    The first `open` of a process loads libllama, which leaves a mark on the program around it: the environment variable
    GOMP_SPINCOUNT is set, unless it or OMP_WAIT_POLICY is, so that threads of OpenMP that wait soon sleep.
    """

    def __init__(
        self,
        config: EngineConfig,
        info: ModelInfo,
        vocab: Vocab,
        decoder: Decoder,
        samplers: SamplerFactory[Any],
        *,
        n_slots: int,
        library_version: str = "",
        compute: str = "CPU",
        close_model: Callable[[], None] = lambda: None,
    ) -> None:
        """Must run on the event loop that will use the engine; starts the engine thread. Raises StartupError for a
        disk tier that cannot be used."""
        self.config = config
        self.info = info
        self.vocab = vocab
        self.library_version = library_version
        self.compute = compute
        self.n_slots = n_slots
        self.n_ctx_slot = slot_context(config, decoder.n_ctx_seq, info.n_ctx_train)
        self.wants_turns = not decoder.can_cut and config.n_checkpoints > 0
        """Whether knowing where turns begin (`CompletionTask.turns`) helps the cache."""
        self.failed: EngineError | None = None
        self.rebuilding = False
        """A fatal error was met and the context is being made anew; requests wait."""
        self._decoder = decoder
        self._samplers = samplers
        self._close_model = close_model
        self._queue = TaskQueue(config.queue_size, config.queue_timeout)
        self._store = self._open_store()
        self._context = self._make_context()
        self._context.start(warmup=config.warmup)

    def _open_store(self) -> Store:
        config = self.config
        disk = DiskTier(config.cache_disk, config.cache_disk_size << 20) if config.cache_disk is not None else None
        decoder, on_loaded = self._decoder, lambda: self._queue.post(Loaded())
        return Store(ram_limit(config.cache_ram), disk, decoder.fingerprint, on_loaded, can_cut=decoder.can_cut)

    def _make_context(self) -> ServerContext:
        config = self.config
        return ServerContext(
            ContextConfig(
                n_slots=self.n_slots,
                n_ctx_slot=self.n_ctx_slot,
                target_step_ms=config.target_step_ms,
                context_shift=config.context_shift,
                checkpoint_min_step=config.checkpoint_min_step,
                has_adapters=bool(config.loras),
            ),
            self._decoder,
            self.vocab,
            self._samplers,
            self._queue,
            ResidentCache(self._decoder, self._store, n_slots=self.n_slots, n_checkpoints=config.n_checkpoints),
            self._store,
            on_failure=self._fail,
            on_rebuild=self._note_rebuild,
        )

    @classmethod
    async def open(cls, config: EngineConfig, on_progress: Callable[[float], None] | None = None) -> Engine:
        """Load the model. Raises StartupError; `on_progress` gets 0..1 on another thread. Whoever is cancelled here
        leaves nothing behind: what is still being loaded then ends at its next progress."""
        loading = _Loading(config, on_progress)
        try:
            model, decoder, n_slots = await asyncio.to_thread(loading.run)
            engine = cls(
                config,
                model.info,
                model.vocab,
                decoder,
                LlamaSamplerFactory(model.vocab),
                n_slots=n_slots,
                library_version=manifest.version(library.load().manifest),
                compute=devices.describe_compute(config.n_gpu_layers),
                close_model=model.close,
            )
        except BaseException:
            loading.give_up()
            raise
        await engine.wait_until_warm()
        return engine

    async def __aenter__(self) -> Engine:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End every stream, then free the context and the model. Safe twice."""
        self._queue.close()
        await asyncio.to_thread(self._context.join)
        await asyncio.to_thread(self._store.close)
        self._samplers.close()
        self._decoder.close()
        self._close_model()

    async def wait_until_warm(self) -> None:
        """Return once the engine takes requests. Raises ModelError if the model cannot be computed. Closes the engine
        unless it returns."""
        try:
            with contextlib.suppress(Unavailable):
                await self.snapshot()
            if self.failed is not None:
                raise ModelError(f"{self.config.model}: {self.failed}")
        except BaseException:
            await asyncio.shield(self.close())
            raise

    def _fail(self, error: EngineError) -> None:
        self.failed = error

    def _note_rebuild(self, begins: bool) -> None:
        self.rebuilding = begins

    # --- tasks

    def submit(self, task: CompletionTask) -> ResultStream:
        """Queue a task. Raises InvalidRequest, ContextExceeded, QueueFull or Unavailable."""
        self._check(task)
        return self._queue.submit(task)

    def _check(self, task: CompletionTask) -> None:
        prompt = task.prompt
        if len(prompt) == 0:
            raise InvalidRequest("the prompt is empty: it has no token to continue from")
        wrong = np.flatnonzero((prompt < 0) | (prompt >= self.info.n_vocab))
        if len(wrong):
            raise InvalidRequest(
                f"prompt token {wrong[0]} is {prompt[wrong[0]]}, which is not in the vocabulary "
                f"of {self.info.n_vocab} tokens"
            )
        if len(prompt) >= self.n_ctx_slot:
            raise ContextExceeded(len(prompt), self.n_ctx_slot)
        if not -1 <= task.id_slot < self.n_slots:
            raise InvalidRequest(f"id_slot must be between -1 and {self.n_slots - 1}, but got {task.id_slot}")
        if task.n_keep < -1 or task.n_discard < 0:
            raise InvalidRequest(
                f"n_keep must be at least -1 and n_discard at least 0, but got {task.n_keep} and {task.n_discard}"
            )
        for index, _ in task.adapters:
            if not 0 <= index < len(self.config.loras):
                raise InvalidRequest(f"adapter {index} does not exist: {len(self.config.loras)} are loaded")

    async def snapshot(self) -> EngineSnapshot:
        """The state of the slots, copied between two steps."""
        return await self._queue.ask()

    # --- slot files

    async def save_slot(self, id_slot: int, path: Path) -> SlotFile:
        """Write what a slot's last task left in memory to a file. Waits until the slot is idle.

        Raises InvalidRequest if there is no such slot or nothing in it, EngineError if the file cannot be written.
        """
        began = time.perf_counter()
        snapshot = await self._act(SaveSlot(id_slot))
        if snapshot is None:
            raise InvalidRequest(f"slot {id_slot} holds nothing that could be saved")
        try:
            n_bytes = await asyncio.to_thread(write_snapshot, path, snapshot, self._decoder.fingerprint)
        except OSError as error:
            raise EngineError(f"cannot write {path.name}: {error.strerror}") from None
        return SlotFile(len(snapshot.tokens), n_bytes, 1e3 * (time.perf_counter() - began))

    async def restore_slot(self, id_slot: int, path: Path) -> SlotFile:
        """Read a file of `save_slot` into a slot's memory. Raises InvalidRequest for a wrong slot, SnapshotError for a
        missing, foreign or damaged file; nothing has changed then."""
        began = time.perf_counter()
        self._check_slot(id_slot)
        snapshot = await asyncio.to_thread(read_snapshot, path, self._decoder.fingerprint)
        await self._act(RestoreSlot(id_slot, snapshot))
        return SlotFile(len(snapshot.tokens), snapshot.n_bytes, 1e3 * (time.perf_counter() - began))

    async def erase_slot(self, id_slot: int) -> int:
        """Forget what a slot's last task left in memory; the number of its tokens."""
        n_erased: int = await self._act(EraseSlot(id_slot))
        return n_erased

    async def _act(self, action: SlotAction) -> Any:
        self._check_slot(action.id_slot)
        return await self._queue.act(action)

    def _check_slot(self, id_slot: int) -> None:
        if not 0 <= id_slot < self.n_slots:
            raise InvalidRequest(f"id_slot must be between 0 and {self.n_slots - 1}, but got {id_slot}")

    async def generate(
        self,
        prompt: str,
        *,
        sampling: SamplingParams = DEFAULT_SAMPLING,
        n_predict: int = -1,
        stop: Sequence[str] = (),
    ) -> AsyncIterator[str]:
        """Continue `prompt` and yield the text as it comes, without the stop string that ended it."""
        tokens = await self.tokenize(prompt)
        text = TextAssembler(self.vocab.pieces, stop)
        async with self.submit(CompletionTask(tokens, sampling, n_predict)) as stream:
            async for result in stream:
                match result:
                    case Tokens(ids):
                        if piece := text.feed(ids):
                            yield piece
                        if text.stopped is not None:
                            return
                    case Finished():
                        if rest := text.finish():
                            yield rest

    # --- text

    async def tokenize(self, text: str, *, add_special: bool = True, parse_special: bool = True) -> NDArray[np.int32]:
        """Token ids of `text`, int32[n]; long texts are done on another thread."""

        def work() -> NDArray[np.int32]:
            return self.vocab.tokenize(text, add_special=add_special, parse_special=parse_special)

        return work() if len(text) <= LONG_TEXT else await asyncio.to_thread(work)

    def detokenize(self, tokens: Sequence[int] | NDArray[np.int32], *, special: bool = True) -> str:
        """Text of `tokens`; bytes that are not UTF-8 become U+FFFD. Raises InvalidRequest for unknown ids."""
        ids = np.asarray(tokens, np.int64)
        wrong = np.flatnonzero((ids < 0) | (ids >= self.info.n_vocab))
        if len(wrong):
            raise InvalidRequest(f"token {ids[wrong[0]]} is not in the vocabulary of {self.info.n_vocab} tokens")
        return self.vocab.detokenize(ids.astype(np.int32), special=special).decode(errors="replace")


class _GivenUp(Exception):
    """Nobody waits for the model any more."""


class _Loading:
    """A model and its context, opened on another thread since it takes seconds, and given up from the event loop.

    Both sides may be at it at once. Each first says what it did (opened something, gave up) and then looks at what the
    other said, so that one of them closes what was opened; taking it from the list makes it only one.
    """

    def __init__(self, config: EngineConfig, on_progress: Callable[[float], None] | None) -> None:
        self._config = config
        self._on_progress = on_progress
        self._opened: list[LlamaModel | LlamaDecoder] = []
        self._is_given_up = False

    def run(self) -> tuple[LlamaModel, LlamaDecoder, int]:
        """Open both; the number of slots is the third. Raises StartupError; closes what it opened if it raises."""
        try:
            return self._run()
        except BaseException:
            self._close()
            raise

    def _run(self) -> tuple[LlamaModel, LlamaDecoder, int]:
        config = self._config
        portability.check_cpu()
        model = LlamaModel(config.model, n_gpu_layers=config.n_gpu_layers, on_progress=self._go_on)
        self._opened.append(model)
        if not model.generates:
            raise ModelError(f"{config.model} is not a decoder-only model: it cannot continue text")
        n_slots, sizes = decide_sizes(config, model.info.n_ctx_train, n_spare=N_SPARE if model.only_attends else 0)
        self._go_on()
        decoder = LlamaDecoder(model, sizes)
        self._opened.append(decoder)
        self._go_on()
        return model, decoder, n_slots

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


def decide_sizes(config: EngineConfig, n_ctx_train: int, n_spare: int = 0) -> tuple[int, DecoderConfig]:
    """Slots and the context's sizes, as llama-server decides them: (n_slots, sizes). Raises StartupError.

    `n_spare`: sequences beside those of the slots, for cached prompts, where a unified cache makes them free.
    """
    automatic = config.n_parallel < 0
    n_slots = 4 if automatic else config.n_parallel
    unified = automatic if config.kv_unified is None else config.kv_unified
    if not 1 <= n_slots <= N_SLOTS_MAX:
        raise StartupError(f"n_parallel must be between 1 and {N_SLOTS_MAX}, but got {n_slots}")
    n_ctx = _round_up(config.n_ctx or n_ctx_train, 256)
    n_batch = min(config.n_batch, n_ctx)
    n_threads = config.n_threads if config.n_threads > 0 else cpu.physical_cores()
    sizes = DecoderConfig(
        n_ctx=n_ctx,
        n_seq_max=min(n_slots + n_spare, N_SLOTS_MAX) if unified else n_slots,
        n_batch=max(n_batch, n_slots),
        n_ubatch=min(config.n_ubatch, n_batch),
        n_threads=n_threads,
        n_threads_batch=config.n_threads_batch if config.n_threads_batch > 0 else n_threads,
        n_outputs=n_slots,
        kv_unified=unified,
        swa_full=config.swa_full,
        loras=config.loras,
    )
    return n_slots, sizes


def slot_context(config: EngineConfig, n_ctx_seq: int, n_ctx_train: int) -> int:
    """Most tokens of one slot, as llama-server decides it."""
    limits = (n_ctx_seq, n_ctx_train, config.n_ctx_slot)
    return min(limit for limit in limits if limit > 0)


def ram_limit(cache_ram: int) -> int | None:
    """Bytes for the RAM tier from the flag's MiB; None is no limit. By default an eighth of the memory that is free,
    and at most what llama-server takes."""
    if cache_ram == -1:
        return None
    if cache_ram >= 0:
        return cache_ram << 20
    available = cpu.available_bytes()
    return (
        min(CACHE_RAM_MOST, available // CACHE_RAM_SHARE)
        if available is not None
        else CACHE_RAM_MOST // CACHE_RAM_SHARE
    )


def _round_up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple
