"""The engine thread over fakes: batching, reuse, cancelling, overflow, failures, stopping."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest
from fakes import EOS, FakeDecoder, FakeSamplerFactory, continuation, fake_engine

from llamahttp.abc import BatchError
from llamahttp.engine import Engine
from llamahttp.errors import ContextExceeded, EngineError, InvalidRequest, ModelError, QueueFull, Unavailable
from llamahttp.task import CompletionTask, Finished, PromptProgress, SlotState, StopReason, Tokens


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


async def test_a_memory_that_cannot_be_cut_is_computed_anew(engine: Engine, decoder: FakeDecoder) -> None:
    decoder.can_remove_parts = False
    await collect(engine, CompletionTask(prompt("again and again"), n_predict=3))
    tokens, end = await collect(engine, CompletionTask(prompt("again and again"), n_predict=3))
    assert tokens == continuation(prompt("again and again"), 3)
    assert end.timings.n_cached == 0


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
    decoder = FakeDecoder(n_seq_max=1)
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
        (CompletionTask(prompt("")), "the prompt is empty"),
        (CompletionTask(np.array([65, 257], np.int32)), "prompt token 1 is 257, .* vocabulary of 257"),
        (CompletionTask(np.array([-1], np.int32)), "prompt token 0 is -1"),
        (CompletionTask(prompt("a"), id_slot=4), "id_slot must be between -1 and 3, but got 4"),
    ],
)
async def test_wrong_tasks_are_refused(engine: Engine, task: CompletionTask, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        engine.submit(task)


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


async def test_a_full_cache_fails_the_youngest_and_the_others_go_on() -> None:
    async with fake_engine(FakeDecoder(n_ctx=300)) as engine:
        old = asyncio.create_task(collect(engine, CompletionTask(prompt("o" * 100), n_predict=90)))
        await until_generating(engine, 1)
        with pytest.raises(EngineError, match="Context size has been exceeded"):
            await collect(engine, CompletionTask(prompt("y" * 100), n_predict=150))
        tokens, _ = await old
        assert tokens == continuation(prompt("o" * 100), 90)


async def test_a_failed_decode_fails_its_requests_and_the_next_one_works(engine: Engine, decoder: FakeDecoder) -> None:
    decoder.errors = [BatchError("Compute error (-3).", fatal=True)]
    with pytest.raises(EngineError, match="Compute error"):
        await collect(engine, CompletionTask(prompt("hello"), n_predict=3))
    tokens, _ = await collect(engine, CompletionTask(prompt("hello"), n_predict=3))
    assert tokens == continuation(prompt("hello"), 3)


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
    with pytest.raises(Unavailable):
        engine.submit(CompletionTask(prompt("hello")))


async def test_logits_that_are_not_numbers_fail_their_request_only(engine: Engine, decoder: FakeDecoder) -> None:
    decoder.not_numbers = {2}
    good = [asyncio.create_task(collect(engine, CompletionTask(prompt(c), n_predict=20, id_slot=0))) for c in "ab"]
    with pytest.raises(EngineError, match="logits are not numbers"):
        await collect(engine, CompletionTask(prompt("hello"), n_predict=3, id_slot=2))
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
    assert done == [256, 512, 600]


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
