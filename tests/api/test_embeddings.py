"""`/embeddings` and `/v1/embeddings` over a fake embedder, whose vectors are (id, position, 1), pooled."""

from __future__ import annotations

import asyncio
import base64
import struct
from pathlib import Path
from typing import Any

import openai
import pytest

from llamahttp.api import embeddings
from llamahttp.config import EngineConfig, Pooling
from tests.fake_embedder import FakeEmbedder

from .conftest import Client, Start, post, post_error

AB, ABC = [97.5, 0.5, 1.0], [98.0, 1.0, 1.0]
"""What "ab" and "abc" give."""
RAW = {"embd_normalize": -1}


@pytest.fixture
async def client(start: Start) -> Client:
    return await start(embedder=FakeEmbedder())


def unpack(text: str) -> list[float]:
    data = base64.b64decode(text)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


@pytest.mark.parametrize("path", ["/embedding", "/embeddings"])
@pytest.mark.parametrize("key", ["input", "content"])
async def test_the_native_shape_has_a_list_of_vectors(client: Client, path: str, key: str) -> None:
    answer = await post(client, path, {key: ["ab", "abc"], **RAW})
    assert answer == [{"index": 0, "embedding": [AB]}, {"index": 1, "embedding": [ABC]}]


async def test_without_pooling_there_is_one_a_token(start: Start) -> None:
    client = await start(embedder=FakeEmbedder(Pooling.NONE))
    answer = await post(client, "/embeddings", {"input": "ab"})
    assert answer == [{"index": 0, "embedding": [[97, 0, 1], [98, 1, 1]]}]
    message = await post_error(client, "/v1/embeddings", {"input": "ab"})
    assert message == "Pooling type 'none' is not OAI compatible. Please use a different pooling type"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("ab", [AB]),
        (["ab"], [AB]),
        ([97, 98], [AB]),
        ([[97, 98], [97, 98, 99]], [AB, ABC]),
        (["ab", [97, 98, 99]], [AB, ABC]),
        ([97, "bc"], [ABC]),
    ],
)
async def test_every_form_of_input(client: Client, value: Any, expected: list[list[float]]) -> None:
    answer = await post(client, "/v1/embeddings", {"input": value, "model": "mine", "user": "me", **RAW})
    n_tokens = sum(2 if vector == AB else 3 for vector in expected)
    data = [{"embedding": vector, "index": i, "object": "embedding"} for i, vector in enumerate(expected)]
    usage = {"prompt_tokens": n_tokens, "total_tokens": n_tokens}
    assert answer == {"model": "mine", "object": "list", "usage": usage, "data": data}


async def test_content_gets_the_native_shape_on_openais_route_too(client: Client) -> None:
    assert await post(client, "/v1/embeddings", {"content": "ab", **RAW}) == [{"index": 0, "embedding": [AB]}]


async def test_base64_is_little_endian_floats(client: Client) -> None:
    answer = await post(client, "/v1/embeddings", {"input": "ab", "encoding_format": "base64", **RAW})
    [item] = answer["data"]
    assert unpack(item.pop("embedding")) == AB
    assert item == {"index": 0, "object": "embedding", "encoding_format": "base64"}


async def test_vectors_are_normalised_unless_told_otherwise(start: Start) -> None:
    client = await start(embedder=FakeEmbedder())
    [item] = (await post(client, "/v1/embeddings", {"input": "ab"}))["data"]
    length = sum(number**2 for number in AB) ** 0.5
    assert item["embedding"] == pytest.approx([number / length for number in AB], rel=1e-6)
    other = await start(embedder=FakeEmbedder(), embd_normalize=1)
    [item] = (await post(other, "/v1/embeddings", {"input": "ab"}))["data"]
    assert sum(item["embedding"]) == pytest.approx(1)


