"""ServerContext: the engine thread. Each step has three beats: plan, decode, apply.

Owns the slots, the samplers, the decoder and the cache; nobody else may touch them, not even to read. The other threads
speak to it through the queue.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .abc import BatchError, Decoder, SamplerFactory, Vocab
from .batch import BatchWriter
from .cache.resident import ResidentCache
from .cache.store import Store
from .candidates import NO_TOKEN
from .embedding import EmbeddingSide
from .errors import EngineError, LlamaHTTPError, ModelError, Unavailable
from .meter import StepMeter
from .placement import Placement
from .planner import Planner, StepPlan
from .queue import (
    Ask,
    Cancel,
    Close,
    Delivery,
    Embed,
    EmbeddingStream,
    EndReasoning,
    Loaded,
    Message,
    ResultStream,
    Stop,
    TaskQueue,
)
from .slot import Slot
from .slot_actions import SlotActions
from .suspects import Suspects
from .task import (
    EngineSnapshot,
    EngineStats,
    Failure,
    Finished,
    Miss,
    PromptProgress,
    StopReason,
    Timings,
    Tokens,
)
from .trace import Beat, NoTrace, StepTrace

log = logging.getLogger(__name__)

NOT_NUMBERS = "the model's logits are not numbers"

MAX_FAILED_STEPS = 3
"""Unexpected exceptions in a row after which the engine gives up and says so."""


MERGE_S = 0.002
"""While steps are shorter than this, the tokens of several go to their readers together: each wake-up of the event loop
takes a core from libllama's threads, which stalls a small model's step for longer than it takes."""

STORE_S = 5.0
"""Seconds that the end may take to hand the disk tier what is in memory."""


@dataclass(frozen=True, slots=True)
class ContextConfig:
    """What is not the decoder's to know."""

    n_slots: int
    n_ctx_slot: int
    target_step_ms: float = 50.0
    context_shift: bool = False
    checkpoint_min_step: int = 8192
    has_adapters: bool = False
    backend_sampling: bool = False


