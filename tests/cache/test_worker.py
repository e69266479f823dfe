"""Worker: order, errors, and its end."""

from __future__ import annotations

import logging
import threading

import pytest

from llamahttp.cache.worker import Worker


def held(worker: Worker) -> threading.Event:
    """The worker is busy until the event is set."""
    event, begun = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        event.wait(10)

    worker.submit(wait)
    assert begun.wait(10)
    return event


def test_urgent_jobs_go_first_and_all_run_before_the_end() -> None:
    worker, ran = Worker("test"), []
    event = held(worker)
    for name in "abc":
        worker.submit(lambda name=name: ran.append(name), urgent=name == "c")
    event.set()
    assert worker.close(10)
    assert ran == ["c", "a", "b"]


def test_a_job_that_fails_is_logged_and_the_next_one_runs(caplog: pytest.LogCaptureFixture) -> None:
    worker, ran = Worker("test"), []
    worker.submit(lambda: [][0])
    worker.submit(lambda: ran.append(1))
    assert worker.close(10) and ran == [1]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "IndexError" in caplog.text


def test_closing_does_not_wait_longer_than_it_may_and_what_is_left_does_not_run() -> None:
    worker, ran = Worker("test"), []
    event = held(worker)
    worker.submit(lambda: ran.append(1))
    assert not worker.close(0.05)
    event.set()
    assert worker.close(10) and ran == []
