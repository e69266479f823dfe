"""Defects of llama-server that its users saw, none of which may be ours: the same story with a real model."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from . import models
from .conversations import Judge, Memory, ask, join, words


async def test_a_request_pinned_to_a_busy_slot_does_not_change_the_running_answer(memory: Memory) -> None:
    """There, the cached prompt of the second replaces the memory of the first, which goes on from somebody else's."""
    cached = words(120, seed=1)
    async with await memory.open(n_parallel=2, cache_ram=64) as engine:
        first = await ask(engine, cached, id_slot=0)
        await ask(engine, words(120, seed=2), id_slot=0)
        running = asyncio.create_task(ask(engine, words(100, seed=3), n_predict=150, id_slot=0))
        await asyncio.sleep(0.01)
        pinned = [ask(engine, join(cached, words(5, seed=i)), id_slot=0) for i in range(4)]
        answers = [await running, *await asyncio.gather(*pinned), first]
    memory.judge.check(*answers)
    assert {answer.finished.id_slot for answer in answers} == {0}
    assert all(answer.timings.n_cached > 0 for answer in answers[1:-1])


@pytest.mark.parametrize("memory", ["dense", "dense-separate", "window"], indirect=True)
async def test_a_plain_request_after_one_with_a_lora_is_what_it_is_without(memory: Memory, tmp_path: Path) -> None:
    """There, it goes on from what was computed with the adapter. Also with RAM and disk below."""
    architecture = memory.judge.model.info.metadata["general.architecture"]
    loras = ((models.write_lora(tmp_path / "lora.gguf", architecture=architecture, scale=0.5), 1.0),)
    prompt, other = words(100, seed=1), words(100, seed=2)
    answers = []
    for _ in range(2):  # the second time over what the disk has of the first
        async with await memory.open(n_parallel=1, cache_ram=64, cache_disk=tmp_path, loras=loras) as engine:
            for text in (prompt, other):
                for adapters in (((0, 1.0),), (), ((0, 0.5),), ((0, 1.0),), ()):
                    answers.append(await ask(engine, text, adapters=adapters))
    with Judge(memory.judge.model, loras) as judge:
        judge.check(*answers)
    assert answers[0].ids != answers[1].ids, "the adapter changes nothing: the test tells nothing"
    assert answers[1].timings.n_cached == 0
    assert answers[4].timings.n_cached == len(prompt) - 1
