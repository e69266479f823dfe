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
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .abc import Decoder, Embedder, ModelInfo, SamplerFactory, Vocab
from .activation import activate
from .binding import devices, library, manifest
from .binding.encoder import NoDecoder
from .binding.sampler_factory import LlamaSamplerFactory
from .cache.resident import ResidentCache
from .cache.snapshot import file_size, read_snapshot, write_snapshot
from .cache.store import Store
from .config import EngineConfig, Pooling
from .context import ContextConfig, ServerContext
from .embedding import EmbeddingSide
from .errors import (
    ContextExceeded,
    EngineError,
    InvalidRequest,
    ModelError,
    NotSupported,
    SnapshotError,
    Unavailable,
)
from .grammar import Grammar, GrammarCompiler
from .loading import Loading, open_store, slot_context
from .pooling import normalize
from .queue import EmbeddingStream, EraseSlot, Loaded, RestoreSlot, ResultStream, SaveSlot, SlotAction, TaskQueue
from .rerank import rerank_prompt
from .task import CompletionTask, EmbeddingTask, EngineSnapshot, Finished, SamplingParams, Tokens
from .text import TextAssembler
from .trace import open_trace
from .workers import Workers

DEFAULT_SAMPLING = SamplingParams()

N_TOKENIZERS = 2
"""Threads that tokenise long texts. A hostile one of a megabyte takes libllama twenty seconds; nothing stops it."""

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
        embedder: Embedder | None = None,
        store: Store | None = None,
        invocations: Sequence[Sequence[int]] | None = None,
        library_version: str = "",
        library_build: str = "b0-unknown",
        compute: str = "CPU",
        close_model: Callable[[], None] = lambda: None,
    ) -> None:
        """Must run on the event loop that will use the engine; starts the engine thread. Raises StartupError for a
        disk tier that cannot be used."""
        self.config = config
        self.info = info
        self.vocab = vocab
        self.library_version = library_version
        self.library_build = library_build
        self.compute = compute
        self.n_slots = n_slots
        self.invocations = invocations if invocations is not None else ((),) * len(config.loras)
        """Of each adapter the tokens behind which alone it is applied (aLoRA); none for a plain LoRA."""
        self.n_ctx_slot = slot_context(config, decoder.n_ctx_seq, info.n_ctx_train)
        self.wants_turns = not decoder.can_cut and config.n_checkpoints > 0
        """Whether knowing where turns begin (`CompletionTask.turns`) helps the cache."""
        self._tokenizers = Workers("tokenizer", N_TOKENIZERS)
        self.failed: EngineError | None = None
        self.rebuilding = False
        """A fatal error was met and the context is being made anew; requests wait."""
        self.embedder = embedder
        """Its constants; None without embeddings."""
        self.generates = not isinstance(decoder, NoDecoder)
        """Whether the model continues text: an encoder does not."""
        self._grammars = GrammarCompiler(vocab)
        self._preparing: asyncio.Future[None] | None = None
        self._decoder = decoder
        self._samplers = samplers
        self._close_model = close_model
        self._queue = TaskQueue(config.queue_size, config.queue_timeout)
        self.meter = self._queue.meter
        """What became of the tasks; to be read on the event loop."""
        self._store = store if store is not None else open_store(config, decoder)
        self._store.on_loaded = lambda: self._queue.post(Loaded())
        self._context = self._make_context()
        self._context.start(warmup=config.warmup)

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
                backend_sampling=config.backend_sampling,
            ),
            self._decoder,
            self.vocab,
            self._samplers,
            self._queue,
            ResidentCache(
                self._decoder,
                self._store,
                n_slots=self.n_slots,
                n_checkpoints=config.n_checkpoints,
                # as much again as the RAM tier; where that is off, checkpoints are limited by their number only
                checkpoint_bytes=self._store.ram_limit or None,
            ),
            self._store,
            embedding=EmbeddingSide(self.embedder, config.target_step_ms) if self.embedder is not None else None,
            trace=open_trace(),
            on_failure=self._fail,
            on_rebuild=self._note_rebuild,
        )

    @classmethod
    async def open(cls, config: EngineConfig, on_progress: Callable[[float], None] | None = None) -> Engine:
        """Load the model. Raises StartupError; `on_progress` gets 0..1 on another thread. Whoever is cancelled here
        leaves nothing behind: what is still being loaded then ends at its next progress."""
        loading = Loading(config, on_progress)
        try:
            opened = await asyncio.to_thread(loading.run)
            model = opened.model
            engine = cls(
                config,
                model.info,
                model.vocab,
                opened.decoder,
                LlamaSamplerFactory(
                    model.vocab,
                    looks_ahead=config.n_gpu_layers != 0 and bool(devices.gpus()),
                    uses_device=config.backend_sampling,
                ),
                n_slots=opened.n_slots,
                embedder=opened.embedder,
                store=opened.store,
                invocations=[lora.invocation for lora in opened.adapters.loras],
                library_version=manifest.version(library.load().manifest),
                library_build=manifest.build(library.load().manifest),
                compute=devices.describe_compute(config.n_gpu_layers),
                close_model=opened.close_model,
            )
        except BaseException:
            loading.give_up()
            raise
        await engine.wait_until_warm()
        if engine.generates:
            engine._preparing = asyncio.ensure_future(asyncio.to_thread(engine._grammars.prepare))
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
        if self._preparing is not None:
            await asyncio.wait({self._preparing})  # it reads the model
        self._tokenizers.close()
        self._samplers.close()
        if self.embedder is not None:
            self.embedder.close()
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
        self._check_runs()
        self._check(task)
        return self._queue.submit(activate(task, self.invocations))

    def _check_runs(self) -> None:
        """Raise Unavailable where the engine has given up: its queue is closed too, and says that the server stops."""
        if self.failed is not None:
            raise Unavailable(str(self.failed))

    def _check(self, task: CompletionTask) -> None:
        prompt = task.prompt
        if not self.generates:
            raise NotSupported("This model only computes embeddings: it does not generate text")
        self._check_ids("prompt", prompt)
        if len(prompt) >= self.n_ctx_slot:
            raise ContextExceeded(len(prompt), self.n_ctx_slot)
        if not -1 <= task.id_slot < self.n_slots:
            raise InvalidRequest(f"id_slot must be between -1 and {self.n_slots - 1}, but got {task.id_slot}")
        if task.n_keep < -1 or task.n_discard < 0:
            raise InvalidRequest(
                f"n_keep must be at least -1 and n_discard at least 0, but got {task.n_keep} and {task.n_discard}"
            )
        self._check_adapters(task.adapters)

    def _check_adapters(self, adapters: Sequence[tuple[int, float]]) -> None:
        for index, _ in adapters:
            if not 0 <= index < len(self.config.loras):
                raise InvalidRequest(f"adapter {index} does not exist: {len(self.config.loras)} are loaded")

    def _check_ids(self, name: str, tokens: NDArray[np.int32]) -> None:
        wrong = np.flatnonzero((tokens < 0) | (tokens >= self.info.n_vocab))
        if len(wrong):
            raise InvalidRequest(
                f"{name} token {wrong[0]} is {tokens[wrong[0]]}, which is not in the vocabulary "
                f"of {self.info.n_vocab} tokens"
            )

    async def snapshot(self) -> EngineSnapshot:
        """The state of the slots, copied between two steps."""
        return await self._queue.ask()

    async def prepare(self, sampling: SamplingParams) -> None:
        """Do what of sampling so takes long, on another thread, instead of while the task is launched and all others
        wait. Raises InvalidRequest."""
        if sampling.has_dry:
            await asyncio.to_thread(self._samplers.prepare, sampling)

    async def compile_grammar(self, text: str) -> Grammar:
        """A GBNF grammar, compiled on another thread unless it is one of the last. Raises GrammarError."""
        return await asyncio.to_thread(self._grammars.compile, text)

    async def compile_lark(self, text: str) -> Grammar:
        """The same for a grammar in llguidance's Lark."""
        return await asyncio.to_thread(self._grammars.compile_lark, text)

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
        if snapshot.start != 0 or len(snapshot.tokens) == 0:
            raise SnapshotError(f"{path.name}: holds a part of a prompt, not a slot")
        await self._act(RestoreSlot(id_slot, snapshot))
        n_bytes = file_size(snapshot, self._decoder.fingerprint)
        return SlotFile(len(snapshot.tokens), n_bytes, 1e3 * (time.perf_counter() - began))

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
        await self.prepare(sampling)
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

    # --- embeddings

    def require_embedder(self, *, ranks: bool = False) -> Embedder:
        """The constants of the context of embeddings. Raises NotSupported if there is none for what is wanted."""
        embedder = self.embedder
        if ranks and (embedder is None or embedder.pooling is not Pooling.RANK):
            raise NotSupported("This server does not support reranking. Start it with `--reranking`")
        if embedder is None:
            raise NotSupported("This server does not support embeddings. Start it with `--embeddings`")
        if not ranks and embedder.pooling is Pooling.RANK:
            raise NotSupported("This server does not support embeddings: it reranks. Start it without `--reranking`")
        return embedder

    def submit_embedding(self, task: EmbeddingTask) -> EmbeddingStream:
        """Queue a task for embeddings or scores. Raises NotSupported, InvalidRequest, ContextExceeded, QueueFull or
        Unavailable."""
        self._check_runs()
        embedder = self.require_embedder(ranks=self.embedder is not None and self.embedder.pooling is Pooling.RANK)
        if not task.inputs:
            raise InvalidRequest("there is no input to embed")
        for i, tokens in enumerate(task.inputs):
            if len(tokens) == 0:
                raise InvalidRequest(f"input {i} is empty: it has no token")
            if len(tokens) > embedder.n_ctx:
                raise ContextExceeded(len(tokens), embedder.n_ctx, f"input {i}", "it is too large to process")
            self._check_ids(f"input {i}:", tokens)
        self._check_adapters(task.adapters)
        # an activated one is trained for what is generated behind its invocation
        adapters = tuple(pair for pair in task.adapters if not self.invocations[pair[0]])
        return self._queue.submit_embedding(replace(task, adapters=adapters))

    async def embed(self, inputs: Sequence[str | Sequence[int]], *, norm: int = 2) -> list[NDArray[np.float32]]:
        """The embedding of each text, or of each list of token ids: float32[n_embd], or with the pooling NONE
        float32[n_tokens, n_embd] and never normalised. `norm` is llama-server's `embd_normalize`.

        Raises what `submit_embedding` does.
        """
        embedder = self.require_embedder()
        tokens = [await self.tokenize(i) if isinstance(i, str) else np.array(i, np.int32) for i in inputs]
        vectors = await self._embed(tokens)
        if embedder.pooling is Pooling.NONE:
            return vectors
        return [normalize(vector[0], norm) for vector in vectors]

    async def rerank(self, query: str, documents: Sequence[str]) -> list[float]:
        """How well each document answers the query: the model's score, higher is better. Raises as `embed` does."""
        self.require_embedder(ranks=True)
        vectors = await self._embed([await self.tokenize_pair(query, document) for document in documents])
        return [float(vector[0, 0]) for vector in vectors]

    async def _embed(self, tokens: Sequence[NDArray[np.int32]]) -> list[NDArray[np.float32]]:
        found: dict[int, NDArray[np.float32]] = {}
        async with self.submit_embedding(EmbeddingTask(tuple(tokens))) as stream:
            async for result in stream:
                found.update(result.vectors)
        return [found[i] for i in range(len(tokens))]

    # --- text

    async def tokenize_pair(self, query: str, document: str) -> NDArray[np.int32]:
        """Token ids of what a classifier rates; long texts are done on another thread."""
        template = self.info.chat_templates.get("rerank")

        def work() -> NDArray[np.int32]:
            return rerank_prompt(self.vocab, template, query, document)

        return work() if len(query) + len(document) <= LONG_TEXT else await self._tokenizers.run(work)

    async def tokenize(self, text: str, *, add_special: bool = True, parse_special: bool = True) -> NDArray[np.int32]:
        """Token ids of `text`, int32[n]; long texts are done on another thread."""

        def work() -> NDArray[np.int32]:
            return self.vocab.tokenize(text, add_special=add_special, parse_special=parse_special)

        return work() if len(text) <= LONG_TEXT else await self._tokenizers.run(work)

    def detokenize(self, tokens: Sequence[int] | NDArray[np.int32], *, special: bool = True) -> str:
        """Text of `tokens`; bytes that are not UTF-8 become U+FFFD. Raises InvalidRequest for unknown ids."""
        ids = np.asarray(tokens, np.int64)
        wrong = np.flatnonzero((ids < 0) | (ids >= self.info.n_vocab))
        if len(wrong):
            raise InvalidRequest(f"token {ids[wrong[0]]} is not in the vocabulary of {self.info.n_vocab} tokens")
        return self.vocab.detokenize(ids.astype(np.int32), special=special).decode(errors="replace")