async def test_fewer_dimensions_are_normalised_again(client: Client) -> None:
    [item] = (await post(client, "/v1/embeddings", {"input": "ab", "dimensions": 1}))["data"]
    assert item["embedding"] == [1.0]
    [item] = await post(client, "/embeddings", {"input": "ab", "dimensions": 2, **RAW})
    assert item["embedding"] == [AB[:2]]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, '"input" or "content" must be provided'),
        ({"input": None}, '"input" or "content" must be provided'),
        ({"input": []}, '"input" must not be empty'),
        ({"input": ""}, "Input content cannot be empty"),
        ({"input": ["ab", ""]}, "Input content cannot be empty"),
        ({"input": [[]]}, "Input content cannot be empty"),
        ({"input": 5}, '"input" elements must be a string, a list of tokens'),
        ({"content": 5}, '"content" elements must be a string, a list of tokens'),
        ({"content": []}, '"content" must not be empty'),
        ({"input": {"content": "ab"}}, "'input.content': type must be array, but is string"),
        ({"input": [{"content": [{"type": "text"}]}]}, "'input.content[0]': it must be {"),
        ({"input": {"content": [{"type": "dance"}]}}, "'input.content[0]': it must be {"),
        ({"input": {}}, '"input" elements must be a string, a list of tokens'),
        ({"input": [None]}, '"input" elements must be a string, a list of tokens'),
        ({"input": [True]}, "must be a string, a list of tokens"),
        ({"input": [1.5]}, "must be a string, a list of tokens"),
        ({"input": [[97, 257]]}, "input 0: token 1 is 257, which is not in the vocabulary of 257 tokens"),
        ({"input": [2**40]}, "Input contains invalid tokens"),
        ({"input": ["ab", "x" * 257]}, "input 1 (257 tokens) exceeds the available context size (256 tokens)"),
        ({"input": "ab", "encoding_format": "hex"}, "'encoding_format': Value must be one of float, base64"),
        ({"input": "ab", "encoding_format": 1}, "'encoding_format': type must be string"),
        ({"input": "ab", "dimensions": 0}, "'dimensions': Value must be between 1 <= value <= 3, but got 0"),
        ({"input": "ab", "dimensions": 4}, "'dimensions': Value must be between 1 <= value <= 3, but got 4"),
        ({"input": "ab", "embd_normalize": -2}, "'embd_normalize': Value must be between -1"),
        ({"input": "ab", "embd_normalize": "l2"}, "'embd_normalize': type must be number"),
        ({"input": ["a"] * (embeddings.MAX_INPUTS + 1)}, "has 16385 entries, but at most 16384 are allowed"),
    ],
)
async def test_what_is_wrong_is_named(client: Client, body: dict[str, Any], message: str) -> None:
    for path in ("/embeddings", "/v1/embeddings"):
        assert message in await post_error(client, path, body)


async def test_the_servers_adapters_are_applied_at_runtime(start: Start) -> None:
    """llama-server's do, too: they are those of its one context."""
    embedder = FakeEmbedder()
    client = await start(embedder=embedder, engine=EngineConfig(loras=((Path("a.gguf"), 0.5), (Path("b.gguf"), 0.0))))
    await post(client, "/v1/embeddings", {"input": "ab"})
    await post(client, "/lora-adapters", [{"id": 1, "scale": 2}])
    for _ in range(2):
        await post(client, "/v1/embeddings", {"input": "ab"})
    await post(client, "/lora-adapters", [])
    await post(client, "/v1/embeddings", {"input": "ab"})
    assert embedder.adapters == [((0, 0.5),), ((1, 2.0),), ()]


async def test_an_answer_that_would_be_too_large_is_refused(start: Start) -> None:
    embedder = FakeEmbedder(Pooling.NONE)
    embedder.n_out = 1 << 16
    client = await start(embedder=embedder)
    message = await post_error(client, "/embeddings", {"input": ["x" * 200, "y" * 57]})
    assert "the answer would hold 257 vectors of 65536 numbers, but at most 16777216" in message
    assert embedder.batches == []


@pytest.mark.parametrize("path", ["/embedding", "/embeddings", "/v1/embeddings"])
async def test_switched_off(start: Start, path: str) -> None:
    message = await post_error(await start(), path, {"input": "ab"}, 501)
    assert message == "This server does not support embeddings. Start it with `--embeddings`"
    ranking = await start(embedder=FakeEmbedder(Pooling.RANK))
    assert "it reranks" in await post_error(ranking, path, {"input": "ab"}, 501)


async def test_two_thousand_inputs_hold_up_nobody(start: Start) -> None:
    embedder = FakeEmbedder()
    embedder.step_seconds = 0.001
    client = await start(embedder=embedder)
    many = asyncio.create_task(post(client, "/v1/embeddings", {"input": ["x" * 10] * 2000}))
    while len(embedder.batches) < 10:
        await asyncio.sleep(0.001)
    await post(client, "/v1/embeddings", {"input": "ab"})
    await post(client, "/completion", {"prompt": "ab", "n_predict": 3})
    assert not many.done()
    assert len((await many)["data"]) == 2000


async def test_the_openai_package(client: Client) -> None:
    async with openai.AsyncOpenAI(base_url=str(client.make_url("/v1")), api_key="none", max_retries=0) as sdk:
        answer = await sdk.embeddings.create(model="m", input=["ab", "abc"], extra_body=RAW)  # asks for base64
        assert [item.embedding for item in answer.data] == [AB, ABC]
        assert (answer.usage.prompt_tokens, answer.model) == (5, "m")
        answer = await sdk.embeddings.create(model="m", input=[[97, 98]], encoding_format="float", dimensions=2)
        assert len(answer.data[0].embedding) == 2
        with pytest.raises(openai.BadRequestError, match="between 1 <= value <= 3, but got 7"):
            await sdk.embeddings.create(model="m", input="ab", dimensions=7)
