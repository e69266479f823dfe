"""Queue: the only code that crosses threads, from the event loop to the engine thread and back.

Loop side: `TaskQueue.submit`, `ResultStream`. Engine side: `receive`, `next_task`, `deliver`. One lock, held for
microseconds; one wake-up of the loop per engine step, whatever the number of slots.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from types import TracebackType

from .errors import QueueFull, Unavailable
from .task import CompletionTask, EngineSnapshot, Failure, Finished, PromptProgress, Result, Tokens

Delivery = tuple["ResultStream", Result]


@dataclass(frozen=True, slots=True)
class Cancel:
    """The reader of a running task has left."""

    stream: ResultStream


@dataclass(frozen=True, slots=True)
class Stop:
    """The reader has what it wants: end the task after its first `n_tokens` generated tokens."""

    stream: ResultStream
    n_tokens: int


@dataclass(frozen=True, slots=True)
class Ask:
    """Somebody wants a copy of the engine's state."""

    reply: asyncio.Future[EngineSnapshot]


@dataclass(frozen=True, slots=True)
class Close:
    """Fail what is left and end the engine thread."""


Message = Cancel | Stop | Ask | Close


class ResultStream:
    """The results of one task, read on the event loop.

    `async with` bounds the task's life: leaving the block cancels what has not ended. Iterating gives
    `PromptProgress` and `Tokens` and last `Finished`; a `Failure` is raised as the error that it carries.
    """

    def __init__(self, queue: TaskQueue, id_task: int, task: CompletionTask) -> None:
        self.id_task = id_task
        self.task = task
        self._queue = queue
        self._results: deque[Result] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False

    async def __aenter__(self) -> ResultStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cancel the task unless it has ended. Safe twice."""
        if not self._ended:
            self._ended = True
            self._queue.cancel(self)

    def __aiter__(self) -> ResultStream:
        return self

    async def __anext__(self) -> PromptProgress | Tokens | Finished:
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
        return result

    def stop(self, n_tokens: int) -> None:
        """End the task after its first `n_tokens` generated tokens; `Finished` follows."""
        if not self._ended:
            self._queue.post(Stop(self, n_tokens))

    def _push(self, result: Result) -> None:
        if self._ended:
            return
        self._results.append(result)
        self._ended = isinstance(result, Finished | Failure)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class TaskQueue:
    """Tasks that wait for a slot, and messages to the engine. Belongs to the loop that runs when it is made."""

    def __init__(self, limit: int) -> None:
        """`limit`: tasks that may wait before `submit` refuses more."""
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._n_submitted = 0
        self._condition = threading.Condition(threading.Lock())
        self._waiting: deque[ResultStream] = deque()
        self._messages: list[Message] = []
        self._closed = False

    # --- the loop's side

    def submit(self, task: CompletionTask) -> ResultStream:
        """Queue a task. Raises QueueFull, or Unavailable once the queue is closed."""
        with self._condition:
            if self._closed:
                raise Unavailable("the server is stopping")
            if len(self._waiting) >= self._limit:
                raise QueueFull(f"{len(self._waiting)} requests are waiting already, which is the limit (--queue-size)")
            stream = ResultStream(self, self._n_submitted, task)
            self._n_submitted += 1
            self._waiting.append(stream)
            self._condition.notify()
        return stream

    def cancel(self, stream: ResultStream) -> None:
        """Drop a waiting task, or tell the engine to end a running one."""
        with self._condition:
            try:
                self._waiting.remove(stream)
            except ValueError:
                self._messages.append(Cancel(stream))
                self._condition.notify()

    def post(self, message: Message) -> None:
        """Hand the engine a message; it is read between two steps."""
        with self._condition:
            self._messages.append(message)
            self._condition.notify()

    async def ask(self) -> EngineSnapshot:
        """A copy of the engine's state, taken between two steps. Raises Unavailable once the queue is closed."""
        reply: asyncio.Future[EngineSnapshot] = self._loop.create_future()
        with self._condition:
            if self._closed:
                raise Unavailable("the server is stopping")
            self._messages.append(Ask(reply))
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

    def receive(self, *, block: bool) -> list[Message]:
        """Messages since the last call. `block` waits until there is one, or a task."""
        if not block and not self._messages:
            return []
        with self._condition:
            while block and not self._messages and not self._waiting:
                self._condition.wait()
            messages, self._messages = self._messages, []
        return messages

    def next_task(self, free_slots: Collection[int]) -> ResultStream | None:
        """Take the oldest task that one of the free slots may run; tasks bound to a busy slot are passed over."""
        if not free_slots or not self._waiting:
            return None
        with self._condition:
            for stream in self._waiting:
                if stream.task.id_slot < 0 or stream.task.id_slot in free_slots:
                    self._waiting.remove(stream)
                    return stream
        return None

    def drain(self) -> list[ResultStream]:
        """Take every task that still waits."""
        with self._condition:
            streams = list(self._waiting)
            self._waiting.clear()
        return streams

    def deliver(self, deliveries: list[Delivery]) -> None:
        """Hand the results of one step to their readers, in one wake-up of the loop."""
        self._call_loop(_push_all, deliveries)

    def answer(self, ask: Ask, snapshot: EngineSnapshot) -> None:
        """Answer a question. The asker may have gone meanwhile."""
        self._call_loop(_resolve, ask.reply, snapshot)

    def _call_loop(self, function: Callable[..., object], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to read
            self._loop.call_soon_threadsafe(function, *args)


def _push_all(deliveries: Iterable[Delivery]) -> None:
    for stream, result in deliveries:
        stream._push(result)


def _resolve(reply: asyncio.Future[EngineSnapshot], snapshot: EngineSnapshot) -> None:
    if not reply.done():
        reply.set_result(snapshot)
