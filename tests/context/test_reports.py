"""What the engine tells of tasks while they run."""

from __future__ import annotations

import pytest
from fakes import FakeDecoder
from tasks import prompt, until_generating

from llamahttp.engine import Engine
from llamahttp.task import CompletionTask, PromptProgress, SlotState, Tokens


async def test_probabilities_come_with_every_token(engine: Engine) -> None:
    async with engine.submit(CompletionTask(prompt("hello"), n_predict=3, n_probs=2, stepwise=False)) as stream:
        probs = [p for result in [r async for r in stream] if isinstance(result, Tokens) for p in result.probs]
    assert len(probs) == 3
    assert all(p.top[0][1] == pytest.approx(p.logprob) for p in probs)


async def test_progress_counts_up_to_the_whole_prompt(engine: Engine) -> None:
    async with engine.submit(CompletionTask(prompt("x" * 600), n_predict=1, progress=True)) as stream:
        done = [result.n_done async for result in stream if isinstance(result, PromptProgress)]
    assert len(done) > 2
    assert done == sorted(set(done))
    assert done[-1] == 600


async def test_snapshot_tells_what_a_slot_is_doing(engine: Engine, decoder: FakeDecoder) -> None:
    async with engine.submit(CompletionTask(prompt("endless"), id_slot=1)) as stream:
        await until_generating(engine, 1)
        slot = (await engine.snapshot()).slots[1]
        assert (slot.id_slot, slot.id_task, slot.state) == (1, stream.id_task, SlotState.GENERATING)
        assert slot.n_prompt == 7
