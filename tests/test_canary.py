"""Canary: many conversations at once, each with words of its own, and nothing of one may reach another.

They go on, go back, are edited and left, with salts, adapters and priorities, pinned to slots or not, while slots are
saved, restored and erased under them. The memory is too small for all, so sequences are copied, cut, evicted, stored
and brought back all the time. A token of somebody else's makes an answer wrong, and so does one of a conversation's
own that should have been forgotten.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llamahttp import Engine
from llamahttp.errors import EngineError, InvalidRequest

from . import models
from .conversations import Answer, Judge, Memory, Prompt, Turn, ask, cancel_after, join, words

N_CONVERSATIONS = 16
SECONDS = 0.8
SMALL: dict[str, Any] = {"n_ctx": 2048, "n_parallel": 8, "n_batch": 64, "n_ubatch": 32, "target_step_ms": 1.0}
"""Prompts take several steps, and wait for one another."""
ENOUGH = 20
"""Answers that even a machine with other work gives in that time."""


@dataclass
class Load:
    """The conversations of one engine and what they have been answered."""

    engine: Engine
    folder: Path
    loras: int
    until: float = field(default_factory=lambda: time.monotonic() + SECONDS)
    answers: list[Answer] = field(default_factory=list)

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self.until


async def converse(load: Load, i: int) -> None:
    """One conversation: turns until the time is over, some of them left, repeated or taken back."""
    chance, history = random.Random(i), opening(i)
    owner: dict[str, Any] = {"salt": f"tenant {i % 3}", "adapters": adapters(load, i)}
    while load.goes_on:
        if len(history) > load.engine.n_ctx_slot // 2 or chance.random() < 0.1:
            history = opening(i)
        turn = Turn(history, words(chance.randint(1, 50), seed=chance.randrange(10**6)))
        options = owner | {"turns": turn.turns, "priority": chance.choice((0, 0, 0, 1))}
        if chance.random() < 0.2:
            options["id_slot"] = chance.randrange(load.engine.n_slots)
        if chance.random() < 0.4:
            await cancel_after(load.engine, turn.prompt, chance.choice((0.002, 0.01, 0.03)), **options)
            continue
        n_predict, n_answers = chance.choice((1, 4, 10, 30)), chance.choice((1, 1, 1, 3))
        asked = (ask(load.engine, turn.prompt, n_predict, **options) for _ in range(n_answers))
        answers = await asyncio.gather(*asked)
        load.answers += answers
        history = answers[0].text[: chance.choice((None, None, -3, len(history) + 1))]


def opening(i: int) -> Prompt:
    """Conversations of each system prompt begin alike, also those of other tenants and adapters."""
    return join(words(50 + 10 * (i % 4), seed=i % 4), words(10, seed=100 + i))


def adapters(load: Load, i: int) -> tuple[tuple[int, float], ...]:
    return ((0, 0.5),) if load.loras and i % 4 == 1 else ()


async def use_slots(load: Load) -> None:
    """Save, restore and erase slots, whatever is in them."""
    chance = random.Random(0)
    while load.goes_on:
        await asyncio.sleep(0.01)
        id_slot, file = chance.randrange(load.engine.n_slots), load.folder / f"slot-{chance.randrange(3)}"
        with contextlib.suppress(InvalidRequest, EngineError):  # an empty slot, no such file yet, no room
            match chance.randrange(3):
                case 0:
                    await load.engine.save_slot(id_slot, file)
                case 1:
                    await load.engine.restore_slot(id_slot, file)
                case 2:
                    await load.engine.erase_slot(id_slot)


async def run(engine: Engine, folder: Path, loras: int = 0) -> Load:
    load = Load(engine, folder, loras)
    conversations = [converse(load, i) for i in range(N_CONVERSATIONS)]
    await asyncio.wait_for(asyncio.gather(*conversations, use_slots(load)), 60)
    return load


async def test_no_conversation_sees_another(memory: Memory, tmp_path: Path) -> None:
    async with await memory.open(**SMALL, cache_ram=1, cache_disk=tmp_path) as engine:
        load = await run(engine, tmp_path)
        stats = (await engine.snapshot()).stats
    memory.judge.check(*load.answers)
    assert len(load.answers) > ENOUGH
    assert (stats.n_failed, stats.n_rebuilt) == (0, 0)
    assert stats.n_cached_resident > 0
    assert stats.n_evicted > 0


@pytest.mark.parametrize("memory", ["dense", "dense-separate"], indirect=True)
async def test_no_conversation_sees_another_with_adapters(memory: Memory, tmp_path: Path) -> None:
    loras = ((models.write_lora(tmp_path / "lora.gguf", scale=0.3), 1.0),)
    async with await memory.open(**SMALL, cache_ram=1, loras=loras) as engine:
        load = await run(engine, tmp_path, loras=1)
    with Judge(memory.judge.model, loras) as judge:
        judge.check(*load.answers)
    assert sum(bool(answer.task.adapters) for answer in load.answers) > 1
