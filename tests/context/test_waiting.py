"""Tasks that wait, that are refused, and pools that overflow."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from fakes import FakeDecoder, continuation, fake_engine
from tasks import KeptBusy, KeptBusyOnce, collect, prompt, until_generating, until_idle

from llamahttp.engine import Engine
from llamahttp.errors import ContextExceeded, InvalidRequest, QueueFull, Unavailable
from llamahttp.task import CompletionTask, Finished, StopReason


async def test_more_than_the_slots_wait_in_order(engine: Engine) -> None:
    order: list[int] = []

    async def one(i: int) -> None:
        await collect(engine, CompletionTask(prompt(f"{i}"), n_predict=3, id_slot=2))
        order.append(i)

    await asyncio.gather(*(one(i) for i in range(6)))
    assert order == list(range(6))


async def test_a_pinned_task_does_not_hold_up_the_others(engine: Engine, decoder: FakeDecoder) -> None:
    async with engine.submit(CompletionTask(prompt("endless"), id_slot=0)):
        await until_generating(engine, 1)
        pinned = asyncio.create_task(collect(engine, CompletionTask(prompt("pinned"), n_predict=2, id_slot=0)))
        await collect(engine, CompletionTask(prompt("free"), n_predict=2))
        assert not pinned.done()
    await pinned


async def test_a_full_queue_refuses() -> None:
    decoder = FakeDecoder(n_slots=1)
    async with fake_engine(decoder, queue_size=2) as engine:
        async with engine.submit(CompletionTask(prompt("endless"))):
            await until_generating(engine, 1)
            waiting = [engine.submit(CompletionTask(prompt("waits"))) for _ in range(2)]
            with pytest.raises(QueueFull, match="2 requests are waiting already"):
                engine.submit(CompletionTask(prompt("too much")))
            for stream in waiting:
                stream.close()


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (CompletionTask(np.array([65, 257], np.int32)), "prompt token 1 is 257, .* vocabulary of 257"),
        (CompletionTask(np.array([-1], np.int32)), "prompt token 0 is -1"),
        (CompletionTask(prompt("a"), id_slot=4), "id_slot must be between -1 and 3, but got 4"),
    ],
)
async def test_wrong_tasks_are_refused(engine: Engine, task: CompletionTask, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        engine.submit(task)


async def test_a_prompt_of_no_token_ends_at_once(engine: Engine) -> None:
    async with engine.submit(CompletionTask(prompt(""), id_slot=2)) as results:
        (finished,) = [result async for result in results]
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.id_slot, finished.timings.n_predicted) == (StopReason.EMPTY, 2, 0)


async def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(engine: Engine) -> None:
    with pytest.raises(ContextExceeded) as caught:
        engine.submit(CompletionTask(prompt("x" * 4096)))
    assert (caught.value.n_prompt, caught.value.n_ctx) == (4096, 4096)


async def test_a_full_cache_forgets_idle_conversations_first() -> None:
    async with fake_engine(FakeDecoder(n_ctx=300)) as engine:
        for name in "abcd":
            await collect(engine, CompletionTask(prompt(name * 60), n_predict=5, id_slot="abcd".index(name)))
        tokens, _ = await collect(engine, CompletionTask(prompt("e" * 200), n_predict=20))
        assert tokens == continuation(prompt("e" * 200), 20)


async def test_a_full_cache_preempts_the_youngest_and_nobody_fails() -> None:
    decoder = FakeDecoder(n_ctx=300)
    async with fake_engine(decoder) as engine:
        decoder.gate.clear()  # both begin together
        old = asyncio.create_task(collect(engine, CompletionTask(prompt("o" * 100), n_predict=90)))
        young = asyncio.create_task(collect(engine, CompletionTask(prompt("y" * 100), n_predict=150)))
        await asyncio.sleep(0.01)
        decoder.gate.set()
        tokens, end = await young
        assert tokens == continuation(prompt("y" * 100), 150)
        assert end.timings.n_predicted == 150
        assert (await old)[0] == continuation(prompt("o" * 100), 90)
        assert (await engine.snapshot()).stats.n_preempted >= 1


@pytest.mark.parametrize("n_spare", [0, 9])
async def test_a_pool_oversubscribed_fourfold_serves_everybody(n_spare: int) -> None:
    decoder = FakeDecoder(n_ctx=512, n_slots=8, n_spare=n_spare)
    async with fake_engine(decoder) as engine:
        prompts = [prompt(f"{i} says " * (20 + i % 7)) for i in range(24)]
        answers = await asyncio.gather(*(collect(engine, CompletionTask(p, n_predict=100)) for p in prompts))
        await until_idle(engine, 8)
        stats = (await engine.snapshot()).stats
    for p, (tokens, _) in zip(prompts, answers, strict=True):
        assert tokens == continuation(p, 100)
    assert stats.n_preempted > 0
    assert stats.n_cells_used == decoder.n_used


async def test_an_urgent_task_overtakes_those_that_wait() -> None:
    async with fake_engine(FakeDecoder(n_slots=1)) as engine:
        order: list[str] = []

        async def one(name: str, priority: int) -> None:
            await collect(engine, CompletionTask(prompt(name), n_predict=2, priority=priority))
            order.append(name)

        async with KeptBusy(engine, 1):
            tasks = [asyncio.create_task(one(name, p)) for name, p in (("low", 5), ("usual", 0), ("urgent", -5))]
            while (await engine.snapshot()).n_waiting < 3:
                await asyncio.sleep(0.001)
        await asyncio.gather(*tasks)
    assert order == ["urgent", "usual", "low"]


async def test_the_least_urgent_is_preempted_first() -> None:
    decoder = FakeDecoder(n_ctx=300)
    order: list[str] = []

    async def one(text: str, n_predict: int, priority: int) -> None:
        task = CompletionTask(prompt(text), n_predict=n_predict, priority=priority)
        assert (await collect(engine, task))[0] == continuation(prompt(text), n_predict)
        order.append(text[0])

    async with fake_engine(decoder) as engine:
        decoder.gate.clear()  # both begin together
        tasks = [asyncio.create_task(one("l" * 100, 90, 1)), asyncio.create_task(one("u" * 100, 110, 0))]
        await asyncio.sleep(0.01)
        decoder.gate.set()
        await asyncio.gather(*tasks)
        assert order == ["u", "l"]
        assert (await engine.snapshot()).stats.n_preempted >= 1


async def test_a_task_that_waits_too_long_for_a_slot_is_refused() -> None:
    async with fake_engine(FakeDecoder(n_slots=1), queue_timeout=0.05) as engine, KeptBusyOnce(engine):
        with pytest.raises(Unavailable, match=r"no slot became free within 0.05 s \(--queue") as caught:
            await collect(engine, CompletionTask(prompt("waits")))
        assert caught.value.retry_after is not None


async def test_what_an_urgent_task_waits_for_is_as_urgent(engine: Engine, decoder: FakeDecoder) -> None:
    """Its prefix is computed by a task that nobody is in a hurry for, behind prompts that are in the way."""
    decoder.step_seconds = 0.002
    shared = "a beginning that the urgent one shares with the lazy one. " * 8
    lazy = engine.submit(CompletionTask(prompt(shared + "lazy" * 300), n_predict=1, priority=5))
    others = [engine.submit(CompletionTask(prompt(f"{i}" * 1200), n_predict=1)) for i in range(2)]
    await collect(engine, CompletionTask(prompt(shared + "urgent"), n_predict=2, priority=-5))
    assert not any(other.has_ended for other in others), "it went first, with what it needed"
    for stream in (lazy, *others):
        stream.close()


async def test_an_urgent_task_takes_the_cells_of_one_that_is_not() -> None:
    async with fake_engine(FakeDecoder(n_ctx=300)) as engine:
        lazy = asyncio.create_task(collect(engine, CompletionTask(prompt("l" * 150), n_predict=100, priority=1)))
        await until_generating(engine, 1)
        tokens, _ = await collect(engine, CompletionTask(prompt("u" * 120), n_predict=5, priority=-1))
        assert tokens == continuation(prompt("u" * 120), 5)
        assert not lazy.done()
        assert (await lazy)[0] == continuation(prompt("l" * 150), 100)
