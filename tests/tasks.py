"""Tasks for an engine over fakes: made of text, collected, waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from llamahttp.engine import Engine
from llamahttp.task import CompletionTask, Finished, SlotState, Tokens


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
