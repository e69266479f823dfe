"""What fails: decodes, samplers, the warm-up, the engine itself; and how it ends."""

from __future__ import annotations

import asyncio

import pytest
from fakes import FakeDecoder, FakeSamplerFactory, continuation, fake_engine
from tasks import KeptBusy, collect, prompt, until_generating

from llamahttp.abc import BatchError
from llamahttp.engine import Engine
from llamahttp.errors import EngineError, InvalidRequest, ModelError, Unavailable
from llamahttp.task import CompletionTask


async def test_a_failed_decode_of_one_request_fails_it_and_the_next_one_works(
    engine: Engine, decoder: FakeDecoder
) -> None:
    decoder.errors = [BatchError("Compute error (-3).", fatal=True)]
    with pytest.raises(EngineError, match="Compute error"):
        await collect(engine, CompletionTask(prompt("hello"), n_predict=3))
    tokens, _ = await collect(engine, CompletionTask(prompt("hello"), n_predict=3))
    assert tokens == continuation(prompt("hello"), 3)
    assert decoder.n_rebuilt == 1


async def test_only_the_request_that_cannot_be_computed_fails(engine: Engine, decoder: FakeDecoder) -> None:
    decoder.poison = ord("!")
    good = [asyncio.create_task(collect(engine, CompletionTask(prompt(c * 30), n_predict=50))) for c in "abc"]
    with pytest.raises(EngineError, match="Compute error"):
        await collect(engine, CompletionTask(prompt("poison!"), n_predict=3))
    assert [(await task)[0] for task in good] == [continuation(prompt(c * 30), 50) for c in "abc"]
    assert (await engine.snapshot()).stats.n_rebuilt == decoder.n_rebuilt
    assert (await engine.snapshot()).stats.n_failed == 1
    assert not engine.rebuilding


async def test_a_batch_that_is_refused_as_a_whole_is_tried_one_by_one(engine: Engine, decoder: FakeDecoder) -> None:
    async with KeptBusy(engine, 3):
        decoder.errors = [BatchError("Invalid input batch.")]
        tokens, _ = await collect(engine, CompletionTask(prompt("hello"), n_predict=3))
    assert tokens == continuation(prompt("hello"), 3)
    assert decoder.n_rebuilt == 0


async def test_an_unexpected_failure_gives_every_task_its_end(
    engine: Engine, decoder: FakeDecoder, caplog: pytest.LogCaptureFixture
) -> None:
    decoder.errors = [ZeroDivisionError("a bug")]
    with pytest.raises(EngineError, match="a bug"):
        await collect(engine, CompletionTask(prompt("hello"), n_predict=3))
    assert engine.failed is None
    await collect(engine, CompletionTask(prompt("hello"), n_predict=3))
    assert "the engine's step failed" in caplog.text


async def test_an_engine_that_keeps_failing_gives_up_and_says_so(engine: Engine, decoder: FakeDecoder) -> None:
    decoder.errors = [ZeroDivisionError("a bug")] * 3
    for _ in range(3):
        with pytest.raises(EngineError):
            await collect(engine, CompletionTask(prompt("hello"), n_predict=3))
    for _ in range(100):
        if engine.failed:
            break
        await asyncio.sleep(0.01)
    assert "stopped after repeated failures" in str(engine.failed)
    with pytest.raises(Unavailable, match="the engine has stopped after repeated failures, the last: a bug"):
        engine.submit(CompletionTask(prompt("hello")))


async def test_logits_that_are_not_numbers_fail_their_request_only(engine: Engine, decoder: FakeDecoder) -> None:
    decoder.not_numbers = {ord("!")}
    good = [asyncio.create_task(collect(engine, CompletionTask(prompt(c), n_predict=20, id_slot=0))) for c in "ab"]
    with pytest.raises(EngineError, match="logits are not numbers"):
        await collect(engine, CompletionTask(prompt("hello!"), n_predict=3, id_slot=2))
    assert [(await task)[0] for task in good] == [continuation(prompt(c), 20) for c in "ab"]


