"""Everything at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import numpy as np
import pytest
from fakes import FakeDecoder, continuation, fake_engine
from tasks import collect, prompt, until_idle

from llamahttp.engine import Engine
from llamahttp.task import CompletionTask


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
