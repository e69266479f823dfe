"""Queue: the only code that crosses threads, from the event loop to the engine thread and back.

Loop side: `TaskQueue.submit`, `ResultStream`. Engine side: `receive`, `next_task`, `deliver`. One lock, held for
microseconds; one wake-up of the loop per engine step, whatever the number of slots.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Generic, TypeVar

from .cache.snapshot import Snapshot
from .errors import QueueFull, QueueTimeout, Unavailable
from .meter import RequestMeter
from .task import (
    CompletionTask,
    Embedded,
    EmbeddingTask,
    EngineSnapshot,
    Failure,
    Finished,
    PromptProgress,
    Result,
    Tokens,
)

TaskT = TypeVar("TaskT", bound=CompletionTask | EmbeddingTask)
ResultT = TypeVar("ResultT", bound=Result)
StreamT = TypeVar("StreamT", bound="Stream[Any, Any]")

Delivery = tuple["Stream[Any, Any]", Result]

MOST_UNREAD = 1 << 16
"""Results of one task that wait to be read, before nobody is believed to read them."""

MOST_WAIT = 600
"""Seconds that a client is told to stay away at most."""

SMOOTHING = 0.1
"""Weight of the last interval between two tasks taken, in their mean."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """The reader of a running task has left."""

    stream: Stream[Any, Any]


@dataclass(frozen=True, slots=True)
class Embed:
    """A task for the context of embeddings. It needs no slot, so it waits with the engine."""

    stream: EmbeddingStream


@dataclass(frozen=True, slots=True)
class Stop:
    """The reader has what it wants: end the task after its first `n_tokens` generated tokens."""

    stream: ResultStream
    n_tokens: int


@dataclass(frozen=True, slots=True)
class SaveSlot:
    """A copy of the memory of a slot's last sequence. Answered with a Snapshot, None if it holds nothing."""

    id_slot: int


@dataclass(frozen=True, slots=True)
class RestoreSlot:
    """Give a slot the memory of a snapshot. Answered with None."""

    id_slot: int
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class EraseSlot:
    """Forget a slot's last sequence. Answered with the number of its tokens."""

    id_slot: int


SlotAction = SaveSlot | RestoreSlot | EraseSlot


@dataclass(frozen=True, slots=True)
class Ask:
    """Somebody wants a copy of the engine's state (`action` None), or something done to a slot when it is idle."""

    reply: asyncio.Future[Any]
    action: SlotAction | None = None

    @property
    def is_abandoned(self) -> bool:
        """Nobody waits for the answer any more."""
        return self.reply.done()


@dataclass(frozen=True, slots=True)
class EndReasoning:
    """End the thought of a running task now. Answered with whether the task runs."""

    reply: asyncio.Future[Any]
    stream: ResultStream


@dataclass(frozen=True, slots=True)
class Loaded:
    """The disk tier has read something that a task may be waiting for."""


@dataclass(frozen=True, slots=True)
class Close:
    """Fail what is left and end the engine thread."""


Message = Cancel | Embed | Stop | Ask | EndReasoning | Loaded | Close


