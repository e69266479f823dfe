"""The engine thread over fakes: batching, reuse, cancelling, overflow, failures, stopping."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest
from fakes import EOS, FakeDecoder, FakeSamplerFactory, continuation, fake_engine

from llamahttp.abc import BatchError
from llamahttp.engine import Engine
from llamahttp.errors import ContextExceeded, EngineError, InvalidRequest, ModelError, QueueFull, Unavailable
from llamahttp.task import CacheUse, CompletionTask, Finished, Miss, PromptProgress, SlotState, StopReason, Tokens


@pytest.fixture
def decoder() -> FakeDecoder:
    return FakeDecoder()


@pytest.fixture
async def engine(decoder: FakeDecoder) -> AsyncIterator[Engine]:
    engine = fake_engine(decoder)
    yield engine
    decoder.gate.set()
    await engine.close()


def prompt(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8).astype(np.int32)


async def collect(engine: Engine, task: CompletionTask) -> tuple[list[int], Finished]:
    tokens: list[int] = []
    async with engine.submit(task) as stream:
        async for result in stream:
            match result:
                case Tokens(ids):
                    tokens += ids
                case Finished():
                    return tokens, result
    raise AssertionError("the stream ended without Finished")


async def until_idle(engine: Engine, n_idle: int = 4) -> None:
    for _ in range(200):
        slots = (await engine.snapshot()).slots
        if sum(slot.state is SlotState.IDLE for slot in slots) >= n_idle:
            return
        await asyncio.sleep(0.005)
    raise AssertionError("slots are still busy after a second")


async def until_generating(engine: Engine, n: int) -> None:
    for _ in range(200):
        slots = (await engine.snapshot()).slots
        if sum(slot.state is SlotState.GENERATING for slot in slots) >= n:
            return
        await asyncio.sleep(0.005)
    raise AssertionError("slots do not generate after a second")


async def until_placed(engine: Engine, n: int) -> None:
    for _ in range(200):
        if sum(slot.state is SlotState.PROMPT for slot in (await engine.snapshot()).slots) >= n:
            return
        await asyncio.sleep(0.001)
    raise AssertionError("slots do not compute prompts after a while")


async def test_one_prompt_is_continued_to_the_limit(engine: Engine) -> None:
    tokens, end = await collect(engine, CompletionTask(prompt("hello"), n_predict=10))
    assert tokens == continuation(prompt("hello"), 10)
    assert end.reason is StopReason.LIMIT
    assert (end.timings.n_prompt, end.timings.n_cached, end.timings.n_predicted) == (5, 0, 10)


@pytest.mark.parametrize("n_clients", [4, 13])
async def test_prompts_at_once_do_not_touch_each_other(engine: Engine, n_clients: int) -> None:
    prompts = [prompt(f"conversation {i} " * (1 + 7 * i)) for i in range(n_clients)]
    answers = await asyncio.gather(*(collect(engine, CompletionTask(p, n_predict=30)) for p in prompts))
    for p, (tokens, _) in zip(prompts, answers, strict=True):
        assert tokens == continuation(p, 30)


async def test_running_slots_share_one_batch(engine: Engine, decoder: FakeDecoder) -> None:
    await asyncio.gather(*(collect(engine, CompletionTask(prompt(c * 3), n_predict=20)) for c in "abcd"))
    assert max(len({row[0] for row in batch}) for batch in decoder.batches) == 4


async def test_end_token_ends_and_is_delivered(engine: Engine, decoder: FakeDecoder) -> None:
    decoder.end_after = 8
    tokens, end = await collect(engine, CompletionTask(prompt("hello")))
    assert tokens[-1] == EOS
    assert tokens[:-1] == continuation(prompt("hello"), 3)
    assert end.reason is StopReason.EOS


async def test_no_token_is_generated_when_none_is_wanted(engine: Engine, decoder: FakeDecoder) -> None:
    tokens, end = await collect(engine, CompletionTask(prompt("hello"), n_predict=0))
    assert tokens == []
    assert (end.reason, end.n_past) == (StopReason.LIMIT, 5)


async def test_all_at_the_end_is_the_same_text(engine: Engine) -> None:
    tokens, _ = await collect(engine, CompletionTask(prompt("hello"), n_predict=40, stepwise=False))
    assert tokens == continuation(prompt("hello"), 40)


async def test_without_steps_there_is_one_delivery(engine: Engine) -> None:
    async with engine.submit(CompletionTask(prompt("hello"), n_predict=40, stepwise=False)) as stream:
        results = [result async for result in stream]
    assert [type(result) for result in results] == [Tokens, Finished]


async def test_a_full_slot_ends_with_context(decoder: FakeDecoder) -> None:
    async with fake_engine(FakeDecoder(n_ctx=64)) as engine:
        tokens, end = await collect(engine, CompletionTask(prompt("x" * 50)))
    assert end.reason is StopReason.CONTEXT
    assert tokens == continuation(prompt("x" * 50), 14)


async def test_the_next_turn_computes_only_what_is_new(engine: Engine, decoder: FakeDecoder) -> None:
    first = prompt("You are kind. Hello!")
    tokens, _ = await collect(engine, CompletionTask(first, n_predict=10))
    second = np.concatenate((first, np.array(tokens, np.int32), prompt(" And then?")))
    decoder.batches.clear()
    answer, end = await collect(engine, CompletionTask(second, n_predict=5))
    assert answer == continuation(second, 5)
    assert end.timings.n_cached == len(first) + 9  # the last sampled token was never evaluated
    assert sum(len(batch) for batch in decoder.batches) == len(second) - end.timings.n_cached + 4


async def test_the_same_prompt_again_computes_its_last_token(engine: Engine) -> None:
    await collect(engine, CompletionTask(prompt("again and again"), n_predict=3))
    tokens, end = await collect(engine, CompletionTask(prompt("again and again"), n_predict=3))
    assert tokens == continuation(prompt("again and again"), 3)
    assert (end.timings.n_cached, end.timings.n_prompt) == (14, 1)


async def test_cache_prompt_false_computes_everything(engine: Engine) -> None:
    await collect(engine, CompletionTask(prompt("again"), n_predict=3))
    _, end = await collect(engine, CompletionTask(prompt("again"), n_predict=3, cache_prompt=False))
    assert end.timings.n_cached == 0


async def test_a_conversation_is_not_overwritten_while_another_slot_is_free(engine: Engine) -> None:
    talk = prompt("a long conversation that somebody will come back to")
    await collect(engine, CompletionTask(talk, n_predict=3))
    await collect(engine, CompletionTask(prompt("a"), n_predict=1))
    await collect(engine, CompletionTask(prompt("something else entirely"), n_predict=3))
    _, end = await collect(engine, CompletionTask(talk, n_predict=3))
    assert end.timings.n_cached == len(talk) - 1


async def test_leaving_while_generating_frees_the_slot(engine: Engine, decoder: FakeDecoder) -> None:
    async with engine.submit(CompletionTask(prompt("endless"))) as stream:
        async for _ in stream:
            break
    await until_idle(engine)


async def test_leaving_in_the_middle_of_a_long_prompt_frees_the_slot(engine: Engine, decoder: FakeDecoder) -> None:
    decoder.step_seconds = 0.01
    async with engine.submit(CompletionTask(prompt("x" * 4000), progress=True)) as stream:
        async for result in stream:
            assert isinstance(result, PromptProgress)
            break
    await until_idle(engine)
    assert sum(len(batch) for batch in decoder.batches) < 2000


async def test_leaving_while_queued_costs_nothing(engine: Engine, decoder: FakeDecoder) -> None:
    decoder.step_seconds = 0.002
    async with KeptBusy(engine, 4):
        queued = engine.submit(CompletionTask(prompt("queued and gone")))
        assert (await engine.snapshot()).n_waiting == 1
        queued.close()
        assert (await engine.snapshot()).n_waiting == 0


async def test_leaving_does_not_disturb_the_others(engine: Engine, decoder: FakeDecoder) -> None:
    stays = asyncio.create_task(collect(engine, CompletionTask(prompt("stays"), n_predict=300)))
    for i in range(20):
        async with engine.submit(CompletionTask(prompt(f"leaves {i}"))) as stream:
            async for _ in stream:
                break
    tokens, _ = await stays
    assert tokens == continuation(prompt("stays"), 300)


async def test_stop_keeps_what_the_reader_wants(engine: Engine) -> None:
    async with engine.submit(CompletionTask(prompt("hello"))) as stream:
        seen = 0
        async for result in stream:
            match result:
                case Tokens(ids):
                    seen += len(ids)
                    if seen == 5:
                        stream.stop(3)
                case Finished() as end:
                    assert (end.reason, end.timings.n_predicted) == (StopReason.CALLER, 3)
    await until_idle(engine)


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
    async with fake_engine(decoder) as engine:
        decoder.gate.clear()  # both begin together
        low = asyncio.create_task(collect(engine, CompletionTask(prompt("l" * 100), n_predict=90, priority=1)))
        usual = asyncio.create_task(collect(engine, CompletionTask(prompt("u" * 100), n_predict=110)))
        await asyncio.sleep(0.01)
        decoder.gate.set()
        assert (await usual)[0] == continuation(prompt("u" * 100), 110)
        assert not low.done()
        assert (await low)[0] == continuation(prompt("l" * 100), 90)
        assert (await engine.snapshot()).stats.n_preempted >= 1


async def test_a_task_that_waits_too_long_for_a_slot_is_refused() -> None:
    async with fake_engine(FakeDecoder(n_slots=1), queue_timeout=0.05) as engine, KeptBusyOnce(engine):
        with pytest.raises(Unavailable, match=r"no slot became free within 0.05 s \(--queue") as caught:
            await collect(engine, CompletionTask(prompt("waits")))
        assert caught.value.retry_after is not None


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


class KeptBusy:
    """Keep `n` endless tasks running."""

    def __init__(self, engine: Engine, n: int) -> None:
        self._engine = engine
        self._n = n
        self._streams: Sequence = ()

    async def __aenter__(self) -> None:
        self._streams = [self._engine.submit(CompletionTask(prompt(f"busy {i}"))) for i in range(self._n)]
        await until_generating(self._engine, self._n)

    async def __aexit__(self, *_: object) -> None:
        for stream in self._streams:
            stream.close()


class KeptBusyOnce(KeptBusy):
    """Keep the only slot busy."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, 1)


