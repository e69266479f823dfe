"""Queue: what crosses the border between the event loop and the engine thread, in order and with exactly one end."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from llamahttp.errors import EngineError, QueueFull, Unavailable
from llamahttp.queue import MOST_UNREAD, Ask, Cancel, Close, Loaded, ResultStream, Stop, TaskQueue
from llamahttp.task import (
    CompletionTask,
    EngineSnapshot,
    Failure,
    Finished,
    PromptProgress,
    StopReason,
    Timings,
    Tokens,
)

TIMINGS = Timings(0, 1, 0.0, 0, 0.0)
FINISHED = Finished(StopReason.LIMIT, TIMINGS, 0, 1)
SNAPSHOT = EngineSnapshot((), 0)


def task(id_slot: int = -1) -> CompletionTask:
    return CompletionTask(np.array([1], np.int32), id_slot=id_slot)


def tokens(*ids: int) -> Tokens:
    return Tokens(ids, TIMINGS)


async def read(stream: ResultStream) -> list[PromptProgress | Tokens | Finished]:
    return [result async for result in stream]


@pytest.fixture
async def queue() -> TaskQueue:
    return TaskQueue(limit=3)


# --- waiting


async def test_the_oldest_task_is_taken_first(queue: TaskQueue) -> None:
    streams = [queue.submit(task()) for _ in range(3)]
    assert [stream.id_task for stream in streams] == [0, 1, 2]
    assert queue.n_waiting == 3
    assert [queue.next_task({0}) for _ in range(4)] == [*streams, None]
    assert queue.n_waiting == 0


async def test_no_task_is_taken_without_a_free_slot(queue: TaskQueue) -> None:
    queue.submit(task())
    assert queue.next_task(set()) is None
    assert queue.n_waiting == 1


async def test_a_task_bound_to_a_busy_slot_is_passed_over_and_keeps_its_place(queue: TaskQueue) -> None:
    bound, free, bound_too = queue.submit(task(id_slot=1)), queue.submit(task()), queue.submit(task(id_slot=1))
    assert queue.next_task({0, 2}) is free
    assert queue.next_task({0, 2}) is None
    assert queue.next_task({1}) is bound
    assert queue.next_task({0, 1}) is bound_too


async def test_one_task_too_many_is_refused_and_room_is_found_again(queue: TaskQueue) -> None:
    streams = [queue.submit(task()) for _ in range(3)]
    with pytest.raises(QueueFull, match="3 requests are waiting already"):
        queue.submit(task())
    streams[1].close()
    queue.submit(task())
    with pytest.raises(QueueFull):
        queue.submit(task())
    assert queue.next_task({0}) is streams[0]
    queue.submit(task())


async def test_draining_takes_all_that_wait(queue: TaskQueue) -> None:
    streams = [queue.submit(task()) for _ in range(3)]
    assert queue.drain() == streams
    assert queue.n_waiting == 0
    assert queue.drain() == []


# --- results


async def test_results_arrive_in_order_up_to_the_end(queue: TaskQueue) -> None:
    stream = queue.submit(task())
    progress = PromptProgress(1, 0, 1, 0.0)
    queue.deliver([(stream, progress), (stream, tokens(5))])
    queue.deliver([(stream, tokens(6, 7)), (stream, FINISHED)])
    assert await read(stream) == [progress, tokens(5), tokens(6, 7), FINISHED]
    assert await read(stream) == [], "nothing follows the end"


async def test_a_reader_that_waits_is_woken_from_another_thread(queue: TaskQueue) -> None:
    stream = queue.submit(task())
    reader = asyncio.create_task(read(stream))
    for result in (tokens(1), tokens(2), FINISHED):
        await asyncio.to_thread(queue.deliver, [(stream, result)])
    assert await asyncio.wait_for(reader, 5) == [tokens(1), tokens(2), FINISHED]


async def test_each_reader_gets_its_own_results(queue: TaskQueue) -> None:
    first, second = queue.submit(task()), queue.submit(task())
    queue.deliver([(first, tokens(1)), (second, tokens(2)), (first, FINISHED), (second, FINISHED)])
    assert await read(first) == [tokens(1), FINISHED]
    assert await read(second) == [tokens(2), FINISHED]


async def test_a_failure_is_raised_after_what_came_before_it(queue: TaskQueue) -> None:
    stream = queue.submit(task())
    queue.deliver([(stream, tokens(1)), (stream, Failure(EngineError("broken")))])
    assert await anext(stream) == tokens(1)
    with pytest.raises(EngineError, match="broken"):
        await anext(stream)
    assert await read(stream) == []


async def test_whatever_follows_the_end_is_dropped(queue: TaskQueue) -> None:
    stream = queue.submit(task())
    queue.deliver([(stream, FINISHED), (stream, tokens(1)), (stream, FINISHED), (stream, Failure(EngineError("no")))])
    assert await read(stream) == [FINISHED]


# --- leaving


async def test_leaving_the_block_while_waiting_takes_the_task_back(queue: TaskQueue) -> None:
    async with queue.submit(task()):
        assert queue.n_waiting == 1
    assert queue.n_waiting == 0
    assert queue.receive(block=False) == [], "the engine has never heard of it"


async def test_leaving_the_block_while_running_tells_the_engine(queue: TaskQueue) -> None:
    async with queue.submit(task()) as stream:
        assert queue.next_task({0}) is stream
    assert queue.receive(block=False) == [Cancel(stream)]
    queue.deliver([(stream, tokens(1)), (stream, FINISHED)])
    assert await read(stream) == [], "what was under way is dropped"


async def test_leaving_the_block_after_the_end_tells_nobody(queue: TaskQueue) -> None:
    async with queue.submit(task()) as stream:
        queue.next_task({0})
        queue.deliver([(stream, FINISHED)])
        assert await read(stream) == [FINISHED]
    stream.close()
    assert queue.receive(block=False) == []


async def test_leaving_after_a_failure_tells_nobody(queue: TaskQueue) -> None:
    with pytest.raises(EngineError):
        async with queue.submit(task()) as stream:
            queue.next_task({0})
            queue.deliver([(stream, Failure(EngineError("broken")))])
            await read(stream)
    assert queue.receive(block=False) == []


async def test_a_cancelled_reader_cancels_the_task(queue: TaskQueue) -> None:
    streams: list[ResultStream] = []

    async def request() -> None:
        async with queue.submit(task()) as stream:
            streams.append(stream)
            queue.next_task({0})
            await read(stream)

    reader = asyncio.create_task(request())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert queue.receive(block=False) == [Cancel(streams[0])]


async def test_closing_twice_cancels_once(queue: TaskQueue) -> None:
    stream = queue.submit(task())
    queue.next_task({0})
    stream.close()
    stream.close()
    assert queue.receive(block=False) == [Cancel(stream)]


async def test_a_reader_may_stop_a_task_and_still_gets_its_end(queue: TaskQueue) -> None:
    stream = queue.submit(task())
    queue.next_task({0})
    stream.stop(4)
    assert queue.receive(block=False) == [Stop(stream, 4)]
    queue.deliver([(stream, FINISHED)])
    assert await read(stream) == [FINISHED]
    stream.stop(5)
    assert queue.receive(block=False) == []


# --- the engine's side


async def test_receiving_gives_each_message_once_in_order(queue: TaskQueue) -> None:
    first, second = queue.submit(task()), queue.submit(task())
    queue.drain()
    first.close()
    second.stop(1)
    assert queue.receive(block=False) == [Cancel(first), Stop(second, 1)]
    assert queue.receive(block=False) == []


async def test_an_idle_engine_sleeps_until_a_task_comes(queue: TaskQueue) -> None:
    received: list[object] = []

    def engine() -> None:
        received.append((queue.receive(block=True, free_slots={0}), queue.next_task({0})))

    thread = threading.Thread(target=engine)
    thread.start()
    await asyncio.sleep(0.05)
    assert received == [], "it waits"
    stream = queue.submit(task())
    await asyncio.to_thread(thread.join, 5)
    assert received == [([], stream)]


async def test_an_engine_without_a_free_slot_sleeps_although_tasks_wait(queue: TaskQueue) -> None:
    received: list[object] = []
    thread = threading.Thread(target=lambda: received.extend(queue.receive(block=True, free_slots={1})))
    thread.start()
    queue.submit(task(id_slot=0))
    await asyncio.sleep(0.05)
    assert received == []
    queue.post(Loaded())
    await asyncio.to_thread(thread.join, 5)
    assert received == [Loaded()]


async def test_an_hour_without_requests_says_nothing_about_the_wait(queue: TaskQueue) -> None:
    """The mean interval between two tasks taken is learned only while others wait."""
    queue.submit(task())
    queue.next_task({0})
    await asyncio.sleep(0.3)
    for _ in range(3):
        queue.submit(task())
    queue.next_task({0})
    queue.next_task({0})
    queue.submit(task())
    queue.submit(task())
    with pytest.raises(QueueFull) as caught:
        queue.submit(task())
    assert caught.value.retry_after is not None
    assert caught.value.retry_after <= 3


async def test_a_stream_that_has_begun_keeps_no_timer(queue: TaskQueue) -> None:
    queue = TaskQueue(limit=3, timeout=0.05)
    stream = queue.submit(task())
    queue.next_task({0})
    queue.deliver([(stream, tokens(1)), (stream, FINISHED)])
    await asyncio.sleep(0.1)
    assert len(await read(stream)) == 2


async def test_results_that_nobody_reads_end_their_task(queue: TaskQueue) -> None:
    stream = queue.submit(task())
    queue.next_task({0})
    queue.deliver([(stream, tokens(1))] * (MOST_UNREAD + 5))
    await asyncio.sleep(0)
    assert queue.receive(block=False) == [Cancel(stream)]
    with pytest.raises(Unavailable, match="were not read"):
        await read(stream)


async def test_an_idle_engine_wakes_for_a_message(queue: TaskQueue) -> None:
    received: list[object] = []
    thread = threading.Thread(target=lambda: received.extend(queue.receive(block=True)))
    thread.start()
    await asyncio.sleep(0.02)
    queue.close()
    await asyncio.to_thread(thread.join, 5)
    assert received == [Close()]


async def test_a_question_is_answered(queue: TaskQueue) -> None:
    question = asyncio.create_task(queue.ask())
    await asyncio.sleep(0)
    (ask,) = queue.receive(block=False)
    assert isinstance(ask, Ask)
    await asyncio.to_thread(queue.answer, ask, SNAPSHOT)
    assert await question is SNAPSHOT


async def test_whoever_asked_may_be_gone_when_the_answer_comes(queue: TaskQueue) -> None:
    question = asyncio.create_task(queue.ask())
    await asyncio.sleep(0)
    (ask,) = queue.receive(block=False)
    assert isinstance(ask, Ask)
    question.cancel()
    with pytest.raises(asyncio.CancelledError):
        await question
    queue.answer(ask, SNAPSHOT)
    await asyncio.sleep(0)


# --- closing


async def test_a_closed_queue_refuses_and_tells_the_engine_once(queue: TaskQueue) -> None:
    waiting = queue.submit(task())
    queue.close()
    queue.close()
    assert queue.receive(block=False) == [Close()]
    with pytest.raises(Unavailable, match="the server is stopping"):
        queue.submit(task())
    with pytest.raises(Unavailable, match="the server is stopping"):
        await queue.ask()
    assert queue.drain() == [waiting], "what waited is the engine's to fail"


async def test_results_still_arrive_after_closing(queue: TaskQueue) -> None:
    stream = queue.submit(task())
    queue.close()
    queue.deliver([(stream, Failure(Unavailable("the server is stopping")))])
    with pytest.raises(Unavailable):
        await read(stream)


def test_delivering_after_the_loop_is_gone_does_no_harm() -> None:
    async def submit() -> tuple[TaskQueue, ResultStream, Ask]:
        queue = TaskQueue(limit=1)
        question = asyncio.get_running_loop().create_future()
        return queue, queue.submit(task()), Ask(question)

    queue, stream, ask = asyncio.run(submit())
    queue.deliver([(stream, FINISHED)])
    queue.answer(ask, SNAPSHOT)


async def test_many_readers_and_one_engine_thread_lose_nothing() -> None:
    queue, n_tasks, n_tokens = TaskQueue(limit=100), 50, 40

    def engine() -> None:
        running: list[ResultStream] = []
        n_ended = 0
        while n_ended < n_tasks:
            queue.receive(block=not running, free_slots={0})
            while (stream := queue.next_task({0})) is not None:
                running.append(stream)
            for i in range(n_tokens):
                queue.deliver([(stream, tokens(i)) for stream in running])
            queue.deliver([(stream, FINISHED) for stream in running])
            n_ended += len(running)
            running.clear()

    async def request() -> list[object]:
        async with queue.submit(task()) as stream:
            return [result async for result in stream]

    thread = threading.Thread(target=engine)
    thread.start()
    answers = await asyncio.wait_for(asyncio.gather(*(request() for _ in range(n_tasks))), 20)
    thread.join()
    expected = [*(tokens(i) for i in range(n_tokens)), FINISHED]
    assert all(answer == expected for answer in answers)
    assert queue.receive(block=False) == []
