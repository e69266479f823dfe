"""What was evicted, stored, shifted or saved, and what comes back of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeDecoder, continuation, fake_engine
from tasks import collect, prompt, until_generating

from llamahttp.engine import Engine
from llamahttp.errors import InvalidRequest, QueueFull
from llamahttp.task import CompletionTask, Miss


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