# --- what tasks share


async def test_a_common_prefix_is_computed_once_by_all_who_come_at_the_same_time() -> None:
    decoder = FakeDecoder(n_slots=8, n_batch=64)
    prefix = "a long instruction that all of them begin with, " * 8
    prompts = [prompt(prefix + f"and question {i}") for i in range(8)]
    async with fake_engine(decoder) as engine:
        answers = await asyncio.gather(*(collect(engine, CompletionTask(p, n_predict=5)) for p in prompts))
    for p, (tokens, _) in zip(prompts, answers, strict=True):
        assert tokens == continuation(p, 5)
    n_rows = sum(len(batch) for batch in decoder.batches)
    assert n_rows < len(prefix) + 8 * (len(prompts[0]) - len(prefix) + 5) + 8
    assert sum(end.timings.cache.resident for _, end in answers) >= 7 * len(prefix)


@pytest.mark.parametrize("kv_unified", [True, False])
async def test_a_prefix_of_a_busy_slot_is_shared(kv_unified: bool) -> None:
    decoder = FakeDecoder(kv_unified=kv_unified)
    shared = "the same beginning of all that is said here. " * 3
    async with fake_engine(decoder) as engine:
        async with engine.submit(CompletionTask(prompt(shared + "endless"))):
            await until_generating(engine, 1)
            p = prompt(shared + "and an end")
            tokens, end = await collect(engine, CompletionTask(p, n_predict=5))
    assert tokens == continuation(p, 5)
    assert end.timings.cache == CacheUse(resident=len(shared), miss=Miss.DIVERGED)


