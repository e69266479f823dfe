"""Leaks: memory that does not come back after requests, cancelled ones, and states copied in and out."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from llamahttp import Engine

from .conversations import Memory, ask, cancel_after, words

N_ROUNDS = 25
N_TOKENS = 400
SLACK = 1 << 20
"""Bytes that come and go."""


def resident_bytes() -> int:
    """Of this process, in RAM."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


async def work(engine: Engine, folder: Path, seed: int) -> None:
    """Some requests, of which half are left early, and every way of a state out of memory and back."""
    prompts = [words(N_TOKENS, seed=1000 * seed + i) for i in range(6)]
    cancelled = (cancel_after(engine, prompt, 0.004) for prompt in prompts[3:])
    await asyncio.gather(*(ask(engine, prompt, n_predict=2) for prompt in prompts[:3]), *cancelled)
    await ask(engine, prompts[0], n_predict=2, id_slot=0)
    await engine.save_slot(0, folder / "slot")
    await engine.erase_slot(0)
    await engine.restore_slot(0, folder / "slot")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
@pytest.mark.parametrize("memory", ["dense", "window"], indirect=True)
async def test_requests_and_states_leave_no_memory_behind(memory: Memory, tmp_path: Path) -> None:
    async with await memory.open(n_ctx=2048, cache_ram=4, cache_disk=tmp_path, cache_disk_size=8) as engine:
        for seed in range(N_ROUNDS):  # until all tiers are full
            await work(engine, tmp_path, seed)
        before = resident_bytes()
        for seed in range(N_ROUNDS, 3 * N_ROUNDS):
            await work(engine, tmp_path, seed)
        grown = resident_bytes() - before
        n_bytes = (await engine.save_slot(0, tmp_path / "slot")).n_bytes
    # a state kept in each round would be twice as many; the allocator and Python need some room of their own
    assert grown < N_ROUNDS * n_bytes + SLACK, f"{grown} bytes in {2 * N_ROUNDS} rounds with states of {n_bytes}"