async def test_a_task_that_cannot_be_launched_gets_its_end(caplog: pytest.LogCaptureFixture) -> None:
    samplers = FakeSamplerFactory()
    async with fake_engine(samplers=samplers) as engine:
        samplers.error = InvalidRequest("no such sampler")
        with pytest.raises(InvalidRequest, match="no such sampler"):
            await collect(engine, CompletionTask(prompt("hello")))
        samplers.error = ZeroDivisionError("a bug")
        with pytest.raises(EngineError, match="failed to launch"):
            await collect(engine, CompletionTask(prompt("hello")))
        samplers.error = None
        tokens, _ = await collect(engine, CompletionTask(prompt("hello"), n_predict=3))
    assert tokens == continuation(prompt("hello"), 3)


async def test_warming_up_leaves_nothing_behind() -> None:
    decoder = FakeDecoder()
    async with fake_engine(decoder, warmup=True) as engine:
        await engine.wait_until_warm()
        assert (len(decoder.batches), decoder.memory) == (1, [[], [], [], []])
        tokens, _ = await collect(engine, CompletionTask(prompt("hello"), n_predict=3, id_slot=0))
    assert tokens == continuation(prompt("hello"), 3)


async def test_a_model_that_cannot_be_computed_is_an_error_of_the_start() -> None:
    decoder = FakeDecoder()
    decoder.errors = [BatchError("Compute error (-3).", fatal=True)]
    engine = fake_engine(decoder, warmup=True)
    with pytest.raises(ModelError, match="cannot be computed: Compute error"):
        await engine.wait_until_warm()
    assert decoder.closed


async def test_closing_ends_running_and_queued_streams(engine: Engine, decoder: FakeDecoder) -> None:
    decoder.step_seconds = 0.002
    readers = [asyncio.create_task(collect(engine, CompletionTask(prompt(f"{i}")))) for i in range(7)]
    await until_generating(engine, 4)
    await engine.close()
    results = await asyncio.gather(*readers, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 7
    assert decoder.closed


async def test_samplers_are_given_back(decoder: FakeDecoder) -> None:
    engine = fake_engine(decoder)
    await collect(engine, CompletionTask(prompt("hello"), n_predict=3))
    async with engine.submit(CompletionTask(prompt("left"))) as stream:
        async for _ in stream:
            break
    await engine.close()
    assert all(sampler.closed for sampler in engine._samplers.opened)  # type: ignore[attr-defined]


async def test_a_copy_that_fails_costs_its_own_task_only(engine: Engine, decoder: FakeDecoder) -> None:
    shared = "what both of them begin with, at some length. " * 2
    running = asyncio.create_task(collect(engine, CompletionTask(prompt(shared + "one"), n_predict=200)))
    await until_generating(engine, 1)
    decoder.copy_error = EngineError("no memory for a copy")
    with pytest.raises(EngineError, match="no memory for a copy"):
        await collect(engine, CompletionTask(prompt(shared + "two"), n_predict=3))
    decoder.copy_error = None
    tokens, _ = await collect(engine, CompletionTask(prompt(shared + "two"), n_predict=3))
    assert tokens == continuation(prompt(shared + "two"), 3)
    assert (await running)[0] == continuation(prompt(shared + "one"), 200)


async def test_among_many_the_culprit_is_found_by_halves() -> None:
    decoder = FakeDecoder(n_slots=16)
    async with fake_engine(decoder) as engine:
        prompts = [prompt(f"{i:02} is not to blame") for i in range(15)]
        good = [asyncio.create_task(collect(engine, CompletionTask(p, n_predict=40))) for p in prompts]
        await until_generating(engine, 15)
        decoder.poison = ord("!")
        with pytest.raises(EngineError, match="Compute error"):
            await collect(engine, CompletionTask(prompt("poison!"), n_predict=3))
        assert [(await task)[0] for task in good] == [continuation(p, 40) for p in prompts]
        assert decoder.n_rebuilt <= 6


async def test_an_engine_whose_warm_up_fails_in_any_way_says_so() -> None:
    decoder = FakeDecoder()
    decoder.errors = [ZeroDivisionError("a bug")]
    engine = fake_engine(decoder, warmup=True)
    with pytest.raises(ModelError):
        await engine.wait_until_warm()
    assert decoder.closed
