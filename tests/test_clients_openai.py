"""The openai package as scripts use it: without asyncio, all of one server."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from process import REAL, Server

CHAT: Any = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    flags = ["--port", "0", "-np", "4", "-c", "8192", "--embeddings", "--pooling", "mean", "--api-key", "k", "-lv", "1"]
    with Server(REAL, flags) as server, openai.OpenAI(base_url=f"{server.ready()}/v1", api_key="k") as client:
        yield client
        server.interrupt()


def test_a_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="demo", messages=CHAT, temperature=0, max_tokens=40)
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_streamed_chat_is_the_same(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="demo", messages=CHAT, temperature=0, max_tokens=40)
    stream = client.chat.completions.create(model="demo", messages=CHAT, temperature=0, max_tokens=40, stream=True)
    text, ends = "", []
    for chunk in stream:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            ends += [choice.finish_reason] if choice.finish_reason else []
    assert (text, ends) == (whole.choices[0].message.content, ["stop"])


def test_several_answers_in_one_stream(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="demo", messages=CHAT, n=3, seed=1, max_tokens=5, stream=True, extra_body={"ignore_eos": True}
    )
    n_chunks = [0, 0, 0]
    ends: dict[int, str] = {}
    for chunk in stream:
        for choice in chunk.choices:
            thought = getattr(choice.delta, "reasoning_content", None)
            n_chunks[choice.index] += bool(choice.delta.content or thought)
            if choice.finish_reason:
                ends[choice.index] = choice.finish_reason
    assert ends == dict.fromkeys(range(3), "length")
    assert all(n_chunks)


@pytest.mark.parametrize("is_streamed", [False, True])
def test_log_probabilities_of_a_chat(client: openai.OpenAI, is_streamed: bool) -> None:
    answer: Any = client.chat.completions.create(
        model="demo",
        messages=CHAT,
        temperature=0,
        max_tokens=4,
        logprobs=True,
        top_logprobs=3,
        stream=is_streamed,
        extra_body={"ignore_eos": True},
    )
    choices = [choice for chunk in answer for choice in chunk.choices] if is_streamed else answer.choices
    shown = [token for choice in choices if choice.logprobs for token in choice.logprobs.content]
    assert len(shown) == 4
    for token in shown:
        assert len(token.top_logprobs) == 3
        assert token.logprob == pytest.approx(token.top_logprobs[0].logprob), "greedy takes the likeliest"
        assert sum(math.exp(top.logprob) for top in token.top_logprobs) <= 1.001
        assert bytes(token.bytes).decode(errors="replace") == token.token


def test_embeddings(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model="demo", input=["a cat", "a dog", "a cat"])
    cat, dog, again = (item.embedding for item in answer.data)
    assert cat == pytest.approx(again, abs=1e-4)
    assert sum(x * x for x in cat) == pytest.approx(1, abs=1e-4)
    assert max(abs(x - y) for x, y in zip(cat, dog, strict=True)) > 1e-3
    plain = client.embeddings.create(model="demo", input="a cat", encoding_format="float", dimensions=8)
    assert len(plain.data[0].embedding) == 8


def test_models(client: openai.OpenAI) -> None:
    assert [model.object for model in client.models.list()] == ["model"]


def test_errors_are_the_package_s_own(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.chat.completions.create(model="demo", messages=CHAT, temperature="hot")  # type: ignore[arg-type]
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").chat.completions.create(model="demo", messages=CHAT)
    with pytest.raises(openai.BadRequestError, match="exceeds the available context size"):
        client.completions.create(model="demo", prompt="word " * 20_000)
