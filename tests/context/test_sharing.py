"""What tasks share and what they must not: prefixes, adapters, salts, memory that cannot be cut, shifts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeDecoder, continuation, fake_engine
from tasks import collect, prompt, until_generating, until_placed

from llamahttp.abc import BatchError
from llamahttp.engine import Engine
from llamahttp.errors import EngineError
from llamahttp.task import CacheUse, CompletionTask, Miss, StopReason


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
