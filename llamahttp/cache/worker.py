"""Worker: the thread that reads and writes the disk tier's files, so that no step waits for a disk."""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

Job = Callable[[], None]

URGENT, NORMAL, LAST = 0, 1, 2
"""Order of jobs: somebody waits for the urgent ones; the last one ends the thread."""


class Worker:
    """Runs jobs one by one: the urgent ones first, else in the order in which they came. A job that fails is logged."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.PriorityQueue[tuple[int, int, Job | None]] = queue.PriorityQueue()
        self._order = itertools.count()  # also keeps jobs themselves from being compared
        self._deadline = float("inf")
        # A daemon, since a disk that does not answer must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Job, *, urgent: bool = False) -> None:
        """Run `job` later. After `close` it will not run."""
        self._jobs.put((URGENT if urgent else NORMAL, next(self._order), job))

    def close(self, timeout: float) -> bool:
        """Finish what was submitted, for at most `timeout` seconds, and end. False if a job still runs. Safe twice."""
        self._deadline = min(self._deadline, time.monotonic() + timeout)
        self._jobs.put((LAST, next(self._order), None))
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            _, _, job = self._jobs.get()
            if job is None or time.monotonic() > self._deadline:
                return
            try:
                job()
            except Exception:  # the next job is another one's, and has done nothing wrong
                log.exception("a job on the cache's files failed")
            del job  # what it held can be large, and the next one may be long in coming
