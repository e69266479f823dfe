"""Embeddings: tasks collected, planned into batches, computed and delivered. Runs on the engine thread.

One call of `EmbeddingSide.step` computes one batch, so that whoever generates waits for no more than that.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .abc import BatchError, Embedder, InputPart
from .config import Pooling
from .errors import EngineError, LlamaHTTPError
from .pooling import Pool
from .queue import Delivery, EmbeddingStream
from .schedule import Pace
from .task import Embedded, Failure

log = logging.getLogger(__name__)

LONG_SEQUENCE = 0
"""The sequence of the one input that is computed over several steps; the others are done within one."""


@dataclass(eq=False, slots=True)
class Job:
    """A task, and which of its inputs wait."""

    stream: EmbeddingStream
    waiting: deque[int]
    """Indices of inputs that no step has taken yet, the longest first."""
    n_left: int
    """Inputs that are not delivered yet."""

    @classmethod
    def of(cls, stream: EmbeddingStream) -> Job:
        inputs = stream.task.inputs
        order = sorted(range(len(inputs)), key=lambda index: -len(inputs[index]))
        return cls(stream, deque(order), len(order))

    @property
    def adapters(self) -> tuple[tuple[int, float], ...]:
        return self.stream.task.adapters

    def length(self, index: int) -> int:
        return len(self.stream.task.inputs[index])

    def take(self, n_tokens: int) -> int | None:
        """The longest waiting input if it has at most `n_tokens`, else the shortest if that has, else None: inputs of
        one batch are alike."""
        if self.waiting and self.length(self.waiting[0]) <= n_tokens:
            return self.waiting.popleft()
        if self.waiting and self.length(self.waiting[-1]) <= n_tokens:
            return self.waiting.pop()
        return None


@dataclass(eq=False, slots=True)
class Item:
    """An input that is being computed."""

    job: Job
    index: int
    pool: Pool
    n_past: int = 0

    @property
    def tokens(self) -> NDArray[np.int32]:
        tokens: NDArray[np.int32] = self.job.stream.task.inputs[self.index]
        return tokens

    @property
    def n_left(self) -> int:
        return len(self.tokens) - self.n_past


@dataclass(slots=True)
class Plan:
    """A batch: of each item the next part."""

    items: list[Item] = field(default_factory=list)
    parts: list[InputPart] = field(default_factory=list)

    def add(self, item: Item, n_take: int, id_seq: int) -> None:
        self.items.append(item)
        self.parts.append(InputPart(id_seq, item.n_past, item.tokens[item.n_past : item.n_past + n_take]))

    @property
    def n_rows(self) -> int:
        return sum(len(part.tokens) for part in self.parts)


class EmbeddingSide:
    """The tasks that want embeddings, over one embedder. Jobs take turns input by input, so that a small one beside a
    large one is soon done."""

    def __init__(self, embedder: Embedder, target_step_ms: float) -> None:
        self._embedder = embedder
        self._jobs: list[Job] = []  # the one served last is last
        self._long: Item | None = None
        self._pace = Pace(target_step_ms, embedder.n_batch, embedder.n_batch)
        self._adapters: tuple[tuple[int, float], ...] = ()  # that the embedder applies
        self.n_tokens = self.n_steps = 0
        self.ms = 0.0
        """Tokens computed so far, and in how many batches and milliseconds."""
        self._n_alone = 0  # after a failure: inputs that are computed one by one, to find the one to blame
        self._pooling = Pooling.RANK if embedder.pools else embedder.pooling

    @property
    def is_busy(self) -> bool:
        return bool(self._jobs)

    def submit(self, stream: EmbeddingStream) -> None:
        self._jobs.append(Job.of(stream))

    def cancel(self, stream: EmbeddingStream) -> None:
        for job in self._jobs:
            if job.stream is stream:
                self._drop(job)
                return

    def warm_up(self) -> None:
        """Compute a token, as the first step of the context that generates does. Raises BatchError."""
        self._embedder.decode([InputPart(1, 0, np.zeros(1, np.int32))])
        self._embedder.forget(1)

    def fail_all(self, error: LlamaHTTPError) -> list[Delivery]:
        """End every task with an error."""
        return [self._fail(job, error) for job in self._jobs.copy()]

    def step(self, *, is_alone: bool) -> list[Delivery]:
        """Compute one batch; `is_alone` when nobody generates meanwhile. What it completed is to be delivered."""
        n_others = 0 if is_alone else 1
        job = self._jobs[0] if self._long is None else self._long.job
        try:
            self._apply_adapters(job.adapters)
            plan = self._plan(self._pace.prompt_budget(n_others))
        except EngineError as error:  # there is no memory for the adapters, or for an input that long
            return [self._fail(job, error)]
        began = time.perf_counter()
        try:
            vectors = self._embedder.decode(plan.parts)
        except BatchError as error:
            return self._survive(error, plan)
        ms = 1e3 * (time.perf_counter() - began)
        self._pace.observe(n_others, plan.n_rows, ms)
        self.n_tokens, self.n_steps, self.ms = self.n_tokens + plan.n_rows, self.n_steps + 1, self.ms + ms
        self._n_alone = max(0, self._n_alone - 1)
        return self._apply(plan, vectors)

    # --- plan

    def _plan(self, budget: int) -> Plan:
        """The next batch, of jobs with the adapters that are applied. Raises EngineError if the first job's input finds
        no memory."""
        plan = Plan()
        if self._long is None:
            self._begin_long(budget)
        if self._long is None:
            self._fill(plan, budget)
        else:
            if not self._n_alone:
                self._fill(plan, budget // 2)
            plan.add(self._long, min(self._long.n_left, budget - plan.n_rows), LONG_SEQUENCE)
        if not plan.items:
            self._take_whole(plan)
        return plan

    def _begin_long(self, budget: int) -> None:
        """Begin an input that needs several steps, if the job whose turn it is has one."""
        job = self._jobs[0]
        longest = job.waiting[0]
        if self._embedder.takes_parts and job.length(longest) > budget:
            self._embedder.reserve(job.length(longest))
            self._long = self._begin(job, job.waiting.popleft())
            self._serve(job)

    def _fill(self, plan: Plan, budget: int) -> None:
        """Take inputs that fit as a whole, one of each job in turn."""
        waiting = [job for job in self._jobs if job.adapters == self._adapters]
        n_most = 1 if self._n_alone else self._embedder.n_seq_max - 1
        while waiting and len(plan.items) < n_most:
            job = waiting.pop(0)
            index = job.take(budget)
            if index is None:
                continue
            budget -= job.length(index)
            plan.add(self._begin(job, index), job.length(index), 1 + len(plan.items))
            waiting.append(job)
            self._serve(job)

    def _take_whole(self, plan: Plan) -> None:
        """The longest input of the job whose turn it is, however long: it cannot be cut."""
        job = self._jobs[0]
        n_tokens = job.length(job.waiting[0])
        self._embedder.reserve(n_tokens)
        plan.add(self._begin(job, job.waiting.popleft()), n_tokens, 1)
        self._serve(job)

    def _serve(self, job: Job) -> None:
        """Another one's turn comes next."""
        self._jobs.remove(job)
        self._jobs.append(job)

    def _apply_adapters(self, adapters: tuple[tuple[int, float], ...]) -> None:
        if adapters != self._adapters:
            self._embedder.set_adapters(adapters)
            self._adapters = adapters

    def _begin(self, job: Job, index: int) -> Item:
        return Item(job, index, Pool(self._pooling))

    # --- apply

    def _apply(self, plan: Plan, vectors: Sequence[NDArray[np.float32]]) -> list[Delivery]:
        done: dict[Job, list[tuple[int, NDArray[np.float32]]]] = {}
        for item, part, rows in zip(plan.items, plan.parts, vectors, strict=True):
            item.pool.add(rows)
            item.n_past += len(part.tokens)
            if item.n_left == 0:
                self._embedder.forget(part.id_seq)
                done.setdefault(item.job, []).append((item.index, item.pool.result()))
        if self._long is not None and self._long.n_left == 0:
            self._long = None
        return [self._complete(job, completed) for job, completed in done.items()]

    def _complete(self, job: Job, completed: list[tuple[int, NDArray[np.float32]]]) -> Delivery:
        for index, vectors in completed:
            if not np.isfinite(vectors).all():
                return self._fail(job, EngineError(f"the model's embedding of input {index} is not numbers"))
        job.n_left -= len(completed)
        if job.n_left == 0:
            self._jobs.remove(job)
        return job.stream, Embedded(tuple(completed), job.n_left == 0)

    # --- what goes wrong

    def _fail(self, job: Job, error: LlamaHTTPError) -> Delivery:
        self._drop(job)
        return job.stream, Failure(error)

    def _drop(self, job: Job) -> None:
        self._jobs.remove(job)
        if self._long is not None and self._long.job is job:
            self._put_back(self._long)

    def _put_back(self, item: Item) -> None:
        """Let an input wait again, from its beginning on."""
        item.job.waiting.appendleft(item.index)
        if item is self._long:
            self._long = None
            self._embedder.forget(LONG_SEQUENCE)

    def _survive(self, error: BatchError, plan: Plan) -> list[Delivery]:
        """After a failed decode: all that was in it is computed again, alone; what fails alone is to blame."""
        log.error("embeddings: decode failed: %s", error)
        try:
            if error.fatal:
                self._embedder.rebuild()
        except EngineError as wrong:
            return self.fail_all(wrong)
        if self._long is not None and self._long not in plan.items:
            self._put_back(self._long)
        for item in plan.items:
            self._put_back(item)
        if len(plan.items) == 1:
            return [self._fail(plan.items[0].job, EngineError(str(error)))]
        self._n_alone = len(plan.items)
        return []
