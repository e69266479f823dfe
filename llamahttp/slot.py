"""Slots: the state of one sequence, from launch to release.

Runs on the engine thread. Knows nothing of HTTP, JSON or text.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .abc import Sampler
from .queue import ResultStream
from .task import CompletionTask, SlotSnapshot, SlotState, StopReason, Timings


@dataclass(slots=True)
class Clock:
    """When things happened to one task; seconds of `time.perf_counter`."""

    launched: float
    first_token: float = 0.0
    last_token: float = 0.0


class Slot:
    """One sequence of the context. Between tasks it keeps its tokens, which are what its memory holds.

    tokens   [0 ..... n_past)                  evaluated, in memory
                     [n_past .. n_tokens)      known, not evaluated yet: the rest of the prompt, or the last sampled
    """

    def __init__(self, id_slot: int, n_ctx: int) -> None:
        self.id = id_slot
        self.n_ctx = n_ctx
        self.tokens = np.zeros(n_ctx, np.int32)
        self.n_tokens = 0
        self.n_past = 0
        self.state = SlotState.IDLE
        self.last_used = -1.0
        self.stream: ResultStream | None = None
        self.sampler: Sampler | None = None
        self.last_token = -1
        self.n_prompt = 0
        self.n_cached = 0
        self.clock = Clock(0.0)
        self._n_limit = -1
        self._undelivered: list[int] = []

    @property
    def task(self) -> CompletionTask:
        assert self.stream is not None, "an idle slot has no task"
        return self.stream.task

    @property
    def id_task(self) -> int:
        """The task that runs here, or -1."""
        return -1 if self.stream is None else self.stream.id_task

    @property
    def wants_tokens(self) -> bool:
        """Whether anything is to be generated; a task with `n_predict` 0 only has its prompt evaluated."""
        return self.task.n_predict != 0

    @property
    def is_idle(self) -> bool:
        return self.state is SlotState.IDLE

    @property
    def n_left(self) -> int:
        """Prompt tokens that are not evaluated yet."""
        return self.n_tokens - self.n_past

    @property
    def n_predicted(self) -> int:
        return self.n_tokens - self.n_prompt

    def common_prefix(self, prompt: NDArray[np.int32]) -> int:
        """How many tokens at the start of `prompt` this slot's memory already holds."""
        n = min(self.n_past, len(prompt))
        differs = self.tokens[:n] != prompt[:n]
        return int(differs.argmax()) if differs.any() else n

    def launch(self, stream: ResultStream, sampler: Sampler, n_reused: int) -> None:
        """Begin a task whose first `n_reused` prompt tokens are in memory already.

        prompt   [0 ............................ n_prompt)
        reused   [0 ...... n_reused)
        """
        prompt = stream.task.prompt
        self.stream, self.sampler = stream, sampler
        self.tokens[: len(prompt)] = prompt
        self.n_tokens = self.n_prompt = len(prompt)
        self.n_past = self.n_cached = n_reused
        self._n_limit = self.n_prompt + stream.task.n_predict if stream.task.n_predict >= 0 else -1
        self.state = SlotState.PROMPT
        self.clock = Clock(time.perf_counter())

    def append(self, token: int, now: float) -> StopReason | None:
        """Take a sampled token. Returns why the task ends with it, as far as numbers tell."""
        if self.state is SlotState.PROMPT:
            self.state = SlotState.GENERATING
            self.clock.first_token = now
        self.clock.last_token = now
        self.tokens[self.n_tokens] = self.last_token = token
        self.n_tokens += 1
        self._undelivered.append(token)
        if self.n_tokens == self._n_limit:
            return StopReason.LIMIT
        if self.n_tokens >= self.n_ctx:
            return StopReason.CONTEXT
        return None

    def take_undelivered(self) -> tuple[int, ...]:
        """Tokens sampled since the last call."""
        tokens = tuple(self._undelivered)
        self._undelivered.clear()
        return tokens

    def timings(self, n_predicted: int | None = None) -> Timings:
        """What the task cost so far; `n_predicted` where the reader wants fewer tokens than were sampled."""
        clock = self.clock
        first = clock.first_token or time.perf_counter()
        return Timings(
            self.n_cached,
            self.n_prompt - self.n_cached,
            1e3 * (first - clock.launched),
            self.n_tokens - self.n_prompt if n_predicted is None else n_predicted,
            1e3 * (clock.last_token - first) if clock.first_token else 0.0,
        )

    def release(self) -> None:
        """End the task. What was evaluated stays in memory for the next prompt that begins alike."""
        if self.sampler is not None:
            self.sampler.close()
        self.stream = self.sampler = None
        self.n_tokens = self.n_past
        self.state = SlotState.IDLE
        self.last_used = time.perf_counter()
        self._undelivered.clear()

    def forget(self) -> None:
        """The memory of this sequence is gone."""
        self.n_tokens = self.n_past = 0

    def snapshot(self) -> SlotSnapshot:
        """A copy for other threads."""
        task = None if self.stream is None else self.stream.task
        return SlotSnapshot(
            id_slot=self.id,
            id_task=self.id_task,
            state=self.state,
            n_ctx=self.n_ctx,
            n_past=self.n_past,
            n_prompt=self.n_prompt if task else 0,
            n_predicted=self.n_predicted if task else 0,
            n_predict=task.n_predict if task else -1,
            sampling=task.sampling if task else None,
        )