async def test_several_answers_to_one_prompt_share_it(engine: Engine, decoder: FakeDecoder) -> None:
    p = prompt("one question, asked many times over " * 10)
    answers = await asyncio.gather(*(collect(engine, CompletionTask(p, n_predict=5)) for _ in range(10)))
    assert all(tokens == continuation(p, 5) for tokens, _ in answers)
    assert sum(len(batch) for batch in decoder.batches) < len(p) + 10 * 6


@pytest.mark.parametrize("salt", ["bob", ""])
async def test_another_salt_shares_nothing(engine: Engine, salt: str) -> None:
    await collect(engine, CompletionTask(prompt("who am I?" * 9), n_predict=3, salt="alice"))
    _, end = await collect(engine, CompletionTask(prompt("who am I?" * 9), n_predict=3, salt=salt))
    assert (end.timings.n_cached, end.timings.cache.miss) == (0, Miss.NEW)


async def test_nobody_gets_the_memory_of_another_salt_after_a_prompt_was_left_at_once() -> None:
    """Its sequence was still known by a prompt of which nothing had been computed, whatever it held later."""
    decoder = FakeDecoder(n_slots=2)
    decoder.step_seconds = 0.005
    secret = CompletionTask(prompt("secret " * 100), n_predict=3, salt="bob")
    async with fake_engine(decoder, target_step_ms=1) as engine:
        shorter = asyncio.create_task(collect(engine, CompletionTask(prompt("computed first " * 40), n_predict=3)))
        async with engine.submit(secret):
            await until_placed(engine, 2)
        await shorter
        await collect(engine, CompletionTask(secret.prompt[:-6], n_predict=1, salt="alice"))
        tokens, end = await collect(engine, secret)
    assert tokens == continuation(secret.prompt, 3)
    assert end.timings.cache == CacheUse(miss=Miss.NEW)


