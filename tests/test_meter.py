"""Meters: what is observed of steps and tasks, and what that costs."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from llamahttp import errors
from llamahttp.errors import EngineError, LlamaHTTPError, QueueTimeout, StartupError
from llamahttp.histogram import Distribution, Histogram
from llamahttp.meter import REASONS, RequestMeter, StepMeter, reason
from llamahttp.queue import TaskQueue
from llamahttp.task import (
    CompletionTask,
    Embedded,
    EmbeddingTask,
    Failure,
    Finished,
    PromptProgress,
    StopReason,
    Timings,
    Tokens,
)

TASK = CompletionTask(np.arange(100, dtype=np.int32))


def count(histogram: Histogram | Distribution) -> int:
    return sum((histogram.copy() if isinstance(histogram, Histogram) else histogram).counts)


def below(histogram: Histogram, bound: float) -> int:
    """Values up to a bound."""
    return dict(histogram.copy().cumulative())[repr(float(bound))]


def finished(n_predicted: int = 3, predicted_ms: float = 20.0) -> Finished:
    return Finished(StopReason.LIMIT, Timings(0, 100, 5.0, n_predicted, predicted_ms), 0, 103)


# --- steps


def test_the_gap_of_a_slot_that_missed_steps_is_its_own() -> None:
    meter = StepMeter()
    meter.tokens(10.0, [9.97, 9.97, 9.97, 8.5, 0.0])
    gaps = meter.gap.copy()
    assert count(gaps) == 4, "the first token of an answer follows no other"
    assert gaps.sum == pytest.approx(3 * 0.03 + 1.5)
    assert dict(gaps.cumulative())["0.04"] == 3


def test_metering_a_step_of_32_slots_takes_less_than_20_microseconds() -> None:
    meter, requests = StepMeter(), RequestMeter()
    before = [time.perf_counter()] * 32
    watches = [requests.watch(TASK) for _ in range(32)]
    tokens = Tokens((1,), Timings(0, 100, 5.0, 1, 0.0))

    def microseconds() -> float:
        n_steps = 500
        began = time.perf_counter()
        for _ in range(n_steps):
            meter.step(0.01, 32)
            meter.tokens(time.perf_counter(), before)
            for watch in watches:
                watch.note(tokens)
        return 1e6 * (time.perf_counter() - began) / n_steps

    assert min(microseconds() for _ in range(20)) < 20, "both threads together, as they share the GIL"


# --- tasks


def test_a_streamed_answer() -> None:
    meter = RequestMeter()
    watch = meter.watch(TASK)
    time.sleep(0.03)
    watch.note(PromptProgress(100, 0, 100, 5.0))
    watch.note(Tokens((1,), Timings(0, 100, 5.0, 1, 0.0)))
    time.sleep(0.03)
    watch.note(Tokens((2,), Timings(0, 100, 5.0, 2, 30.0)))
    watch.note(finished(2))
    assert [count(histogram) for histogram in (meter.queued, meter.first_token, meter.seconds)] == [1, 1, 1]
    first, whole, queued = (histogram.copy().sum for histogram in (meter.first_token, meter.seconds, meter.queued))
    assert 0.03 <= first <= whole - 0.03
    assert queued == pytest.approx(first - 0.005, abs=1e-6), "what was not spent on the prompt was waiting"
    assert below(meter.n_prompt, 64) == 0
    assert below(meter.n_prompt, 128) == 1
    assert below(meter.n_predicted, 2) == 1
    assert meter.finished["limit"] == 1


def test_the_first_token_of_a_whole_answer_came_before_the_rest_was_generated() -> None:
    meter = RequestMeter()
    watch = meter.watch(TASK)
    time.sleep(0.05)
    watch.note(Tokens((1, 2, 3), Timings(0, 100, 5.0, 3, 20.0)))
    watch.note(finished())
    assert meter.first_token.copy().sum == pytest.approx(meter.seconds.copy().sum - 0.02, abs=0.005)


def test_an_answer_without_tokens_has_waited_but_has_no_first_token() -> None:
    meter = RequestMeter()
    meter.watch(TASK).note(finished(0, 0.0))
    assert (count(meter.queued), count(meter.first_token), below(meter.n_predicted, 1)) == (1, 0, 1)


def test_embeddings_have_a_histogram_of_their_own() -> None:
    meter = RequestMeter()
    watch = meter.watch(EmbeddingTask((np.arange(3, dtype=np.int32), np.arange(40, dtype=np.int32))))
    watch.note(Embedded((), is_last=False))
    assert count(meter.embedding_seconds) == 0
    watch.note(Embedded((), is_last=True))
    assert (count(meter.embedding_seconds), count(meter.seconds), count(meter.n_prompt)) == (1, 0, 2)


def test_failures_are_counted_by_their_kind() -> None:
    meter = RequestMeter()
    meter.watch(TASK).note(Failure(EngineError("x")))
    meter.watch(TASK).note(Failure(QueueTimeout("x")))
    assert (meter.failed["engine"], meter.failed["queue_timeout"]) == (1, 1)
    assert count(meter.queued) == 1, "the one that waited too long"


async def test_clients_that_leave_are_counted_by_what_they_leave() -> None:
    queue = TaskQueue(limit=3)
    running, waiting, done = (queue.submit(TASK) for _ in range(3))
    assert queue.next_task({0}) is running
    for stream in (running, waiting):
        stream.close()
        stream.close()
    assert queue.meter.aborted == {"queued": 1, "running": 1}
    assert count(queue.meter.queued) == 1
    queue.deliver([(done, finished())])
    await asyncio.sleep(0.01)
    done.close()
    assert queue.meter.aborted.total() == 2, "an end that has come is no abort"
    assert queue.meter.finished.total() == 1


async def test_a_task_that_waited_too_long_is_no_abort() -> None:
    queue = TaskQueue(limit=3, timeout=0.01)
    async with queue.submit(TASK) as stream:
        with pytest.raises(QueueTimeout):
            await anext(stream)
    assert (queue.meter.failed["queue_timeout"], queue.meter.aborted.total()) == (1, 0)


# --- labels


def test_every_error_that_a_client_may_see_has_a_label() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LlamaHTTPError)]
    sent = [kind for kind in kinds if not issubclass(kind, StartupError)]
    unnamed = [kind for kind in sent if not set(kind.__mro__) & (REASONS.keys() - {LlamaHTTPError})]
    assert unnamed == [LlamaHTTPError], "a new error needs a row in REASONS"
    assert reason(errors.SnapshotError("x")) == "invalid"
    assert len(set(REASONS.values())) == len(REASONS)
