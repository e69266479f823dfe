"""ServerContext: the engine thread. Each step has three beats: plan, decode, apply.

Owns the slots, the samplers and the decoder; nobody else may touch them, not even to read. The other threads speak to
it through the queue.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .abc import BatchError, Decoder, SamplerFactory, Vocab
from .errors import EngineError, LlamaHTTPError, Unavailable
from .queue import Ask, Cancel, Close, Delivery, ResultStream, Stop, TaskQueue
from .sampling import NO_TOKEN
from .schedule import PromptPart, WaitingPrompt, plan_prompts
from .slot import Slot
from .task import EngineSnapshot, Failure, Finished, PromptProgress, SlotState, StopReason, Tokens

log = logging.getLogger(__name__)

MAX_FAILED_STEPS = 3
"""Unexpected exceptions in a row after which the engine gives up and says so."""


class ServerContext:
    """N slots over one decoder, stepped by a thread of its own."""

    def __init__(
        self,
        decoder: Decoder,
        vocab: Vocab,
        samplers: SamplerFactory[Any],
        queue: TaskQueue,
        *,
        n_slots: int,
        n_ctx_slot: int,
        on_failure: Callable[[EngineError], None] = lambda error: None,
    ) -> None:
        """`on_failure` is called on the engine thread if it has to give up."""
        self._decoder = decoder
        self._eog = vocab.eog
        self._samplers = samplers
        self._queue = queue
        self._on_failure = on_failure
        self._slots = [Slot(id_slot, n_ctx_slot) for id_slot in range(n_slots)]
        self._running: dict[ResultStream, Slot] = {}
        self._deliveries: list[Delivery] = []
        self._rows_of: tuple[int, ...] = ()  # the slots whose rows stand in the batch from the step before
        self._closing = False
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
        if warmup:
            self._warm_up()
        n_failed = 0
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
        self._end()

    def _warm_up(self) -> None:
        """Decode one token and forget it, so that the first request does not pay for touching the weights."""
        batch = self._decoder.batch
        batch.tokens[0], batch.positions[0], batch.outputs[0] = 0, 0, 1
        batch.set_sequence(0, 1, 0)
        try:
            self._decoder.decode(1)
            self._decoder.remove(0, 0)
        except BatchError as error:
            self._give_up(EngineError(f"the model cannot be computed: {error}"))

    def _give_up(self, error: EngineError) -> None:
        log.error("%s", error)
        self._on_failure(error)
        self._queue.close()

    def step(self) -> None:
        """Take what has come in, then plan, decode and apply once. Blocks while there is nothing to do."""
        self._receive()
        if self._running:
            generating, parts = self._plan()
            if self._decode(generating, parts):
                self._apply(generating, parts)
        self._deliver()

    def _end(self) -> None:
        for stream in self._queue.drain():
            self._deliveries.append((stream, Failure(Unavailable("the server is stopping"))))
        self._fail_all(Unavailable("the server is stopping"))
        for message in self._queue.receive(block=False):
            if isinstance(message, Ask):
                self._queue.answer(message, self._snapshot())

    # --- what comes in

    def _receive(self) -> None:
        for message in self._queue.receive(block=not self._running):
            match message:
                case Cancel(stream):
                    self._cancel(stream)
                case Stop(stream, n_tokens):
                    self._stop(stream, n_tokens)
                case Ask():
                    self._queue.answer(message, self._snapshot())
                case Close():
                    self._closing = True
        if not self._closing:
            self._launch_waiting()

    def _cancel(self, stream: ResultStream) -> None:
        slot = self._running.get(stream)
        if slot is not None:
            log.info("slot %d | task %d | cancelled after %d tokens", slot.id, stream.id_task, slot.n_predicted)
            self._release(slot)

    def _stop(self, stream: ResultStream, n_tokens: int) -> None:
        slot = self._running.get(stream)
        if slot is not None:
            self._finish(slot, StopReason.CALLER, n_tokens)

    def _launch_waiting(self) -> None:
        while True:
            free = {slot.id for slot in self._slots if slot.is_idle}
            stream = self._queue.next_task(free)
            if stream is None:
                return
            error: LlamaHTTPError = EngineError("the engine failed to launch the task")
            try:
                self._launch(stream)
            except LlamaHTTPError as wrong:
                error = wrong
            finally:  # also on the way of an exception that nobody expected
                if stream not in self._running:
                    self._deliveries.append((stream, Failure(error)))

    def _launch(self, stream: ResultStream) -> None:
        task = stream.task
        slot, n_common = self._choose_slot(stream)
        sampler = self._samplers.open(task.sampling, task.prompt)
        # the last prompt token is always computed: its logits give the first token
        n_reused = min(n_common, len(task.prompt) - 1) if task.cache_prompt else 0
        if not self._decoder.remove(slot.id, n_reused):
            self._decoder.remove(slot.id, 0)  # a whole sequence can always be removed
            n_reused = 0
        slot.launch(stream, sampler, n_reused)
        self._running[stream] = slot
        log.info("slot %d | task %d | prompt %d tokens, %d cached", slot.id, stream.id_task, slot.n_prompt, n_reused)

    def _choose_slot(self, stream: ResultStream) -> tuple[Slot, int]:
        """The free slot that holds most of the prompt; among equals the one used longest ago."""
        task = stream.task
        free = [slot for slot in self._slots if slot.is_idle and task.id_slot in (-1, slot.id)]
        common = {slot.id: slot.common_prefix(task.prompt) for slot in free}
        best = max(free, key=lambda slot: (_worth(common[slot.id], slot), -slot.last_used))
        return best, common[best.id]

    # --- plan

    def _plan(self) -> tuple[list[Slot], list[PromptPart]]:
        running = self._running.values()
        generating = [slot for slot in running if slot.state is SlotState.GENERATING]
        waiting = [WaitingPrompt(slot.id, slot.n_left) for slot in running if slot.state is SlotState.PROMPT]
        if not waiting:
            return generating, []
        return generating, plan_prompts(waiting, len(generating), self._decoder.n_batch, self._decoder.n_ubatch)

    # --- decode

    def _decode(self, generating: Sequence[Slot], parts: Sequence[PromptPart]) -> bool:
        """Compute the step. False if it could not be; then the slots concerned have been dealt with."""
        n_rows = self._fill(generating, parts)
        try:
            self._decoder.decode(n_rows)
        except BatchError as error:
            self._rows_of = ()
            self._survive(error, generating, parts)
            return False
        return True

    def _fill(self, generating: Sequence[Slot], parts: Sequence[PromptPart]) -> int:
        """Write the batch: a row for each generating slot, then the parts of prompts. Returns the number of rows."""
        batch, n = self._decoder.batch, len(generating)
        # rows of generating slots: [0 .. n), then one range a prompt part
        batch.tokens[:n] = [slot.last_token for slot in generating]
        batch.positions[:n] = [slot.n_past for slot in generating]
        ids = tuple(slot.id for slot in generating)
        if ids != self._rows_of:
            batch.outputs[:n] = 1
            for row, id_slot in enumerate(ids):
                batch.set_sequence(row, row + 1, id_slot)
        for part in parts:
            slot, stop = self._slots[part.id_slot], n + part.n_take
            batch.tokens[n:stop] = slot.tokens[slot.n_past : slot.n_past + part.n_take]
            batch.positions[n:stop] = np.arange(slot.n_past, slot.n_past + part.n_take)
            batch.outputs[n:stop] = 0
            batch.outputs[stop - 1] = part.is_last and slot.wants_tokens
            batch.set_sequence(n, stop, part.id_slot)
            n = stop
        self._rows_of = () if parts else ids
        return n

    def _survive(self, error: BatchError, generating: Sequence[Slot], parts: Sequence[PromptPart]) -> None:
        """After a failed decode: make room if that is what is missing, else fail as few requests as possible."""
        in_batch = [*generating, *(self._slots[part.id_slot] for part in parts)]
        if error.no_cells:
            if not self._evict_idle():
                self._fail(max(in_batch, key=lambda slot: slot.clock.launched), EngineError(str(error)))
            return
        log.error("decode failed: %s", error)
        for slot in in_batch:
            self._fail(slot, EngineError(str(error)))

    def _evict_idle(self) -> bool:
        """Forget the cached tokens of the idle slot that was used longest ago. False if none holds any."""
        cached = [slot for slot in self._slots if slot.is_idle and slot.n_past > 0]
        if not cached:
            return False
        self._forget(min(cached, key=lambda slot: slot.last_used))
        return True

    # --- apply

    def _apply(self, generating: Sequence[Slot], parts: Sequence[PromptPart]) -> None:
        """Advance the slots by what was computed and sample where a row has logits."""
        for slot in generating:
            slot.n_past += 1
        for part in parts:
            self._slots[part.id_slot].n_past += part.n_take
            self._report_progress(self._slots[part.id_slot])
        completed = [self._slots[part.id_slot] for part in parts if part.is_last]
        sampled = [*generating, *(slot for slot in completed if slot.wants_tokens)]
        for slot in completed:
            if not slot.wants_tokens:
                self._finish(slot, StopReason.LIMIT)
        if sampled:
            self._sample(sampled)

    def _sample(self, slots: Sequence[Slot]) -> None:
        logits = self._decoder.logits(len(slots))
        samplers = [slot.sampler for slot in slots if slot.sampler is not None]
        tokens = self._samplers.sample(samplers, logits)
        now = time.perf_counter()
        for row, (slot, token) in enumerate(zip(slots, tokens, strict=True)):
            if token == NO_TOKEN:
                self._fail(slot, EngineError("the model's logits are not numbers"))
                continue
            reason = slot.append(token, now)
            if token in self._eog:
                reason = StopReason.EOS
            task = slot.task
            if task.stepwise or task.n_probs:
                probs = (self._samplers.probs(logits[row], token, task.n_probs),) if task.n_probs else ()
                self._send(slot, Tokens(slot.take_undelivered(), slot.timings(), probs))
            if reason is not None:
                self._finish(slot, reason)

    # --- what goes out

    def _send(self, slot: Slot, result: Tokens | PromptProgress | Finished | Failure) -> None:
        assert slot.stream is not None
        self._deliveries.append((slot.stream, result))

    def _report_progress(self, slot: Slot) -> None:
        if slot.task.progress:
            ms = 1e3 * (time.perf_counter() - slot.clock.launched)
            self._send(slot, PromptProgress(slot.n_prompt, slot.n_cached, slot.n_past, ms))

    def _finish(self, slot: Slot, reason: StopReason, n_tokens: int | None = None) -> None:
        timings = slot.timings(n_tokens)
        tokens = slot.take_undelivered()
        if tokens:
            self._send(slot, Tokens(tokens, timings))
        self._send(slot, Finished(reason, timings, slot.id, slot.n_past))
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
        self._release(slot)
        self._forget(slot)

    def _fail_all(self, error: LlamaHTTPError) -> None:
        for slot in list(self._running.values()):
            self._fail(slot, error)
        self._deliver()

    def _release(self, slot: Slot) -> None:
        assert slot.stream is not None
        del self._running[slot.stream]
        slot.release()

    def _forget(self, slot: Slot) -> None:
        self._decoder.remove(slot.id, 0)
        slot.forget()

    def _deliver(self) -> None:
        if self._deliveries:
            deliveries, self._deliveries = self._deliveries, []
            self._queue.deliver(deliveries)

    def _snapshot(self) -> EngineSnapshot:
        return EngineSnapshot(tuple(slot.snapshot() for slot in self._slots), self._queue.n_waiting)


def _worth(n_common: int, slot: Slot) -> int:
    """What a shared prefix is worth: nothing if it is the smaller part of the prompt that the slot ran last.

    Otherwise any two prompts that begin with the same token would take each other's slots.
    """
    return n_common if 2 * n_common >= slot.n_prompt else 0