async def test_a_task_with_adapters_never_reuses_what_was_computed_without_them() -> None:
    """llama-server goes on with the adapter's cells after a request with a LoRA, and the other way round."""
    decoder = FakeDecoder()
    async with fake_engine(decoder, loras=2) as engine:
        p = prompt("the same prompt for both of them")
        plain = CompletionTask(p, n_predict=3)
        adapted = CompletionTask(p, n_predict=3, adapters=((0, 1.0),))
        for task in (plain, adapted, plain, adapted):
            await collect(engine, task)
        misses = dict((await engine.snapshot()).stats.misses)
    assert decoder.adapters == [(), ((0, 1.0),), (), ((0, 1.0),)]
    assert misses == {Miss.NEW: 2, Miss.NONE: 2}


async def test_the_first_task_without_adapters_gets_none() -> None:
    """A fresh context applies every adapter that it was opened with, also after it was made anew."""
    decoder = FakeDecoder()
    async with fake_engine(decoder, loras=1) as engine:
        await collect(engine, CompletionTask(prompt("plain"), n_predict=2))
        assert decoder.adapters == [()]
        decoder.errors = [BatchError("Compute error (-3).", fatal=True)]
        with pytest.raises(EngineError, match="Compute error"):
            await collect(engine, CompletionTask(prompt("unlucky"), n_predict=2))
        await collect(engine, CompletionTask(prompt("plain"), n_predict=2))
    assert decoder.adapters == [(), ()]


async def test_tasks_with_different_adapters_take_turns() -> None:
    decoder = FakeDecoder()
    async with fake_engine(decoder, loras=2) as engine:
        async with (
            engine.submit(CompletionTask(prompt("endless"))),
            engine.submit(CompletionTask(prompt("endless"), adapters=((1, 0.5),))),
        ):
            await until_generating(engine, 2)
            tokens, _ = await collect(engine, CompletionTask(prompt("hello"), n_predict=5, adapters=((0, 1.0),)))
    assert tokens == continuation(prompt("hello"), 5)


async def test_a_slot_that_is_pinned_and_busy_keeps_its_own_memory() -> None:
    """llama-server exchanges the memory of a running slot for what it has cached for the task that waits for it."""
    decoder = FakeDecoder()
    async with fake_engine(decoder, cache_ram=64) as engine:
        other = prompt("a conversation of somebody else " * 4)
        await collect(engine, CompletionTask(other, n_predict=3))
        mine = asyncio.create_task(collect(engine, CompletionTask(prompt("mine " * 20), n_predict=60, id_slot=0)))
        await until_generating(engine, 1)
        theirs = await collect(engine, CompletionTask(other, n_predict=30, id_slot=0))
        assert (await mine)[0] == continuation(prompt("mine " * 20), 60)
        assert theirs[0] == continuation(other, 30)


async def test_a_conversation_outlives_its_slot_in_spare_sequences() -> None:
    async with fake_engine(FakeDecoder(n_slots=2, n_spare=6)) as engine:
        talks = [prompt(f"conversation {i}, which somebody will come back to") for i in range(5)]
        for talk in talks:
            await collect(engine, CompletionTask(talk, n_predict=3))
        for talk in talks:
            _, end = await collect(engine, CompletionTask(talk, n_predict=3))
            assert (end.timings.n_cached, end.timings.cache.miss) == (len(talk) - 1, Miss.NONE)