class Stream(Generic[TaskT, ResultT]):
    """The results of one task, read on the event loop.

    `async with` bounds the task's life: leaving the block cancels what has not ended. A `Failure` is raised as the
    error that it carries.
    """

    def __init__(self, queue: TaskQueue, id_task: int, task: TaskT) -> None:
        self.id_task = id_task
        self.task = task
        self._queue = queue
        self._results: deque[Result] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._ended = False
        self._watch = queue.meter.watch(task)

    async def __aenter__(self: StreamT) -> StreamT:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def has_ended(self) -> bool:
        """Its end has come, or nobody wants it any more."""
        return self._ended

    def close(self) -> None:
        """Cancel the task unless it has ended. Safe twice."""
        self._stop_expiry()
        if not self._ended:
            self._ended = True
            self._watch.leave(is_queued=self._queue.cancel(self))

    def expire_after(self, seconds: float, expire: Callable[[], None]) -> None:
        """Call `expire` unless a result comes before."""
        self._expiry = asyncio.get_running_loop().call_later(seconds, expire)

    def _stop_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    @property
    def has_more(self) -> bool:
        """The next result is there already."""
        return bool(self._results)

    def __aiter__(self: StreamT) -> StreamT:
        return self

    async def __anext__(self) -> ResultT:
        while not self._results:
            if self._ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        result = self._results.popleft()
        if isinstance(result, Failure):
            raise result.error
        return result  # type: ignore[return-value]  # each kind of task has its own kinds of results

    def _push(self, result: Result) -> None:
        if self._ended:
            return
        self._stop_expiry()
        if len(self._results) >= MOST_UNREAD:
            result = Failure(Unavailable(f"{MOST_UNREAD} results were not read"))
            self._queue.cancel(self)
        self._results.append(result)
        self._watch.note(result)
        self._ended = isinstance(result, Finished | Failure) or (isinstance(result, Embedded) and result.is_last)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class ResultStream(Stream[CompletionTask, PromptProgress | Tokens | Finished]):
    """What a completion gives: `PromptProgress` and `Tokens`, and last `Finished`."""

    def stop(self, n_tokens: int) -> None:
        """End the task after its first `n_tokens` generated tokens; `Finished` follows."""
        if not self._ended:
            self._queue.post(Stop(self, n_tokens))

    async def end_reasoning(self) -> bool:
        """End the thought that goes on now, if one does. False if the task waits still, or has ended."""
        return not self._ended and await self._queue.end_reasoning(self)


class EmbeddingStream(Stream[EmbeddingTask, Embedded]):
    """What a task for embeddings gives."""


