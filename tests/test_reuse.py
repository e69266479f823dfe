"""Reuse on every kind of memory: how much of a prompt is not computed again, from which tier, and that every answer is
what it is without any cache."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llamahttp import Engine
from llamahttp.cache.resident import MIN_SHARED
from llamahttp.task import CacheUse, Miss, SlotState

from .conversations import (
    CUTTABLE,
    OPENING,
    Answer,
    Memory,
    ask,
    cancel_after,
    join,
    take_turn,
    words,
)

SYSTEM = words(330, seed=10)
"""What every chat begins with; longer than what a sliding window's cache holds, where it does not hold everything."""
MESSAGES = [words(40 + 3 * i, seed=20 + i) for i in range(16)]

STATEFUL = ("recurrent", "hybrid", "hybrid-separate")
WINDOWED = ("window", "window-separate", "window-full")
POOLED = ("dense", "window", "window-full", "hybrid")
"""Kinds whose sequences compete for cells."""


def of_kinds(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("memory", kinds, indirect=True)


@pytest.fixture
async def engine(memory: Memory) -> AsyncIterator[Engine]:
    async with await memory.open() as engine:
        yield engine


@pytest.fixture
async def first(engine: Engine) -> Answer:
    """The first turn of a chat; the others need SYSTEM no more."""
    return await take_turn(engine, SYSTEM, MESSAGES[0])


async def until_generating(engine: Engine) -> None:
    for _ in range(1000):
        if any(slot.state is SlotState.GENERATING for slot in (await engine.snapshot()).slots):
            return
        await asyncio.sleep(0.001)
    raise AssertionError("no slot generates")


# --- one chat


async def test_a_chat_that_goes_on_computes_its_last_turn_only(memory: Memory, engine: Engine) -> None:
    history = SYSTEM[:100]
    for i, message in enumerate(MESSAGES[:8]):
        answer = await take_turn(engine, history, message)
        memory.judge.check(answer)
        if i > 0:  # the last token of the last answer has not been computed yet
            assert answer.timings.cache == CacheUse(resident=len(history) - 1, miss=Miss.DIVERGED)
        history = answer.text


async def test_an_answer_that_was_edited(memory: Memory, engine: Engine, first: Answer) -> None:
    edited = join(first.task.prompt, first.ids[:3])
    answer = await take_turn(engine, edited, MESSAGES[1])
    memory.judge.check(first, answer)
    if memory.name in STATEFUL:
        assert answer.timings.n_cached == first.task.turns[-1]
        assert answer.timings.cache.miss is Miss.CHECKPOINT
    else:
        assert answer.timings.n_cached == len(edited)


async def test_a_message_that_was_edited(memory: Memory, engine: Engine, first: Answer) -> None:
    answer = await take_turn(engine, SYSTEM, MESSAGES[1])
    memory.judge.check(first, answer)
    assert answer.timings.cache == CacheUse(resident=len(SYSTEM), miss=Miss.DIVERGED)


async def test_a_prompt_that_parts_in_its_first_tokens(memory: Memory, engine: Engine, first: Answer) -> None:
    answer = await take_turn(engine, SYSTEM[:3], words(60, seed=5))
    memory.judge.check(first, answer)
    assert answer.timings.n_cached == (3 if memory.name in (*CUTTABLE, "window-full") else 0)
    assert answer.timings.cache.miss is (Miss.DIVERGED if answer.timings.n_cached else Miss.CHECKPOINT)


async def test_another_answer_to_the_same_prompt(memory: Memory, engine: Engine, first: Answer) -> None:
    answers = [await take_turn(engine, SYSTEM, MESSAGES[0], n_predict=20) for _ in range(3)]
    memory.judge.check(first, *answers)
    n_second = len(OPENING) if memory.name in STATEFUL else 1  # which also learns where prompts part
    assert [answer.timings.n_prompt for answer in answers] == [n_second, 1, 1]


async def test_two_chats_that_begin_alike_take_turns(memory: Memory, engine: Engine, first: Answer) -> None:
    second = await take_turn(engine, SYSTEM, MESSAGES[1])
    for message in MESSAGES[2:6]:
        first, second = [await take_turn(engine, chat.text, message) for chat in (first, second)]
        memory.judge.check(first, second)
        assert first.timings.n_prompt == second.timings.n_prompt == 1 + len(message) + len(OPENING)


# --- many at once


async def test_several_answers_to_one_prompt_at_once(memory: Memory, engine: Engine) -> None:
    answers = await asyncio.gather(*(take_turn(engine, SYSTEM, MESSAGES[0], n_predict=4 + i) for i in range(8)))
    memory.judge.check(*answers)
    n_prompt = len(SYSTEM) + len(MESSAGES[0]) + len(OPENING)
    assert sum(answer.timings.n_prompt for answer in answers) <= n_prompt + 7 * MIN_SHARED


async def test_a_common_prefix_at_once_is_computed_once(memory: Memory, engine: Engine) -> None:
    answers = await asyncio.gather(*(take_turn(engine, SYSTEM, message) for message in MESSAGES[:8]))
    memory.judge.check(*answers)
    n_endings = sum(len(message) + len(OPENING) for message in MESSAGES[:8])
    assert sum(answer.timings.n_prompt for answer in answers) <= len(SYSTEM) + n_endings + 7 * MIN_SHARED


async def test_a_prefix_is_shared_from_a_slot_that_is_busy(memory: Memory, engine: Engine) -> None:
    running = asyncio.create_task(take_turn(engine, SYSTEM, MESSAGES[0], n_predict=120))
    await until_generating(engine)
    answers = [await take_turn(engine, SYSTEM, message) for message in MESSAGES[1:4]]
    assert not running.done()
    memory.judge.check(*answers, await running)
    assert [answer.timings.n_cached for answer in answers] == [len(SYSTEM)] * 3


async def test_a_prompt_that_is_left_while_it_is_computed(memory: Memory) -> None:
    async with await memory.open(n_batch=32, n_ubatch=32, target_step_ms=0.1) as engine:
        running = asyncio.create_task(ask(engine, MESSAGES[0], n_predict=100))
        await until_generating(engine)
        for seconds in (0, 0.001, 0.003, 0.01):
            await cancel_after(engine, join(SYSTEM, MESSAGES[1]), seconds, turns=(len(SYSTEM),))
        answer = await take_turn(engine, SYSTEM, MESSAGES[1])
        memory.judge.check(answer, await running)
        assert all(slot.state is SlotState.IDLE for slot in (await engine.snapshot()).slots)


@of_kinds(*POOLED)
async def test_a_pool_for_a_quarter_of_what_is_asked_for_at_once(memory: Memory) -> None:
    async with await memory.open(n_ctx=512, n_parallel=8, cache_ram=64) as engine:
        answers = await asyncio.gather(*(ask(engine, words(60, seed=i), n_predict=190) for i in range(8)))
        stats = (await engine.snapshot()).stats
    memory.judge.check(*answers)
    assert [len(answer.ids) for answer in answers] == [190] * 8
    assert stats.n_preempted > 0
    assert stats.n_failed == 0


# --- tiers


async def test_more_chats_than_memory_come_back_from_ram(memory: Memory) -> None:
    async with await memory.open(n_ctx=512, n_parallel=2, cache_ram=64) as engine:
        firsts = [await take_turn(engine, words(60, seed=i), MESSAGES[i]) for i in range(8)]
        seconds = [await take_turn(engine, first.text, MESSAGES[0]) for first in firsts]
    memory.judge.check(*firsts, *seconds)
    for first, second in zip(firsts, seconds, strict=True):
        assert second.timings.n_cached == len(first.text) - 1
        assert second.timings.cache.miss is Miss.DIVERGED
    assert sum(second.timings.cache.ram > 0 for second in seconds) >= 5


@of_kinds("dense")
async def test_what_fills_the_memory_makes_way_for_a_prompt_of_which_a_stored_block_is_larger_than_its_part(
    memory: Memory,
) -> None:
    """Prompt and block together are more than the memory has; one after the other they are not."""
    long = words(755, seed=1)
    async with await memory.open(n_ctx=768, n_parallel=1, cache_ram=64) as engine:
        await ask(engine, long)
        await ask(engine, words(700, seed=2))
        answer = await ask(engine, join(long[:640], words(60, seed=3)))
    memory.judge.check(answer)
    assert answer.timings.cache == CacheUse(ram=640, miss=Miss.DIVERGED)


@of_kinds("dense")
async def test_nobody_waits_for_the_end_of_a_long_chat_that_only_begins_alike(memory: Memory) -> None:
    """What is cached of that chat makes way, but for the beginning; another one runs meanwhile."""
    long = words(600, seed=1)
    async with await memory.open(n_ctx=1024, n_parallel=2) as engine:
        await ask(engine, long)
        running = asyncio.create_task(ask(engine, words(200, seed=2), n_predict=400))
        await until_generating(engine)
        answer = await ask(engine, join(long[:40], words(300, seed=3)))
        assert not running.done()
        memory.judge.check(answer, await running)
    assert answer.timings.n_cached == 40


async def test_without_a_least_distance_there_is_a_checkpoint_a_batch(memory: Memory) -> None:
    async with await memory.open(checkpoint_min_step=0, n_batch=64) as engine:
        answer = await ask(engine, SYSTEM)
        other = await ask(engine, join(SYSTEM[:200], MESSAGES[0]))
    memory.judge.check(answer, other)
    assert other.timings.n_cached == (192 if memory.name in STATEFUL else 200)


async def test_chats_go_on_after_a_restart(memory: Memory, tmp_path: Path) -> None:
    async with await memory.open(cache_disk=tmp_path) as engine:
        firsts = [await take_turn(engine, SYSTEM, message) for message in MESSAGES[:6]]
    async with await memory.open(cache_disk=tmp_path) as engine:
        seconds = [await take_turn(engine, first.text, MESSAGES[0]) for first in firsts]
        others = [await take_turn(engine, SYSTEM, MESSAGES[7])]
    memory.judge.check(*firsts, *seconds, *others)
    for first, second in zip(firsts, seconds, strict=True):
        assert second.timings.n_cached == len(first.text) - 1
        assert second.timings.cache.disk > 0
    assert others[0].timings.n_cached == len(SYSTEM)


async def test_a_slot_is_saved_erased_and_restored(memory: Memory, engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "slot"
    first = await take_turn(engine, SYSTEM, MESSAGES[0], id_slot=1)
    n_tokens = len(first.text) - 1
    assert (await engine.save_slot(1, file)).n_tokens == n_tokens
    assert await engine.erase_slot(1) == n_tokens
    assert (await take_turn(engine, first.text, MESSAGES[1], id_slot=1)).timings.n_cached == 0
    await engine.erase_slot(1)
    assert (await engine.restore_slot(1, file)).n_tokens == n_tokens
    second = await take_turn(engine, first.text, MESSAGES[1])
    assert second.timings.cache == CacheUse(resident=n_tokens, miss=Miss.DIVERGED)
    memory.judge.check(first, second)


async def test_a_slot_file_outlives_the_engine(memory: Memory, tmp_path: Path) -> None:
    file = tmp_path / "slot"
    async with await memory.open() as engine:
        first = await take_turn(engine, SYSTEM, MESSAGES[0], id_slot=0)
        await engine.save_slot(0, file)
    async with await memory.open() as engine:
        await engine.restore_slot(2, file)
        second = await take_turn(engine, first.text, MESSAGES[1])
        edited = await take_turn(engine, SYSTEM, MESSAGES[2])
    memory.judge.check(first, second, edited)
    assert second.timings.n_cached == len(first.text) - 1
    assert edited.timings.n_cached == len(SYSTEM), "checkpoints are in the file too"


# --- what is not exact: the positions of tokens change, while others have seen them where they were


async def test_a_full_context_is_shifted_and_goes_on(memory: Memory) -> None:
    answers = []
    for _ in range(2):
        async with await memory.open(n_ctx=1024, n_ctx_slot=256, context_shift=True) as engine:
            answers.append(await ask(engine, words(100, seed=1), n_predict=600, n_keep=10))
            after = await ask(engine, words(100, seed=1))
        memory.judge.check(after)
    assert [len(answer.ids) for answer in answers] == [600, 600]
    assert all(answer.finished.is_truncated for answer in answers)
    assert answers[0].ids == answers[1].ids


async def test_parts_of_a_prompt_that_moved_are_reused_where_memory_allows_it(memory: Memory, engine: Engine) -> None:
    start, middle, end = words(50, seed=1), words(40, seed=2), words(60, seed=3)
    first = await ask(engine, join(start, middle, end), n_cache_reuse=20)
    moved = await ask(engine, join(start, end), n_cache_reuse=20)
    clean = await ask(engine, join(start, end))
    if memory.name in CUTTABLE:
        assert moved.timings.n_cached == len(start) + len(end) - 1
    else:
        memory.judge.check(moved)
    memory.judge.check(first, clean)
    assert clean.timings.cache == CacheUse(miss=Miss.NEW), "what was moved is shared only with those that move, too"