async def test_a_chat_loses_nothing_to_another_that_begins_alike_where_each_slot_has_its_own_memory() -> None:
    system, questions = "instructions that both chats begin with, " * 4, [f"question {i}? " * 5 for i in range(2)]
    async with fake_engine(FakeDecoder(kv_unified=False)) as engine:
        for question in questions:
            await collect(engine, CompletionTask(prompt(system + question), n_predict=1))
        for question in questions:
            _, end = await collect(engine, CompletionTask(prompt(system + question + "And then?"), n_predict=1))
            assert end.timings.n_cached == len(system + question)


async def test_what_a_full_memory_has_no_room_for_is_stored() -> None:
    """The only slot goes on with another chat that begins alike, again and again, without ever being idle."""
    system, questions = "instructions that both chats begin with, " * 4, [f"question {i}? " * 5 for i in range(2)]
    async with fake_engine(FakeDecoder(n_slots=1, kv_unified=False), cache_ram=64) as engine:
        prompts = [prompt(system + question) for question in questions * 3]
        answers = await asyncio.gather(*(collect(engine, CompletionTask(p, n_predict=1)) for p in prompts))
    assert [end.timings.n_cached for _, end in answers[2:]] == [len(p) - 1 for p in prompts[2:]]


async def test_a_server_that_stops_gives_the_disk_what_it_held(tmp_path: Path) -> None:
    prompts = [prompt(f"{i}, a chat that goes on after the restart " * 8) for i in range(3)]
    for n_cached in (0, len(prompts[0]) - 1):
        async with fake_engine(FakeDecoder(), cache_disk=tmp_path) as engine:
            answers = [await collect(engine, CompletionTask(p, n_predict=1)) for p in prompts]
        assert [end.timings.n_cached for _, end in answers] == [n_cached] * 3


# --- memory that cannot be cut


async def test_a_turn_boundary_is_where_memory_that_cannot_be_cut_goes_back_to() -> None:
    decoder = FakeDecoder(can_cut=False)
    first = prompt("You are kind, and long in your instructions. Hello!")
    async with fake_engine(decoder) as engine:
        await collect(engine, CompletionTask(first, n_predict=10, turns=(45,)))
        second = np.concatenate((first[:45], prompt("Something else.")))
        tokens, end = await collect(engine, CompletionTask(second, n_predict=5))
    assert tokens == continuation(second, 5)
    assert end.timings.cache == CacheUse(resident=45, miss=Miss.DIVERGED)


async def test_memory_that_cannot_be_cut_learns_where_prompts_part() -> None:
    decoder = FakeDecoder(can_cut=False)
    shared = "instructions that every prompt begins with, without any turn. "
    ends = []
    async with fake_engine(decoder) as engine:
        for question in ("First?", "Second?", "Third?"):
            p = prompt(shared + question)
            tokens, end = await collect(engine, CompletionTask(p, n_predict=5))
            assert tokens == continuation(p, 5)
            ends.append((end.timings.n_cached, end.timings.cache.miss))
    assert ends == [(0, Miss.NEW), (0, Miss.CHECKPOINT), (len(shared), Miss.DIVERGED)]


async def test_the_same_prompt_again_costs_one_token_even_if_memory_cannot_be_cut() -> None:
    async with fake_engine(FakeDecoder(can_cut=False)) as engine:
        for n_cached in (0, 49, 49):
            tokens, end = await collect(engine, CompletionTask(prompt("again" * 10), n_predict=5))
            assert tokens == continuation(prompt("again" * 10), 5)
            assert end.timings.n_cached == n_cached


async def test_tasks_at_once_share_a_prefix_of_memory_that_cannot_be_cut() -> None:
    decoder = FakeDecoder(n_slots=4, n_batch=64, can_cut=False)
    prefix = "a long instruction that all of them begin with, " * 8
    prompts = [prompt(prefix + f"{i} is the question") for i in range(4)]
    async with fake_engine(decoder) as engine:
        answers = await asyncio.gather(*(collect(engine, CompletionTask(p, n_predict=5)) for p in prompts))
    for p, (tokens, _) in zip(prompts, answers, strict=True):
        assert tokens == continuation(p, 5)
    assert sum(len(batch) for batch in decoder.batches) < 2 * len(prefix)


