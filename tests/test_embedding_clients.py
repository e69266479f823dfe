"""The whole server with models that embed and rank, beside chats, with the openai package."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from aiohttp.test_utils import TestClient, TestServer
from process import REAL, Server

from llamahttp.app import make_app
from llamahttp.config import EngineConfig, Pooling, ServerConfig
from llamahttp.engine import Engine
from tests import models
from tests.observed import ObservedEngine


def post(url: str, path: str, body: Any) -> tuple[int, Any]:
    request = urllib.request.Request(url + path, json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


async def chat(client: openai.AsyncOpenAI, seen: list[float]) -> None:
    stream = await client.completions.create(
        model="m", prompt="once upon", max_tokens=1500, stream=True, extra_body={"ignore_eos": True}
    )
    async for _ in stream:
        seen.append(time.monotonic())


async def test_an_embedding_among_running_chats(llama_gguf: Path) -> None:
    flags = ["-m", str(llama_gguf), "--port", "0", "--embeddings", "--pooling", "mean", "-np", "4", "-c", "8192"]
    with Server(REAL, [*flags, "-t", "1"]) as server:
        url = server.ready()
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            seen: list[list[float]] = [[] for _ in range(4)]
            chats = [asyncio.create_task(chat(client, each)) for each in seen]
            while not all(len(each) > 20 for each in seen):
                await asyncio.sleep(0.01)
            for _ in range(10):
                before = len(seen[0])
                answer = await client.embeddings.create(model="m", input="a cat")
                assert len(answer.data[0].embedding) == 64
                assert len(seen[0]) - before < 200, "it waited for the chats"
            assert not any(each.done() for each in chats)
            many = asyncio.create_task(client.embeddings.create(model="m", input=["word " * 50] * 2000))
            await asyncio.gather(*chats)
            assert len((await many).data) == 2000
        server.interrupt()


async def test_an_embedding_is_computed_within_two_steps_of_the_chats(llama_gguf: Path) -> None:
    """llama-server lets it wait until no slot generates, for 20 seconds and longer."""
    opened: list[ObservedEngine] = []

    async def open_engine(config: EngineConfig, on_progress: Any) -> ObservedEngine:
        opened.append(await ObservedEngine.open(config, on_progress))
        return opened[0]

    config = EngineConfig(model=llama_gguf, n_parallel=4, n_threads=1, embeddings=True, pooling=Pooling.MEAN)
    async with TestClient(TestServer(make_app(ServerConfig(config), open_engine))) as client:
        while (await client.get("/health")).status != 200:
            await asyncio.sleep(0.01)
        [engine] = opened
        body = {"prompt": "once upon", "n_predict": 2000, "ignore_eos": True}
        chats = [asyncio.create_task(client.post("/completion", json=body)) for _ in range(4)]
        while (await engine.snapshot()).stats.n_predicted < 100:
            await asyncio.sleep(0.01)
        engine.log.clear()
        for i in range(20):
            async with client.post("/v1/embeddings", json={"input": ["a cat"] * (1 + i % 3)}) as response:
                assert len((await response.json())["data"]) == 1 + i % 3
        log = engine.log.copy()
        assert not any(chat.done() for chat in chats), "nobody was generating any more"
        for chat in chats:
            chat.cancel()
    assert log.count("submit") == log.count("embed") == 20
    assert max(steps_until_computed(log)) <= 2


def steps_until_computed(log: list[str]) -> list[int]:
    """For each embedding, how many steps of those who generate came between its arrival and its batch."""
    found = []
    for i, word in enumerate(log):
        if word == "submit":
            found.append(log[i : log.index("embed", i)].count("decode"))
    return found


def test_an_encoder_is_served_without_any_flag(tmp_path: Path) -> None:
    model = models.write_bert(tmp_path / "bert.gguf")
    with Server(REAL, ["-m", str(model), "--port", "0", "-t", "1"]) as server:
        url = server.ready()
        status, answer = post(url, "/v1/embeddings", {"input": ["a cat", "a " * 900]})
        assert (status, len(answer["data"])) == (200, 2)
        for path, body in (
            ("/completion", {"prompt": "x"}),
            ("/v1/completions", {"prompt": "x", "stream": True}),
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
        ):
            status, answer = post(url, path, body)
            assert (status, answer["error"]["type"]) == (501, "not_supported_error")
            assert answer["error"]["message"] == "This model only computes embeddings: it does not generate text"
        status, answer = post(url, "/v1/embeddings", {"input": "a " * 1100})
        assert status == 400
        assert "exceeds the available context size (1024 tokens)" in answer["error"]["message"]
        with urllib.request.urlopen(f"{url}/slots") as slots, urllib.request.urlopen(f"{url}/props") as props:
            assert (slots.status, props.status) == (200, 200)
        server.interrupt()


def test_an_encoder_decoder_is_refused_in_one_line(tmp_path: Path) -> None:
    model = models.write_t5(tmp_path / "t5.gguf")
    with Server(REAL, ["-m", str(model), "--port", "0"]) as server:
        status, output, errors = server.end()
    assert status == 1
    assert "is an encoder-decoder model, which this server does not run" in output + errors
    assert "Traceback" not in output + errors


@pytest.mark.parametrize("pooling", [Pooling.MEAN, Pooling.NONE])
async def test_the_library_embeds_without_http(llama_gguf: Path, pooling: Pooling) -> None:
    config = EngineConfig(model=llama_gguf, embeddings=True, pooling=pooling, n_threads=1)
    async with await Engine.open(config) as engine:
        text, ids = await engine.embed(["a cat", (await engine.tokenize("a cat")).tolist()])
        np.testing.assert_allclose(text, ids, atol=5e-3)
        assert text.dtype == np.float32
        if pooling is Pooling.MEAN:
            assert np.linalg.norm(text) == pytest.approx(1, abs=1e-5)
        assert "".join([piece async for piece in engine.generate("a cat", n_predict=3)])


async def test_the_library_reranks_without_http(tmp_path: Path) -> None:
    config = EngineConfig(model=models.write_reranker(tmp_path / "reranker.gguf"), n_threads=1)
    async with await Engine.open(config) as engine:
        scores = await engine.rerank("a cat", ["a dog", "a cat sat", "x"])
        assert len(scores) == len(set(scores)) == 3
