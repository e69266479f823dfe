"""Computations that libllama really gives up in their midst: the context is made anew, and who is to blame fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer
from numpy.typing import NDArray

from llamahttp.app import make_app
from llamahttp.config import EngineConfig, ServerConfig
from llamahttp.errors import EngineError

from .conversations import Memory, ask, words
from .observed import ObservedEngine

POISON = 1150
"""A token that `words` never gives. An answer may hold it, but not twice in a row."""


def is_poisoned(tokens: NDArray[np.int32]) -> bool:
    return bool(((tokens[:-1] == POISON) & (tokens[1:] == POISON)).any())


async def test_a_computation_that_is_given_up_once_costs_nobody_anything(memory: Memory) -> None:
    async with await ObservedEngine.open(memory.config) as engine:
        n_asked = 0

        def aborts(tokens: Any) -> bool:
            nonlocal n_asked
            n_asked += 1
            return n_asked == 200  # in the midst of a graph, while some generate

        engine.decoder.aborts = aborts
        answers = await asyncio.gather(*(ask(engine, words(80, seed), n_predict=20) for seed in range(4)))
        stats = (await engine.snapshot()).stats
    memory.judge.check(*answers)
    assert engine.log.count("rebuild") == stats.n_rebuilt == 1
    assert stats.n_failed == 0


async def test_who_is_to_blame_fails_and_the_others_go_on(memory: Memory) -> None:
    async with await ObservedEngine.open(memory.config) as engine:
        engine.decoder.aborts = is_poisoned
        others = [asyncio.create_task(ask(engine, words(80, seed), n_predict=40)) for seed in range(3)]
        with pytest.raises(EngineError, match="The computation was aborted"):
            await ask(engine, np.full(40, POISON, np.int32))
        answers = await asyncio.gather(*others)
        stats = (await engine.snapshot()).stats
        assert not engine.rebuilding
    memory.judge.check(*answers)
    assert stats.n_failed == 1
    assert stats.n_rebuilt == engine.log.count("rebuild") > 0


@pytest.fixture
async def served(llama_gguf: Path) -> AsyncIterator[tuple[TestClient[Any, Any], ObservedEngine]]:
    """A client of a server over an observed engine."""
    config = EngineConfig(model=llama_gguf, n_parallel=4, n_threads=1, warmup=False)
    opened: list[ObservedEngine] = []

    async def open_engine(config: EngineConfig, on_progress: Any) -> ObservedEngine:
        opened.append(await ObservedEngine.open(config, on_progress))
        return opened[-1]

    async with TestClient(TestServer(make_app(ServerConfig(config), open_engine))) as client:
        while (await client.get("/health")).status != 200:
            await asyncio.sleep(0.01)
        yield client, opened[0]


async def complete(client: TestClient[Any, Any], prompt: list[int], n_predict: int = 30) -> tuple[int, Any]:
    body = {"prompt": prompt, "n_predict": n_predict, "temperature": 0, "ignore_eos": True}
    async with client.post("/completion", json=body) as response:
        return response.status, await response.json()


async def test_health_tells_that_the_context_is_made_anew(served: tuple[TestClient[Any, Any], ObservedEngine]) -> None:
    client, engine = served
    engine.decoder.aborts = is_poisoned
    engine.decoder.may_rebuild.clear()
    others = [asyncio.create_task(complete(client, words(40, seed).tolist())) for seed in range(2)]
    bad = asyncio.create_task(complete(client, [300, *[POISON] * 20]))
    while "rebuild" not in engine.log:
        await asyncio.sleep(0.001)
    async with client.get("/health") as response:
        unhealthy = (response.status, await response.json())
    engine.decoder.may_rebuild.set()
    status, answer = await bad
    assert (status, answer["error"]["type"]) == (500, "server_error")
    assert "The computation was aborted" in answer["error"]["message"]
    for status, answer in await asyncio.gather(*others):
        assert (status, answer["tokens_predicted"]) == (200, 30)
    assert unhealthy[0] == 503
    assert unhealthy[1]["error"]["message"].startswith("Rebuilding the context")
    assert (await client.get("/health")).status == 200
