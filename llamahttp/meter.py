"""Meters: what is observed while requests are served, by whoever sees it happen.

`StepMeter` belongs to the engine thread and costs it a few microseconds a step; `RequestMeter` and `HttpMeter` belong
to the event loop. How that is shown is the business of `metrics`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable

from .errors import (
    BodyTooLarge,
    ContextExceeded,
    Disabled,
    EngineError,
    Forbidden,
    InvalidRequest,
    LlamaHTTPError,
    MethodNotAllowed,
    NotFound,
    NotSupported,
    QueueFull,
    QueueTimeout,
    RequestTimeout,
    Unauthorized,
    Unavailable,
)
from .histogram import Distribution, Histogram
from .task import CompletionTask, Embedded, EmbeddingTask, Failure, Finished, Result, StopReason, Timings, Tokens

GAP_S = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5, 5, 10)
"""Bounds for what happens at every token: 100 tokens/s to one in ten seconds, finest where a reader notices."""
WAIT_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600)
"""Bounds for what happens once a request."""
LENGTHS = tuple(2**i for i in range(19))
"""Bounds for numbers of tokens: 1 to 262,144."""

REASONS: dict[type[LlamaHTTPError], str] = {
    InvalidRequest: "invalid",
    ContextExceeded: "context_exceeded",
    BodyTooLarge: "body_too_large",
    Unauthorized: "unauthorized",
    Forbidden: "forbidden",
    Disabled: "disabled",
    RequestTimeout: "request_timeout",
    NotFound: "not_found",
    MethodNotAllowed: "method_not_allowed",
    NotSupported: "not_supported",
    QueueFull: "queue_full",
    QueueTimeout: "queue_timeout",
    Unavailable: "unavailable",
    EngineError: "engine",
    LlamaHTTPError: "internal",
}
"""Labels for errors; a class that is not here counts as what it derives from."""


def reason(error: LlamaHTTPError) -> str:
    """The label for an error, of `REASONS`."""
    return next(REASONS[kind] for kind in type(error).__mro__ if kind in REASONS)


class StepMeter:
    """Steps of the engine. Engine thread only."""

    def __init__(self) -> None:
        self.seconds = Histogram(GAP_S)
        self.n_rows = Histogram(LENGTHS)
        self.gap = Histogram(GAP_S)

    def step(self, seconds: float, n_rows: int) -> None:
        """A batch of `n_rows` tokens was decoded."""
        self.seconds.observe(seconds)
        self.n_rows.observe(n_rows)

    def tokens(self, now: float, before: Iterable[float]) -> None:
        """Tokens were sampled; `before` tells when their slots had the last one, 0 for those that had none.

        Most slots had it in the same step, so there are as many observations as steps, not as tokens.
        """
        n_at: dict[float, int] = {}  # Counter takes longer than all the rest
        for at in before:
            n_at[at] = n_at.get(at, 0) + 1
        for at, n in n_at.items():
            if at:
                self.gap.observe(now - at, n)


class RequestMeter:
    """What becomes of tasks, as those see it who wait for them."""

    def __init__(self) -> None:
        self.queued = Histogram(WAIT_S)
        self.first_token = Histogram(WAIT_S)
        self.seconds = Histogram(WAIT_S)
        self.embedding_seconds = Histogram(WAIT_S)
        self.n_prompt = Histogram(LENGTHS)
        self.n_predicted = Histogram(LENGTHS)
        self.finished = Counter({reason.value: 0 for reason in StopReason})
        self.failed = Counter({REASONS[kind]: 0 for kind in (EngineError, QueueTimeout, Unavailable)})
        self.aborted = Counter({"queued": 0, "running": 0})

    def distributions(self) -> dict[str, Distribution]:
        """Copies of all histograms, by their names here."""
        return {name: value.copy() for name, value in vars(self).items() if isinstance(value, Histogram)}

    def counters(self) -> dict[str, Counter[str]]:
        """All counters, by their names here."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Counter)}

    def watch(self, task: CompletionTask | EmbeddingTask) -> Watch:
        """A task has been accepted."""
        inputs = task.inputs if isinstance(task, EmbeddingTask) else (task.prompt,)
        for tokens in inputs:
            self.n_prompt.observe(len(tokens))
        return Watch(self)


class Watch:
    """One task from the moment it was accepted."""

    __slots__ = ("_began", "_has_tokens", "_meter")

    def __init__(self, meter: RequestMeter) -> None:
        self._meter = meter
        self._began = time.perf_counter()
        self._has_tokens = False

    def note(self, result: Result) -> None:
        """A result of the task has come; called for every token that is streamed."""
        if isinstance(result, Tokens):
            if not self._has_tokens:
                self._has_tokens = True
                self._note_first(result.timings)
        elif isinstance(result, Finished):
            self._note_end(result)
        elif isinstance(result, Failure):
            self._meter.failed[reason(result.error)] += 1
            if isinstance(result.error, QueueTimeout):
                self._meter.queued.observe(self._seconds)
        elif isinstance(result, Embedded) and result.is_last:
            self._meter.embedding_seconds.observe(self._seconds)

    def leave(self, *, is_queued: bool) -> None:
        """Nobody wants the result any more."""
        if is_queued:  # those who lost patience waited too: without them the queue would look shorter than it is
            self._meter.queued.observe(self._seconds)
        self._meter.aborted["queued" if is_queued else "running"] += 1

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self._began

    def _note_first(self, timings: Timings) -> None:
        # An answer that comes whole has been generated in the meantime. What came before the prompt was waiting.
        seconds = self._seconds - timings.predicted_ms / 1e3
        self._meter.first_token.observe(seconds)
        self._meter.queued.observe(max(0.0, seconds - timings.prompt_ms / 1e3))

    def _note_end(self, finished: Finished) -> None:
        meter, timings = self._meter, finished.timings
        if not self._has_tokens:
            meter.queued.observe(max(0.0, self._seconds - timings.prompt_ms / 1e3))
        meter.seconds.observe(self._seconds)
        meter.n_predicted.observe(timings.n_predicted)
        meter.finished[finished.reason.value] += 1


class HttpMeter:
    """HTTP requests, the health checks of monitors among them."""

    def __init__(self) -> None:
        self.n_open = 0
        self.responses: Counter[tuple[str, str, str]] = Counter()
        """By route (its template, never the path that a client made up), method and status."""
        self.refused = Counter(dict.fromkeys(REASONS.values(), 0))
        """Requests that were answered with an error."""