# --- shifts


async def test_a_full_context_drops_its_older_half_and_goes_on() -> None:
    async with fake_engine(FakeDecoder(n_ctx=64), context_shift=True) as engine:
        p = prompt("keep" + "x" * 40)
        tokens, end = await collect(engine, CompletionTask(p, n_predict=100, n_keep=4))
        assert (end.reason, end.timings.n_predicted, end.is_truncated) == (StopReason.LIMIT, 100, True)
        # 63 are evaluated when the context is full: 4 are kept, of the other 59 the older 29 go
        history = [*p, *continuation(p, 20)]
        history = history[:4] + history[33:]
        assert tokens[20:30] == continuation(history, 10)
        again, end = await collect(engine, CompletionTask(p, n_predict=10))
        assert again == continuation(p, 10), "what was shifted is no prefix of anything"
        assert end.timings.n_cached == 0


async def test_a_shift_does_not_move_what_others_share() -> None:
    decoder = FakeDecoder(n_ctx=400, n_slots=2)
    shared = "a beginning that both of them have in common " * 3
    async with fake_engine(decoder, context_shift=True, n_ctx_slot=200) as engine:
        shifts = asyncio.create_task(collect(engine, CompletionTask(prompt(shared + "one"), n_predict=120)))
        await until_generating(engine, 1)
        p = prompt(shared + "two")
        tokens, _ = await collect(engine, CompletionTask(p, n_predict=60))
        assert tokens == continuation(p, 60)
        assert (await shifts)[1].is_truncated


async def test_equal_parts_of_a_prompt_are_moved_where_the_request_wants_it(engine: Engine) -> None:
    first = prompt("head. " + "first part. " * 3 + "second part! " * 4)
    await collect(engine, CompletionTask(first, n_predict=1, n_cache_reuse=20))
    moved = prompt("head. " + "second part! " * 4 + "question?")
    _, end = await collect(engine, CompletionTask(moved, n_predict=5, n_cache_reuse=20))
    assert end.timings.n_cached >= len("head. " + "second part! " * 4) - 1


# --- below the memory


async def test_what_was_evicted_comes_back_from_ram() -> None:
    decoder = FakeDecoder(n_ctx=2000, n_slots=1, n_spare=3)
    async with fake_engine(decoder, cache_ram=64) as engine:
        talks = [prompt(f"{i}: " + "a talk that is longer than a block of the store, " * 10) for i in range(6)]
        for talk in talks:
            await collect(engine, CompletionTask(talk, n_predict=3))
        for talk in talks:
            tokens, end = await collect(engine, CompletionTask(talk, n_predict=3))
            assert tokens == continuation(talk, 3)
            assert (end.timings.n_cached, end.timings.cache.miss) == (len(talk) - 1, Miss.NONE)
            assert end.timings.cache.ram > 0


async def test_a_block_comes_back_only_when_there_is_room_for_all_of_it() -> None:
    decoder = FakeDecoder(n_ctx=700, n_slots=2, n_spare=2)
    decoder.step_seconds = 0.001
    talk, other = prompt("A talk that is stored as a block, " * 9), prompt("another one, " * 35)
    async with fake_engine(decoder, cache_ram=64) as engine:
        for text in (talk, prompt("What leaves no room for it. " * 24)):
            await collect(engine, CompletionTask(text, n_predict=1))
        runs = asyncio.create_task(collect(engine, CompletionTask(other, n_predict=30)))
        await until_generating(engine, 1)
        beginning = np.concatenate((talk[:130], prompt(" but another end")))
        _, end = await collect(engine, CompletionTask(beginning, n_predict=1))
        assert (end.timings.cache.ram, end.timings.cache.miss) == (130, Miss.DIVERGED)
        await runs