class ServerContext:
    """N slots over one decoder, stepped by a thread of its own."""

    def __init__(
        self,
        config: ContextConfig,
        decoder: Decoder,
        vocab: Vocab,
        samplers: SamplerFactory[Any],
        queue: TaskQueue,
        cache: ResidentCache,
        store: Store,
        *,
        embedding: EmbeddingSide | None = None,
        trace: StepTrace | None = None,
        on_failure: Callable[[EngineError], None] = lambda error: None,
        on_rebuild: Callable[[bool], None] = lambda begins: None,
    ) -> None:
        """`on_failure` is called on the engine thread if it has to give up; `on_rebuild` when the context is made
        anew, with True before and False after."""
        self._config = config
        self._decoder = decoder
        self._eog = vocab.eog
        self._n_bos = int(vocab.adds_bos)
        self._samplers = samplers
        self._queue = queue
        self._cache = cache
        self._store = store
        self._embedding = embedding
        self._on_failure = on_failure
        self._on_rebuild = on_rebuild
        self._slots = [Slot(id_slot, config.n_ctx_slot) for id_slot in range(config.n_slots)]
        self._running: dict[ResultStream, Slot] = {}
        self._suspects = Suspects()
        self._inbox: deque[Message] = deque()
        self._deliveries: list[Delivery] = []
        self._delivered = 0.0
        self._placement = Placement(decoder, cache, self._slots, config.checkpoint_min_step)
        self._actions = SlotActions(queue, cache, self._slots)
        self._rows = BatchWriter(decoder.batch, self._slots)
        self._planner = Planner(
            decoder,
            cache,
            self._placement,
            self._suspects,
            target_step_ms=config.target_step_ms,
            has_adapters=config.has_adapters,
        )
        self._adapters: tuple[tuple[int, float], ...] | None = None  # None: those that a fresh context applies
        self._counts: defaultdict[str, float] = defaultdict(int)
        self._misses: Counter[Miss] = Counter()
        self._meter = StepMeter()
        self._trace = trace or NoTrace()
        self._closing = self._gave_up = False
        self._thread: threading.Thread | None = None

    def start(self, *, warmup: bool = False) -> None:
        """Start the engine thread. `warmup` decodes a token first, before any message is answered.

        That is done on the thread that goes on decoding: OpenMP keeps a team of workers for each thread that ever
        computed, and with a second team there are more threads than cores, which slows every barrier of both.
        """
        self._thread = threading.Thread(target=self._run, args=(warmup,), name="engine", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for the thread to end after the queue was closed. Blocks for at most the current step."""
        assert self._thread is not None, "the thread was never started"
        self._thread.join()

    # --- the thread

    def _run(self, warmup: bool) -> None:
        n_failed = 0
        try:
            if warmup:
                self._warm_up()
            while not self._closing:
                try:
                    self.step()
                    n_failed = 0
                except Exception as error:  # one of the two places: whatever it is, every task must get its end
                    log.exception("the engine's step failed")
                    n_failed += 1
                    self._fail_all(EngineError(f"the engine failed: {error}"))
                    if n_failed == MAX_FAILED_STEPS:
                        self._give_up(EngineError(f"the engine has stopped after repeated failures, the last: {error}"))
        finally:
            if not self._closing:
                self._give_up(EngineError("the engine has stopped unexpectedly"))
            self._end()

    def _warm_up(self) -> None:
        """Decode one token and forget it, so that the first request does not pay for touching the weights."""
        batch = self._decoder.batch
        batch.tokens[0], batch.positions[0], batch.outputs[0] = 0, 0, 1
        batch.set_sequence(0, 1, 0)
        try:
            self._decoder.decode(1)
            self._decoder.remove(0, 0)
            if self._embedding is not None:
                self._embedding.warm_up()
        except Exception as error:  # as in the loop that follows
            self._give_up(EngineError(f"the model cannot be computed: {error}"))

    def _give_up(self, error: EngineError) -> None:
        log.error("%s", error)
        self._gave_up = True
        self._on_failure(error)
        self._queue.close()

    def step(self) -> None:
        """Take what has come in, then plan, decode and apply once. Blocks while there is nothing to do."""
        self._receive()
        self._place_waiting()
        plan = self._planner.plan(self._running.values())
        self._trace.lap(Beat.PLAN)
        if plan.parts:
            self._deliver()  # what waited: such a step may be long
            self._trace.lap(Beat.DELIVER)
        if plan and self._decode(plan):
            self._apply(plan)
            self._trace.lap(Beat.APPLY)
        self._deliver(may_wait=bool(plan.generating))
        self._trace.lap(Beat.DELIVER)
        self._embed(is_alone=not plan.generating)
        self._cache.store_some(n_generating=len(plan.generating), n_prompts=len(plan.parts))
        self._trace.lap(Beat.REST)
        self._trace.end(len(plan.generating), plan.n_prompt)

    def _embed(self, *, is_alone: bool) -> None:
        """A batch of embeddings after each step of those who generate, so that neither waits for long."""
        if self._embedding is not None and self._embedding.is_busy:
            self._deliver()  # what waited: a batch may take longer than many steps
            self._deliveries += self._embedding.step(is_alone=is_alone)
            self._deliver()

    def _end(self) -> None:
        stopping = Unavailable("the server is stopping")
        self._deliveries += [(stream, Failure(stopping)) for stream in (*self._queue.drain(), *self._running)]
        self._deliver()
        self._inbox += self._queue.receive(block=False)
        self._deliveries += [
            (message.stream, Failure(stopping)) for message in self._inbox if isinstance(message, Embed)
        ]
        if self._embedding is not None:
            self._deliveries += self._embedding.fail_all(stopping)
        self._deliver()
        for message in self._inbox:
            match message:
                case Ask(_, None):
                    self._queue.answer(message, self._snapshot())
                case Ask():
                    self._queue.answer(message, stopping)
                case EndReasoning():
                    self._queue.answer(message, False)
        self._actions.end(stopping)
        for slot in list(self._running.values()):
            self._release(slot)
        if self._store.has_disk and not self._gave_up:
            self._store_rest()
        self._trace.close()

    def _store_rest(self) -> None:
        """Give the disk what is in memory, for a while, so that the next start finds it."""
        until = time.monotonic() + STORE_S
        while self._cache.wants_to_store and time.monotonic() < until:
            self._cache.store_some()

    # --- what comes in

    def _receive(self) -> None:
        if not self._inbox:
            free = {slot.id for slot in self._slots if slot.is_idle}
            self._inbox += self._queue.receive(block=not self._has_work(), free_slots=free)
            self._trace.lap(Beat.WAIT)
        while self._inbox:  # one by one: should one fail, those behind it are still there
            message = self._inbox.popleft()
            match message:
                case Cancel(ResultStream() as stream):
                    self._cancel(stream)
                case Cancel(EmbeddingStream() as stream) if self._embedding is not None:
                    self._embedding.cancel(stream)
                case Embed(stream) if self._embedding is not None:
                    self._embedding.submit(stream)
                case Stop(stream, n_tokens):
                    self._stop(stream, n_tokens)
                case Ask(_, None):
                    self._queue.answer(message, self._snapshot())
                case Ask():
                    self._actions.add(message)
                case EndReasoning():
                    self._queue.answer(message, self._end_reasoning(message.stream))
                case Loaded():
                    pass  # whoever waits for it looks again
                case Close():
                    self._closing = True
        if not self._closing:
            self._actions.act()
            self._launch_waiting()

    def _has_work(self) -> bool:
        is_embedding = self._embedding is not None and self._embedding.is_busy
        is_running = any(not slot.is_loading for slot in self._running.values())
        return is_embedding or is_running or self._cache.wants_to_store

    def _cancel(self, stream: ResultStream) -> None:
        slot = self._running.get(stream)
        if slot is not None:
            log.info("slot %d | task %d | cancelled after %d tokens", slot.id, stream.id_task, slot.n_predicted)
            self._release(slot)

    def _stop(self, stream: ResultStream, n_tokens: int) -> None:
        slot = self._running.get(stream)
        if slot is not None:
            self._finish(slot, StopReason.CALLER, n_tokens)

    def _end_reasoning(self, stream: ResultStream) -> bool:
        slot = self._running.get(stream)
        if slot is not None and slot.constraint is not None:
            slot.constraint.end_reasoning()
        return slot is not None

    def _launch_waiting(self) -> None:
        while True:
            free = {slot.id for slot in self._slots if slot.is_idle}
            stream = self._queue.next_task(free)
            if stream is None:
                return
            if len(stream.task.prompt) == 0:
                end = Finished(StopReason.EMPTY, Timings(0, 0, 0.0, 0, 0.0), self._slot_for(stream).id, 0)
                self._deliveries.append((stream, end))
                continue
            error: LlamaHTTPError = EngineError("the engine failed to launch the task")
            try:
                self._launch(stream)
            except LlamaHTTPError as wrong:
                error = wrong
            finally:  # also on the way of an exception that nobody expected
                if stream not in self._running:
                    self._deliveries.append((stream, Failure(error)))

    def _slot_for(self, stream: ResultStream) -> Slot:
        """The idle slot that a task which was taken from the queue gets."""
        return next(slot for slot in self._slots if slot.is_idle and stream.task.id_slot in (-1, slot.id))

    def _launch(self, stream: ResultStream) -> None:
        task = stream.task
        slot = self._slot_for(stream)
        constraint = None if task.constraint is None else task.constraint()
        slot.launch(stream, self._samplers.open(task.sampling, task.prompt, constraint), constraint)
        self._running[stream] = slot
        self._count(n_tasks=1)

    def _place_waiting(self) -> None:
        placed = self._placement.place_waiting(self._running.values())
        for slot in placed.begun:
            use = slot.use
            self._count(n_cached_resident=use.resident, n_cached_ram=use.ram, n_cached_disk=use.disk)
            self._misses[use.miss] += 1
        for slot, error in placed.failed:
            self._fail(slot, error)

    # --- decode

    def _decode(self, plan: StepPlan) -> bool:
        """Compute the step. False if it could not be; then the slots concerned have been dealt with."""
        n_rows = self._rows.fill(plan.generating, plan.parts)
        if self._config.has_adapters and plan.adapters != self._adapters:
            self._decoder.set_adapters(plan.adapters)
            self._adapters = plan.adapters
        if self._config.backend_sampling:
            self._set_samplers()
        self._trace.lap(Beat.PLAN)
        began = time.perf_counter()
        try:
            self._decoder.decode(n_rows)
        except BatchError as error:
            self._survive(error, [*plan.generating, *(self._slots[part.id_slot] for part in plan.parts)])
            return False
        ms = 1e3 * (time.perf_counter() - began)
        self._trace.lap(Beat.DECODE)
        self._planner.observe(plan, self._running.values(), ms)
        self._meter.step(ms / 1e3, n_rows)
        self._count(n_steps=1, n_rows=n_rows, decode_ms=ms, n_busy_slots=len(plan.generating) + len(plan.parts))
        return True

    def _set_samplers(self) -> None:
        """Let the device sample for all who run and allow it. What is the same as before costs nothing there."""
        placed = ((slot.sequence, slot.sampler) for slot in self._running.values() if not slot.task.n_probs)
        self._decoder.set_samplers(
            {
                sequence.id: sampler.for_device
                for sequence, sampler in placed
                if sequence is not None and sampler is not None and sampler.for_device is not None
            }
        )

    def _survive(self, error: BatchError, in_batch: Sequence[Slot]) -> None:
        """After a failed decode: make room if that is what is missing, else find the one request to blame."""
        if error.no_cells:
            self._placement.is_short = True
            if not self._cache.evict_one() and not self._placement.preempt_last(self._running.values()):
                self._fail(in_batch[0], EngineError(str(error)))
            return
        log.error("decode failed: %s", error)
        culprit = self._suspects.blame(in_batch)
        if culprit is not None:
            self._fail(culprit, EngineError(str(error)))
        if error.fatal:
            self._rebuild()

    def _rebuild(self) -> None:
        """Make the context anew; the tasks that were running begin again where they were, with what they know."""
        log.warning("the context is made anew; running requests are computed again")
        for slot in self._running.values():
            if slot.is_active:
                slot.preempt()
        self._on_rebuild(True)
        try:
            self._cache.rebuild()
        except ModelError as error:
            self._give_up(EngineError(f"the context could not be made anew: {error}"))
        self._on_rebuild(False)
        self._adapters = None
        self._count(n_rebuilt=1)

    # --- apply

    def _apply(self, plan: StepPlan) -> None:
        """Advance the slots by what was computed and sample where a row has logits."""
        for slot in plan.generating:
            self._advance(slot, 1)
        for part in plan.parts:
            self._advance_prompt(self._slots[part.id_slot], part.n_take)
        completed = [self._slots[part.id_slot] for part in plan.parts if part.is_last]
        sampled = [*plan.generating, *(slot for slot in completed if slot.wants_tokens)]
        self._count(n_prompt=plan.n_prompt, n_predicted=len(sampled))
        for slot in completed:
            if not slot.wants_tokens:
                self._finish(slot, StopReason.LIMIT)
        if sampled:
            self._sample(sampled)

    def _advance(self, slot: Slot, n: int) -> None:
        assert slot.sequence is not None
        self._cache.grow(slot.sequence, n)
        self._suspects.acquit(slot)

    def _advance_prompt(self, slot: Slot, n: int) -> None:
        self._advance(slot, n)
        if slot.marks and slot.marks[0] == slot.n_past and slot.sequence is not None:
            slot.marks.pop(0)
            if not self._decoder.can_cut:
                self._cache.checkpoint(slot.sequence)
        if slot.task.progress:
            ms = 1e3 * (time.perf_counter() - slot.clock.launched)
            self._send(slot, PromptProgress(slot.n_prompt, slot.use.n_cached, min(slot.n_past, slot.n_prompt), ms))

    def _sample(self, slots: Sequence[Slot]) -> None:
        logits = self._decoder.logits(len(slots))
        samplers = [slot.sampler for slot in slots if slot.sampler is not None]
        given: Sequence[int | None] = ()
        if self._config.backend_sampling:
            given = self._decoder.sampled([slot.sequence.id for slot in slots if slot.sequence is not None])
        self._trace.lap(Beat.APPLY)
        tokens = self._samplers.sample(samplers, logits, given)
        self._trace.lap(Beat.SAMPLE)
        now = time.perf_counter()
        self._meter.tokens(now, [slot.clock.last_token for slot in slots])
        for row, (slot, token) in enumerate(zip(slots, tokens, strict=True)):
            if token == NO_TOKEN:
                fault = None if slot.constraint is None else slot.constraint.fault()
                self._fail(slot, fault or EngineError(NOT_NUMBERS))
                continue
            reason = slot.append(token, now)
            if token in self._eog:
                reason = StopReason.EOS
            elif reason is StopReason.CONTEXT and self._shift(slot):
                reason = None
            task = slot.task
            if task.stepwise or task.n_probs:
                probs = (self._samplers.probs(samplers[row], logits[row], token, task.n_probs),) if task.n_probs else ()
                self._send(slot, Tokens(slot.take_undelivered(), slot.timings(), probs))
            if reason is not None:
                self._finish(slot, reason)

    def _shift(self, slot: Slot) -> bool:
        """Drop the older half of a full context behind what is to be kept. False if that is not wanted.

        Memory that cannot be shifted, or is shared and has no room for a copy, is computed again from what is left.
        """
        if not self._config.context_shift or slot.sequence is None:
            return False
        task = slot.task
        n_keep = min((slot.n_prompt if task.n_keep < 0 else task.n_keep) + self._n_bos, slot.n_ctx - 4)
        n_left = slot.n_past - n_keep
        n_discard = max(1, min(task.n_discard or n_left // 2, n_left - 1))
        try:
            is_shifted = self._cache.discard(slot.sequence, n_keep, n_discard)
        except EngineError:  # no memory for a copy of what is shared
            is_shifted = False
        slot.discard(n_keep, n_discard)
        if not is_shifted:
            self._cache.forget(slot.sequence)
            slot.preempt()
        return True

    # --- what goes out

    def _send(self, slot: Slot, result: Tokens | PromptProgress | Finished | Failure) -> None:
        assert slot.stream is not None
        self._deliveries.append((slot.stream, result))

    def _finish(self, slot: Slot, reason: StopReason, n_tokens: int | None = None) -> None:
        timings = slot.timings(n_tokens)
        tokens = slot.take_undelivered()
        if tokens:
            self._send(slot, Tokens(tokens, timings))
        self._send(slot, Finished(reason, timings, slot.id, slot.n_past, slot.is_truncated))
        self._counts["n_tokens_max"] = max(self._counts["n_tokens_max"], slot.n_past)
        self._count(prompt_ms=timings.prompt_ms, predicted_ms=timings.predicted_ms)
        log.info(
            "slot %d | task %d | %s | prompt %.1f ms, %d tokens in %.1f ms",
            slot.id,
            slot.id_task,
            reason.value,
            timings.prompt_ms,
            timings.n_predicted,
            timings.predicted_ms,
        )
        self._release(slot)

    def _fail(self, slot: Slot, error: LlamaHTTPError) -> None:
        """End a slot's task with an error; its memory is not trusted any more."""
        self._send(slot, Failure(error))
        sequence = slot.sequence
        self._release(slot)
        if sequence is not None:
            self._cache.forget(sequence)
        self._count(n_failed=1)

    def _fail_all(self, error: LlamaHTTPError) -> None:
        """Every task gets its end first; then what is in memory goes, as nobody knows what the failure left there."""
        for slot in self._running.values():
            self._send(slot, Failure(error))
        if self._embedding is not None:
            self._deliveries += self._embedding.fail_all(error)
        self._deliver()
        self._count(n_failed=len(self._running))
        for slot in list(self._running.values()):
            self._release(slot)
        try:
            self._cache.clear()
        except Exception as wrong:  # the memory itself is broken
            log.exception("the memory cannot be cleared")
            self._give_up(EngineError(f"the engine has stopped: {wrong}"))

    def _release(self, slot: Slot) -> None:
        assert slot.stream is not None
        del self._running[slot.stream]
        self._suspects.drop(slot)
        self._placement.is_short = False
        sequence, n_shared = slot.sequence, slot.n_shared
        slot.release()
        if sequence is not None:
            self._cache.give_back(sequence, n_shared)

    def _deliver(self, *, may_wait: bool = False) -> None:
        """Give readers what there is. Tokens that `may_wait` for those of the next step do so for MERGE_S at most."""
        if not self._deliveries:
            return
        now = time.perf_counter()
        is_early = may_wait and now < self._delivered + MERGE_S
        if is_early and all(type(result) is Tokens for _, result in self._deliveries):
            return
        self._delivered = now
        deliveries, self._deliveries = self._deliveries, []
        self._queue.deliver(deliveries)

    # --- how it is

    def _count(self, **values: float) -> None:
        """Add to the numbers of EngineStats."""
        for name, value in values.items():
            self._counts[name] += value

    def _snapshot(self) -> EngineSnapshot:
        cache, store, embedding = self._cache, self._store, self._embedding
        stats = EngineStats(
            **self._counts,  # type: ignore[arg-type]
            n_embedded=embedding.n_tokens if embedding else 0,
            n_embedding_steps=embedding.n_steps if embedding else 0,
            embedding_ms=embedding.ms if embedding else 0.0,
            misses=tuple(self._misses.items()),
            n_preempted=self._placement.n_preempted,
            n_evicted=cache.n_evicted,
            n_cells=self._decoder.n_ctx,
            n_cells_used=cache.n_cells_used,
            n_sequences=sum(not sequence.is_empty for sequence in cache.sequences),
            ram_bytes=store.ram_bytes,
            disk_bytes=store.disk_bytes,
            step_seconds=self._meter.seconds.copy(),
            step_rows=self._meter.n_rows.copy(),
            token_gaps=self._meter.gap.copy(),
        )
        return EngineSnapshot(tuple(slot.snapshot() for slot in self._slots), self._queue.n_waiting, stats)