class TaskQueue:
    """Tasks that wait for a slot, and messages to the engine. Belongs to the loop that runs when it is made."""

    def __init__(self, limit: int, timeout: float = 0.0) -> None:
        """`limit`: tasks that may wait before `submit` refuses more; `timeout`: seconds that one may wait, 0 is any."""
        self._limit = limit
        self._timeout = timeout
        self.meter = RequestMeter()
        self._loop = asyncio.get_running_loop()
        self._n_submitted = 0
        self._embedding: set[EmbeddingStream] = set()  # without their end yet
        self._condition = threading.Condition(threading.Lock())
        self._waiting: list[ResultStream] = []  # by priority, then by age
        self._last_taken: float | None = None  # while others waited on
        self._interval = 1.0  # mean seconds between two tasks taken
        self._messages: list[Message] = []
        self._closed = False

    # --- the loop's side

    def submit(self, task: CompletionTask) -> ResultStream:
        """Queue a task. Raises QueueFull, or Unavailable once the queue is closed."""
        with self._condition:
            if self._closed:
                raise Unavailable("the server is stopping")
            if len(self._waiting) >= self._limit:
                raise QueueFull(
                    f"{len(self._waiting)} requests are waiting already, which is the limit (--queue-size)",
                    retry_after=self._expected_wait(),
                )
            stream = ResultStream(self, self._n_submitted, task)
            self._n_submitted += 1
            bisect.insort(self._waiting, stream, key=_order)
            self._condition.notify()
        if self._timeout > 0:
            stream.expire_after(self._timeout, partial(self._expire, stream))
        return stream

    def submit_embedding(self, task: EmbeddingTask) -> EmbeddingStream:
        """Hand the engine a task for embeddings. Raises QueueFull, or Unavailable once the queue is closed."""
        self._embedding = {stream for stream in self._embedding if not stream.has_ended}
        if len(self._embedding) >= self._limit:
            raise QueueFull(f"{len(self._embedding)} requests wait for embeddings, which is the limit (--queue-size)")
        with self._condition:
            if self._closed:
                raise Unavailable("the server is stopping")
            stream = EmbeddingStream(self, self._n_submitted, task)
            self._n_submitted += 1
            self._messages.append(Embed(stream))
            self._condition.notify()
        self._embedding.add(stream)
        return stream

    def _expire(self, stream: ResultStream) -> None:
        """Fail a task that waits still."""
        with self._condition:
            if stream not in self._waiting:
                return
            self._waiting.remove(stream)
            retry_after = self._expected_wait()
        message = f"no slot became free within {self._timeout:g} s (--queue-timeout)"
        stream._push(Failure(QueueTimeout(message, retry_after=retry_after)))

    def _expected_wait(self) -> int:
        """Seconds until what waits now has been taken, at the speed of the last tasks."""
        return min(MOST_WAIT, max(1, math.ceil(self._interval * len(self._waiting))))

    def cancel(self, stream: Stream[Any, Any]) -> bool:
        """Drop a waiting task, or tell the engine to end a running one. Returns whether it was waiting."""
        with self._condition:
            is_waiting = isinstance(stream, ResultStream) and stream in self._waiting
            if isinstance(stream, ResultStream) and is_waiting:
                self._waiting.remove(stream)
            else:
                self._messages.append(Cancel(stream))
                self._condition.notify()
        return is_waiting

    def post(self, message: Message) -> None:
        """Hand the engine a message; it is read between two steps."""
        with self._condition:
            self._messages.append(message)
            self._condition.notify()

    async def ask(self) -> EngineSnapshot:
        """A copy of the engine's state, taken between two steps. Raises Unavailable once the queue is closed."""
        snapshot: EngineSnapshot = await self._ask(lambda reply: Ask(reply))
        return snapshot

    async def act(self, action: SlotAction) -> Any:
        """Have something done to a slot, once it is idle; raises what went wrong there."""
        return await self._ask(lambda reply: Ask(reply, action))

    async def end_reasoning(self, stream: ResultStream) -> bool:
        """End the thought of a task now, if it is in one. False if the task does not run."""
        is_running: bool = await self._ask(lambda reply: EndReasoning(reply, stream))
        return is_running

    async def _ask(self, question: Callable[[asyncio.Future[Any]], Message]) -> Any:
        reply: asyncio.Future[Any] = self._loop.create_future()
        with self._condition:
            if self._closed:
                raise Unavailable("the server is stopping")
            self._messages.append(question(reply))
            self._condition.notify()
        return await reply

    def close(self) -> None:
        """Refuse further tasks and let the engine fail what is left. Safe twice."""
        with self._condition:
            if not self._closed:
                self._closed = True
                self._messages.append(Close())
                self._condition.notify()

    # --- the engine's side

    @property
    def n_waiting(self) -> int:
        return len(self._waiting)

    def receive(self, *, block: bool, free_slots: Collection[int] = ()) -> list[Message]:
        """Messages since the last call. `block` waits until there is one, or a task for one of the free slots."""
        if not block and not self._messages:
            return []
        with self._condition:
            while block and not self._messages and self._first_for(free_slots) is None:
                self._condition.wait()
            messages, self._messages = self._messages, []
        return messages

    def next_task(self, free_slots: Collection[int]) -> ResultStream | None:
        """Take the first task that one of the free slots may run; tasks bound to a busy slot are passed over."""
        if not free_slots or not self._waiting:
            return None
        with self._condition:
            stream = self._first_for(free_slots)
            if stream is not None:
                self._waiting.remove(stream)
                self._learn_interval()
        return stream

    def _first_for(self, free_slots: Collection[int]) -> ResultStream | None:
        if not free_slots:
            return None
        fitting = (stream for stream in self._waiting if stream.task.id_slot < 0 or stream.task.id_slot in free_slots)
        return next(fitting, None)

    def _learn_interval(self) -> None:
        """A task was taken. How long that took tells something only while others wait."""
        now = time.monotonic()
        if self._last_taken is not None:
            self._interval += SMOOTHING * (now - self._last_taken - self._interval)
        self._last_taken = now if self._waiting else None

    def drain(self) -> list[ResultStream]:
        """Take every task that still waits."""
        with self._condition:
            streams = list(self._waiting)
            self._waiting.clear()
        return streams

    def deliver(self, deliveries: list[Delivery]) -> None:
        """Hand results to their readers, in one wake-up of the loop."""
        self._call_loop(_push_all, deliveries)

    def answer(self, ask: Ask | EndReasoning, result: object) -> None:
        """Answer a question; an exception is raised there. The asker may have gone meanwhile."""
        self._call_loop(_resolve, ask.reply, result)

    def _call_loop(self, function: Callable[..., object], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to read
            self._loop.call_soon_threadsafe(function, *args)


def _push_all(deliveries: Iterable[Delivery]) -> None:
    for stream, result in deliveries:
        stream._push(result)


def _resolve(reply: asyncio.Future[Any], result: object) -> None:
    if reply.done():
        return
    if isinstance(result, BaseException):
        reply.set_exception(result)
    else:
        reply.set_result(result)


def _order(stream: ResultStream) -> tuple[int, int]:
    return stream.task.priority, stream.id_task
