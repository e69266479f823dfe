"""Slots: what of a task's tokens may be shared with others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llamahttp.cache.snapshot import Namespace
from llamahttp.queue import TaskQueue
from llamahttp.slot import Slot
from llamahttp.task import CompletionTask

from .fakes import FakeSampler

ADAPTERS = ((0, 1.0),)


async def launched(task: CompletionTask) -> Slot:
    slot = Slot(0, 16)
    slot.launch(TaskQueue(1).submit(task), FakeSampler(task.sampling), None)
    return slot


async def test_only_tasks_of_the_same_salt_and_adapters_share() -> None:
    task = CompletionTask(np.arange(8, dtype=np.int32), salt="a", adapters=ADAPTERS)
    assert (await launched(task)).namespace == Namespace("a", ADAPTERS)
    activated = await launched(replace(task, adapters_from=3))
    assert activated.namespace == Namespace("a")
    assert activated.n_shared == 3


async def test_what_a_shift_leaves_of_an_activated_adapter_is_not_taken_for_the_model_without_it() -> None:
    task = CompletionTask(np.arange(8, dtype=np.int32), adapters=ADAPTERS, adapters_from=3)
    slot = await launched(task)
    slot.discard(1, 2)
    assert (slot.n_plain, slot.adapters, slot.namespace) == (1, (), Namespace())
    slot.discard(0, 4)
    assert (slot.n_plain, slot.adapters, slot.namespace) == (0, ADAPTERS, Namespace("", ADAPTERS))
