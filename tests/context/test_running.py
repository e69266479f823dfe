"""Tasks over fakes: batching, reuse by the next turn, limits, leaving."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from fakes import EOS, FakeDecoder, continuation, fake_engine
from tasks import KeptBusy, collect, prompt, until_idle

from llamahttp.engine import Engine
from llamahttp.task import CompletionTask, Finished, PromptProgress, StopReason, Tokens


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
