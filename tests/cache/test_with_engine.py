"""The cache under an engine, over fakes: what an operator or a client sees of it."""

from __future__ import annotations

from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pytest
from fakes import FakeDecoder, FakeSampler, continuation, fake_engine
from numpy.typing import NDArray

from llamahttp import Engine
from llamahttp.cache.disk import DiskTier
from llamahttp.cache.resident import ResidentCache
from llamahttp.cache.snapshot import Namespace, Snapshot, write_snapshot
from llamahttp.cache.store import Store
from llamahttp.errors import SnapshotError
from llamahttp.placement import Placement
from llamahttp.queue import ResultStream, TaskQueue
from llamahttp.slot import Slot
from llamahttp.task import CompletionTask, Finished, SlotState, Tokens

TALK = "a talk that outlives the process that computed it, " * 10


def prompt(text: str) -> NDArray[np.int32]:
    return np.frombuffer(text.encode(), np.uint8).astype(np.int32)


async def ask(engine: Engine, text: str, **task: int | str) -> tuple[list[int], Finished]:
    """A task's tokens and its end."""
    tokens: list[int] = []
    async with engine.submit(CompletionTask(prompt(text), n_predict=3, **task)) as results:
        async for result in results:
            if isinstance(result, Tokens):
                tokens += result.ids
            elif isinstance(result, Finished):
                return tokens, result
    raise AssertionError("no end")


@pytest.mark.parametrize(("start", "n_tokens"), [(256, 512), (0, 0)])
async def test_a_file_that_is_no_slot_is_refused_and_changes_nothing(tmp_path: Path, start: int, n_tokens: int) -> None:
    path = tmp_path / "block"
    write_snapshot(path, Snapshot(Namespace(), np.resize(prompt(TALK), n_tokens), start, b"state"), "fake")
    async with fake_engine(FakeDecoder(n_spare=3)) as engine:
        with pytest.raises(SnapshotError, match="block: holds a part of a prompt, not a slot"):
            await engine.restore_slot(0, path)
        tokens, end = await ask(engine, TALK)
        assert tokens == continuation(prompt(TALK).tolist(), 3)
        assert end.timings.n_cached == 0


async def test_no_salt_finds_what_moved_parts_have_left() -> None:
    async with fake_engine() as engine:
        await ask(engine, TALK, n_cache_reuse=4)
        for salt in ("", "\0moved"):
            assert (await ask(engine, TALK, salt=salt))[1].timings.n_cached == 0
        assert (await ask(engine, TALK, n_cache_reuse=4))[1].timings.n_cached == len(TALK) - 1


# --- what is on disk is read only for the task that is placed next


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A disk tier with ten prompts, each of 120 tokens."""
    decoder = FakeDecoder()
    store = Store(0, DiskTier(tmp_path, 1 << 20), decoder.fingerprint)
    for i in range(10):
        tokens = prompt(f"{i}" * 120)
        state = np.stack((tokens, np.arange(120, dtype=np.int32)), axis=1).tobytes()
        assert store.add(Snapshot(Namespace(), tokens, 0, state))
    store.close()
    return tmp_path


class Waiting:
    """Slots that wait for prompts on disk, over a RAM tier that is off."""

    def __init__(self, directory: Path, n_ctx: int) -> None:
        self.loaded: SimpleQueue[None] = SimpleQueue()
        decoder = FakeDecoder(n_ctx=n_ctx, n_slots=10)
        disk = DiskTier(directory, 1 << 20)
        self.store = Store(0, disk, decoder.fingerprint, lambda: self.loaded.put(None), staged=0)
        cache = ResidentCache(decoder, self.store, n_slots=10, n_checkpoints=0, checkpoint_bytes=None)
        self.slots = [Slot(i, 200) for i in range(10)]
        self.placement = Placement(decoder, cache, self.slots, 8192)
        queue = TaskQueue(0)
        for i, slot in enumerate(self.slots):
            stream = ResultStream(queue, i, CompletionTask(prompt(f"{i}" * 120 + "?")))
            slot.launch(stream, FakeSampler(stream.task.sampling), None)

    def place(self) -> list[SlotState]:
        self.placement.place_waiting(self.slots)
        return [slot.state for slot in self.slots]


async def test_tasks_that_wait_for_the_disk_do_so_one_by_one(stored: Path) -> None:
    waiting = Waiting(stored, n_ctx=4096)
    most = 0
    for i in range(10):
        assert waiting.place().count(SlotState.WAITING) == 10 - i
        assert all(slot.is_loading for slot in waiting.slots[i:])
        waiting.loaded.get(timeout=10)
        most = max(most, waiting.store.ram_bytes)
    assert waiting.place().count(SlotState.WAITING) == 0
    assert [slot.use.disk for slot in waiting.slots] == [120] * 10
    assert most <= 120 * 12, "one prompt at a time"
    waiting.store.close()


async def test_for_a_task_without_a_place_in_memory_nothing_is_read(stored: Path) -> None:
    waiting = Waiting(stored, n_ctx=200)
    waiting.place()
    waiting.loaded.get(timeout=10)
    for _ in range(3):
        assert waiting.place().count(SlotState.WAITING) == 9
    assert waiting.store.ram_bytes == 0 and waiting.loaded.empty()
    waiting.store.close()
