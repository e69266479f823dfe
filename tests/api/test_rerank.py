"""`/rerank` in both shapes, over a fake whose score is the mean of the tokens."""

from __future__ import annotations

from typing import Any

import pytest

from llamahttp.config import Pooling
from tests.fake_embedder import FakeEmbedder

from .conftest import Client, Start, post, post_error

QUERY = {"query": "m"}
TEXTS = ["b", "z", "m"]


@pytest.fixture
async def client(start: Start) -> Client:
    return await start(embedder=FakeEmbedder(Pooling.RANK))


@pytest.mark.parametrize("path", ["/rerank", "/reranking", "/v1/rerank", "/v1/reranking"])
async def test_jinas_shape(client: Client, path: str) -> None:
    answer = await post(client, path, {**QUERY, "documents": TEXTS, "model": "mine"})
    assert answer == {
        "model": "mine",
        "object": "list",
        "usage": {"prompt_tokens": 6, "total_tokens": 6},
        "results": [
            {"index": 1, "relevance_score": 115.5},
            {"index": 2, "relevance_score": 109.0},
            {"index": 0, "relevance_score": 103.5},
        ],
    }


async def test_the_server_has_a_name_where_the_client_gives_none(client: Client) -> None:
    assert (await post(client, "/rerank", {**QUERY, "documents": TEXTS}))["model"] == "demo.gguf"


async def test_teis_shape(client: Client) -> None:
    answer = await post(client, "/rerank", {**QUERY, "texts": TEXTS})
    assert answer == [{"index": 1, "score": 115.5}, {"index": 2, "score": 109.0}, {"index": 0, "score": 103.5}]
    answer = await post(client, "/rerank", {**QUERY, "texts": TEXTS, "return_text": True, "top_n": 1})
    assert answer == [{"index": 1, "score": 115.5, "text": "z"}]


@pytest.mark.parametrize(("top_n", "n"), [(None, 3), (0, 0), (2, 2), (9, 3)])
async def test_top_n(client: Client, top_n: int | None, n: int) -> None:
    answer = await post(client, "/rerank", {**QUERY, "documents": TEXTS, "top_n": top_n})
    assert [each["index"] for each in answer["results"]] == [1, 2, 0][:n]
    assert answer["usage"]["prompt_tokens"] == 6


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"documents": TEXTS}, '"query" must be provided'),
        ({"query": None, "documents": TEXTS}, '"query" must be provided'),
        ({"query": ["m"], "documents": TEXTS}, '"query" must be a string'),
        (QUERY, '"documents" must be a non-empty string array'),
        ({**QUERY, "documents": []}, '"documents" must be a non-empty string array'),
        ({**QUERY, "documents": "b"}, '"documents" must be a non-empty string array'),
        ({**QUERY, "documents": ["b", 5]}, '"documents" must be a non-empty string array'),
        ({**QUERY, "texts": [{"text": "b"}]}, '"documents" must be a non-empty string array'),
        ({**QUERY, "documents": ["b"] * 16385}, '"documents" has 16385 entries, but at most 16384 are allowed'),
        ({**QUERY, "documents": TEXTS, "top_n": -1}, "'top_n': Value must be between 0"),
        ({**QUERY, "documents": TEXTS, "top_n": "2"}, "'top_n': type must be number"),
        ({**QUERY, "texts": TEXTS, "return_text": 1}, "'return_text': type must be boolean"),
        ({**QUERY, "documents": ["b", "x" * 256]}, "input 1 (257 tokens) exceeds the available context size (256"),
        ({"query": "", "documents": ["b", ""]}, "input 1 is empty"),
    ],
)
async def test_what_is_wrong_is_named(client: Client, body: dict[str, Any], message: str) -> None:
    assert message in await post_error(client, "/rerank", body)


async def test_switched_off(start: Start) -> None:
    expected = "This server does not support reranking. Start it with `--reranking`"
    for client in (await start(), await start(embedder=FakeEmbedder())):
        assert await post_error(client, "/v1/rerank", {**QUERY, "documents": TEXTS}, 501) == expected