@pytest.mark.parametrize("can_cut", [True, False])
async def test_what_was_evicted_comes_back_whole_where_streams_are_separate(can_cut: bool) -> None:
    decoder = FakeDecoder(n_slots=1, kv_unified=False, can_cut=can_cut)
    async with fake_engine(decoder, cache_ram=64) as engine:
        talks = [prompt(f"{i}: " + "a talk that somebody comes back to, " * 10) for i in range(3)]
        for talk in talks:
            await collect(engine, CompletionTask(talk, n_predict=3))
        for talk in talks:
            tokens, end = await collect(engine, CompletionTask(talk, n_predict=3))
            assert tokens == continuation(talk, 3)
            assert (end.timings.cache.ram, end.timings.cache.miss) == (len(talk) - 1, Miss.NONE)


async def test_a_new_server_finds_on_disk_what_the_old_one_computed(tmp_path: Path) -> None:
    talk = prompt("a talk that outlives the process that computed it, " * 10)
    for disk in (0, len(talk) - 1):
        async with fake_engine(FakeDecoder(n_spare=3), cache_ram=64, cache_disk=tmp_path) as engine:
            tokens, end = await collect(engine, CompletionTask(talk, n_predict=3))
            assert tokens == continuation(talk, 3)
            assert end.timings.cache.disk == disk
            while (await engine.snapshot()).stats.disk_bytes < 4 * len(talk):
                await asyncio.sleep(0.01)


async def test_a_state_that_does_not_come_back_is_computed_again() -> None:
    decoder = FakeDecoder(n_slots=1, kv_unified=False)
    async with fake_engine(decoder, cache_ram=64) as engine:
        first, second = prompt("first of the two talks " * 9), prompt("second of the two talks " * 9)
        await collect(engine, CompletionTask(first, n_predict=3))
        await collect(engine, CompletionTask(second, n_predict=3))
        decoder.restores = False
        tokens, end = await collect(engine, CompletionTask(first, n_predict=3))
    assert tokens == continuation(first, 3)
    assert (end.timings.n_cached, end.timings.cache.miss) == (0, Miss.STORAGE)


# --- slot files


async def test_a_saved_slot_is_really_reused_after_a_restart(tmp_path: Path) -> None:
    talk = prompt("a talk that is saved by hand, " * 5)
    async with fake_engine() as engine:
        await collect(engine, CompletionTask(talk, n_predict=3, id_slot=2))
        saved = await engine.save_slot(2, tmp_path / "talk")
        assert saved.n_tokens == len(talk) + 2
        assert saved.n_bytes == (tmp_path / "talk").stat().st_size
        assert await engine.erase_slot(2) == len(talk) + 2
        assert await engine.erase_slot(2) == 0
        _, end = await collect(engine, CompletionTask(talk, n_predict=3))
        assert end.timings.n_cached == 0
    async with fake_engine() as engine:
        restored = await engine.restore_slot(1, tmp_path / "talk")
        assert (restored.n_tokens, restored.n_bytes) == (saved.n_tokens, saved.n_bytes)
        tokens, end = await collect(engine, CompletionTask(talk, n_predict=3))
        assert tokens == continuation(talk, 3)
        assert end.timings.n_cached == len(talk) - 1


async def test_a_slot_action_waits_until_the_slot_is_idle(engine: Engine, tmp_path: Path) -> None:
    async with engine.submit(CompletionTask(prompt("endless"), id_slot=0)):
        await until_generating(engine, 1)
        saving = asyncio.create_task(engine.save_slot(0, tmp_path / "talk"))
        await asyncio.sleep(0.02)
        assert not saving.done()
    assert (await saving).n_tokens >= 7


@pytest.mark.parametrize("id_slot", [-1, 4])
async def test_slot_actions_name_a_slot_that_is_not_there(engine: Engine, tmp_path: Path, id_slot: int) -> None:
    for action in (engine.save_slot(id_slot, tmp_path / "x"), engine.restore_slot(id_slot, tmp_path / "x")):
        with pytest.raises(InvalidRequest, match=f"id_slot must be between 0 and 3, but got {id_slot}"):
            await action


async def test_a_bad_slot_file_changes_nothing(engine: Engine, tmp_path: Path) -> None:
    talk = prompt("a talk that is saved by hand, " * 5)
    await collect(engine, CompletionTask(talk, n_predict=3, id_slot=2))
    await engine.save_slot(2, tmp_path / "talk")
    content = (tmp_path / "talk").read_bytes()
    (tmp_path / "cut").write_bytes(content[:-10])
    (tmp_path / "foreign").write_bytes(b"GGUF" + content)
    before = (await engine.snapshot()).slots
    for name in ("cut", "foreign", "missing"):
        with pytest.raises(InvalidRequest):
            await engine.restore_slot(2, tmp_path / name)
    assert (await engine.snapshot()).slots == before
    _, end = await collect(engine, CompletionTask(talk, n_predict=3))
    assert end.timings.n_cached == len(talk) - 1


