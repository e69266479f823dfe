"""Slots: the state of one task at a time, from launch to release.

Runs on the engine thread. Knows nothing of HTTP, JSON or text.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from .abc import Constraint, Sampler
from .cache.sequence import NO_TOKENS, Sequence
from .cache.snapshot import Namespace
from .queue import ResultStream
from .task import CacheUse, CompletionTask, SlotSnapshot, SlotState, StopReason, Timings


@dataclass(slots=True)
class Clock:
    """When things happened to one task; seconds of `time.perf_counter`."""

    launched: float
    first_token: float = 0.0
    last_token: float = 0.0


class Wanted(NamedTuple):
    """Others wait for the first `n_tokens` of a prompt; the most urgent of them has `priority`."""

    priority: int
    n_tokens: int


class Slot:
    """A lane for one task at a time, over a sequence that it borrows from the cache while it has a place in memory.

    tokens   [0 ..... n_past)                  evaluated, in the sequence's memory
                     [n_past .. n_tokens)      known, not evaluated yet: the rest of the prompt, or the last sampled
    """

    def __init__(self, id_slot: int, n_ctx: int) -> None:
        self.id = id_slot
        self.n_ctx = n_ctx
        self.tokens = NO_TOKENS
        self.n_tokens = 0
        self.state = SlotState.IDLE
        self.stream: ResultStream | None = None
        self.sampler: Sampler | None = None
        self.constraint: Constraint | None = None
        """What the sampler obeys."""
        self.sequence: Sequence | None = None
        self.last_token = -1
        self.n_plain = 0
        """Tokens that are computed without the task's adapters, before those become active; 0 if they always are."""
        self.n_prompt = 0
        self.n_predicted = 0
        self.use = CacheUse()
        self.marks: list[int] = []
        """Positions, ascending, where a part of the prompt has to end."""
        self.wanted: Wanted | None = None
        self.n_passed = 0
        """Tokens of other prompts that were computed while this one waited for its turn."""
        self.n_preempted = 0
        self.is_loading = False
        """What it waits for is being read from disk."""
        self.is_truncated = False
        """The context was shifted, so that the oldest tokens are lost."""
        self.clock = Clock(0.0)
        self._undelivered: list[int] = []
        self._last: SlotSnapshot | None = None
        """What is left to tell of the last task, while there is none."""

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
    def is_active(self) -> bool:
        """Whether there is something to compute for it now."""
        return self.state is SlotState.PROMPT or self.state is SlotState.GENERATING

    @property
    def n_past(self) -> int:
        return 0 if self.sequence is None else self.sequence.n_past

    @property
    def adapters(self) -> tuple[tuple[int, float], ...]:
        """Those to compute its next tokens with."""
        return self.task.adapters if self.n_past >= self.n_plain else ()

    @property
    def namespace(self) -> Namespace:
        """With which others it may share the beginning of its tokens."""
        adapters = () if self.n_plain else self.task.adapters
        return Namespace(self.task.salt, adapters, is_moved=self.task.n_cache_reuse > 0)

    @property
    def n_shared(self) -> int:
        """Tokens that others may go on from: neither those behind the activation of an adapter, nor any after a shift
        of the context, since when memory has seen more than the tokens tell."""
        return 0 if self.is_truncated else self.n_plain or self.n_tokens

    @property
    def n_reusable(self) -> int:
        """Tokens that may be taken from others. The last is always computed: its logits give the next one."""
        return min(self.n_tokens - 1, self.n_plain or self.n_tokens)

    @property
    def n_left(self) -> int:
        """Known tokens that are not evaluated yet."""
        return self.n_tokens - self.n_past

    @property
    def rank(self) -> tuple[int, float]:
        """Who goes first: by priority, then by age."""
        return self.task.priority, self.clock.launched

    def launch(self, stream: ResultStream, sampler: Sampler, constraint: Constraint | None) -> None:
        """Begin a task. It waits until `place` gives it a sequence."""
        task = stream.task
        self.stream, self.sampler, self.constraint = stream, sampler, constraint
        self.n_plain = task.adapters_from
        self.n_tokens = self.n_prompt = len(task.prompt)
        self.tokens = np.empty(self.n_ctx, np.int32)
        self.tokens[: self.n_prompt] = task.prompt
        self.state = SlotState.WAITING
        self.n_predicted = self.n_passed = self.n_preempted = 0
        self.is_truncated = self.is_loading = False
        self.use = CacheUse()
        self.marks = []
        self.clock = Clock(time.perf_counter())

    def place(self, sequence: Sequence, use: CacheUse) -> None:
        """Evaluate what `sequence` does not hold yet of the tokens; after a preemption, of all that are known."""
        self.sequence = sequence
        self.state = SlotState.PROMPT
        if self.n_preempted == 0:
            self.use = use

    def preempt(self) -> None:
        """Lose the place in memory and wait for another; nothing of the answer is lost."""
        self.sequence = None
        self.state = SlotState.WAITING
        self.n_preempted += 1

    def append(self, token: int, now: float) -> StopReason | None:
        """Take a sampled token. Returns why the task ends with it, as far as numbers tell."""
        if self.n_predicted == 0:
            self.clock.first_token = now
        self.state = SlotState.GENERATING
        self.clock.last_token = now
        self.tokens[self.n_tokens] = self.last_token = token
        self.n_tokens += 1
        self.n_predicted += 1
        self._undelivered.append(token)
        if self.n_predicted == self.task.n_predict:
            return StopReason.LIMIT
        if self.n_tokens >= self.n_ctx:
            return StopReason.CONTEXT
        return None

    def discard(self, n_keep: int, n_discard: int) -> None:
        """The memory has forgotten [n_keep, n_keep + n_discard): so do the tokens."""
        # kept     [0 .. n_keep)
        # moved                  [n_keep + n_discard ... n_tokens)   to n_keep
        self.tokens[n_keep : self.n_tokens - n_discard] = self.tokens[n_keep + n_discard : self.n_tokens].copy()
        self.n_tokens -= n_discard
        self.n_plain -= min(max(self.n_plain - n_keep, 0), n_discard)
        self.is_truncated = True

    def take_undelivered(self) -> tuple[int, ...]:
        """Tokens sampled since the last call."""
        tokens = tuple(self._undelivered)
        self._undelivered.clear()
        return tokens

    def timings(self, n_predicted: int | None = None) -> Timings:
        """What the task cost so far; `n_predicted` where the reader wants fewer tokens than were sampled."""
        clock, n_cached = self.clock, self.use.n_cached
        first = clock.first_token or time.perf_counter()
        return Timings(
            n_cached,
            self.n_prompt - n_cached,
            1e3 * (first - clock.launched),
            self.n_predicted if n_predicted is None else n_predicted,
            1e3 * (clock.last_token - first) if clock.first_token else 0.0,
            self.use,
        )

    def release(self) -> None:
        """End the task."""
        self._last = replace(self.snapshot(), state=SlotState.IDLE)
        if self.sampler is not None:
            self.sampler.close()
        self.stream = self.sampler = self.constraint = self.sequence = None
        self.tokens = NO_TOKENS
        self.state = SlotState.IDLE
        self._undelivered.clear()

    def snapshot(self) -> SlotSnapshot:
        """A copy for other threads."""
        if self.stream is None:
            return self._last or SlotSnapshot(self.id, self.n_ctx)
        return SlotSnapshot(
            id_slot=self.id,
            n_ctx=self.n_ctx,
            id_task=self.id_task,
            state=self.state,
            n_past=self.n_past,
            n_prompt=self.n_prompt,
            n_predicted=self.n_predicted,
            n_predict=self.task.n_predict,
            sampling=self.task.sampling,
            settings=self.task.settings,
            cache=self.use,
            n_preempted=self.n_preempted,
        )
