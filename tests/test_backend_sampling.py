"""Sampling on the device in a running engine: slots come and go, are preempted, fail and are cancelled."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llamahttp import CompletionTask, Engine, SamplingParams
from llamahttp.errors import EngineError

from . import models
from .conversations import BASE, Memory, ask, cancel_after, words
from .observed import ObservedEngine


async def test_every_answer_is_right_while_slots_come_and_go(memory: Memory) -> None:
    """Half of the requests want log probabilities, and are sampled on the host, in the same steps."""
    async with await memory.open(n_parallel=3, backend_sampling=True) as engine:
        asked = [ask(engine, words(40 + 9 * i, seed=i), 20, n_probs=3 * (i % 2)) for i in range(12)]
        left = [cancel_after(engine, words(50, seed=i), 0.01 * i, n_probs=0) for i in range(4)]
        answers = await asyncio.gather(*asked)
        await asyncio.gather(*left)
        stats = (await engine.snapshot()).stats
    memory.judge.check(*answers[1::2])
    memory.judge.check_tokens(*answers[::2])
    assert (stats.n_failed, stats.n_rebuilt) == (0, 0)


async def test_who_is_preempted_goes_on_in_another_sequence(memory: Memory) -> None:
    async with await memory.open(n_ctx=512, n_parallel=4, backend_sampling=True) as engine:
        answers = await asyncio.gather(*(ask(engine, words(80, seed=i), 120, n_probs=0) for i in range(3)))
        stats = (await engine.snapshot()).stats
    memory.judge.check_tokens(*answers)
    assert stats.n_preempted > 0 or memory.name != "dense"


async def test_a_context_that_was_made_anew_samples_again(memory: Memory) -> None:
    async with await ObservedEngine.open(replace(memory.config, backend_sampling=True)) as engine:
        n_asked = 0

        def aborts(tokens: Any) -> bool:
            nonlocal n_asked
            n_asked += 1
            return n_asked == 400

        engine.decoder.aborts = aborts
        answers = await asyncio.gather(*(ask(engine, words(60, seed=i), 20, n_probs=0) for i in range(4)))
        stats = (await engine.snapshot()).stats
    memory.judge.check_tokens(*answers)
    assert (stats.n_failed, stats.n_rebuilt) == (0, 1)


@pytest.mark.parametrize("params", [{}, {"temperature": 0}, {"samplers": ("temperature",)}], ids=str)
async def test_logits_that_are_not_numbers_end_the_request(tmp_path: Path, params: dict[str, Any]) -> None:
    """A device draws a token from them all the same."""
    config = replace(BASE, model=models.write_broken(tmp_path / "broken.gguf"), backend_sampling=True)
    async with await Engine.open(config) as engine:
        task = CompletionTask(words(20, seed=1), SamplingParams(backend_sampling=True, **params), 5)
        with pytest.raises(EngineError, match="the model's logits are not numbers"):
            async with engine.submit(task) as stream:
                async for _ in stream:
                    pass