# --- everything at once


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["unified", "streams", "uncut"])
async def test_no_token_ever_belongs_to_another_conversation(seed: int, kind: str, tmp_path: Path) -> None:
    """The fake model's next token depends on every token before it, so any mix-up shows."""
    random = Random(seed)
    decoder = FakeDecoder(
        n_ctx=700,
        n_slots=5,
        n_batch=96,
        n_spare=6 if kind == "unified" else 0,
        kv_unified=kind != "streams",
        can_cut=kind != "uncut",
    )
    beginnings = [f"system {i}: " + "be brief and kind. " * random.randint(1, 8) for i in range(3)]

    async def talk(engine: Engine, i: int) -> None:
        history = prompt(random.choice(beginnings) + f"user {i} ")
        salt = random.choice(["", "", "salted"])
        for _ in range(random.randint(1, 5)):
            task = CompletionTask(
                history,
                n_predict=random.randint(1, 40),
                salt=salt,
                turns=(len(history) - 5,),
                priority=random.randint(-1, 1),
                cache_prompt=random.random() < 0.9,
            )
            if random.random() < 0.15:
                async with engine.submit(task) as stream:
                    async for _ in stream:
                        break
                continue
            tokens, _ = await collect(engine, task)
            assert tokens == continuation(history, task.n_predict)
            history = np.concatenate((history, np.array(tokens, np.int32), prompt(random.choice(["yes? ", "no! "]))))
            if len(history) > 500:
                return

    async with fake_engine(decoder, cache_ram=1, cache_disk=tmp_path) as engine:
        await asyncio.gather(*(talk(engine, i) for i in range(16)))
        await until_idle(engine, 5)
        stats = (await engine.snapshot()).stats
        if kind == "unified":
            assert stats.n_cells_used == decoder.n_used


# --- one for the others


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


async def test_what_was_shifted_is_never_stored_not_even_when_preempted() -> None:
    """Its memory has seen tokens that its text does not tell of any more."""
    decoder = FakeDecoder(n_ctx=160, n_slots=2, n_spare=3)
    async with fake_engine(decoder, cache_ram=64, context_shift=True, n_ctx_slot=96) as engine:
        shifted = asyncio.create_task(collect(engine, CompletionTask(prompt("s" * 80), n_predict=200, priority=1)))
        await until_generating(engine, 1)
        for i in range(4):
            await collect(engine, CompletionTask(prompt(f"{i}" * 90), n_predict=4, priority=-1))
        tokens, end = await shifted
        assert end.is_truncated
        assert len(tokens) == 200
        again, _ = await collect(engine, CompletionTask(prompt("s" * 80), n_predict=10))
        assert again == continuation(prompt("s" * 80), 10)


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


async def test_slot_actions_that_pile_up_are_refused_and_the_abandoned_are_dropped(
    engine: Engine, tmp_path: Path
) -> None:
    async with engine.submit(CompletionTask(prompt("endless"), id_slot=0)):
        await until_generating(engine, 1)
        waiting = [asyncio.create_task(engine.erase_slot(0)) for _ in range(4)]
        await asyncio.sleep(0.02)
        with pytest.raises(QueueFull, match="4 actions wait for slot 0 already"):
            await engine.erase_slot(0)
        for task in waiting[:3]:
            task.cancel()
        await asyncio.sleep(0.02)
        saving = asyncio.create_task(engine.save_slot(0, tmp_path / "talk"))
        await asyncio.sleep(0.02)
        assert not saving.done()
    assert await waiting[3] >= 7
    with pytest.raises(InvalidRequest, match="holds nothing"):
        await saving


async def test_an_engine_whose_warm_up_fails_in_any_way_says_so() -> None:
    decoder = FakeDecoder()
    decoder.errors = [ZeroDivisionError("a bug")]
    engine = fake_engine(decoder, warmup=True)
    with pytest.raises(ModelError):
        await engine.wait_until_warm()
    assert decoder.closed
