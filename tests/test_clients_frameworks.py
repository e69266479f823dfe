"""Frameworks that people put before a server: LangChain and LiteLLM. Heavy, so `make integration` installs them."""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from process import REAL, Server

QUESTION = "What is the capital of France?"

pytestmark = pytest.mark.filterwarnings("default")  # of theirs


def load(name: str) -> ModuleType:
    """A package, or the test is skipped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError:
            pytest.skip(f"{name} is not installed: make integration")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    flags = ["--port", "0", "-np", "4", "-c", "8192", "--embeddings", "--pooling", "mean", "-lv", "1"]
    with Server(REAL, flags) as server:
        yield f"{server.ready()}/v1"
        server.interrupt()


# --- LangChain


def chat_model(url: str, **more: Any) -> Any:
    langchain = load("langchain_openai")
    return langchain.ChatOpenAI(base_url=url, api_key="none", model="demo", temperature=0, max_tokens=40, **more)


def test_langchain_asks(url: str) -> None:
    answer = chat_model(url).invoke(QUESTION)
    assert "Paris" in answer.content
    assert answer.usage_metadata["total_tokens"] == sum(
        answer.usage_metadata[f"{kind}_tokens"] for kind in ("input", "output")
    )
    assert answer.response_metadata["finish_reason"] == "stop"


def test_langchain_streams(url: str) -> None:
    model = chat_model(url, stream_usage=True)
    chunks = list(model.stream(QUESTION))
    assert len(chunks) > 3
    whole = sum(chunks[1:], chunks[0])
    assert whole.content == model.invoke(QUESTION).content
    assert whole.usage_metadata["output_tokens"] > 3


async def test_langchain_asks_many_at_once(url: str) -> None:
    questions = [QUESTION, "What is 25 + 31?", "Count to ten."]
    answers = await chat_model(url).abatch(questions)
    assert [word in answer.content for word, answer in zip(("Paris", "56", "10"), answers, strict=True)][:2] == [
        True
    ] * 2


def test_langchain_gets_log_probabilities(url: str) -> None:
    answer = chat_model(url, logprobs=True, top_logprobs=2).invoke(QUESTION)
    shown = answer.response_metadata["logprobs"]["content"]
    assert shown
    assert all(len(token["top_logprobs"]) == 2 for token in shown)


def test_langchain_embeds(url: str) -> None:
    langchain = load("langchain_openai")
    # texts, not another model's tokens
    embedder = langchain.OpenAIEmbeddings(base_url=url, api_key="none", model="demo", check_embedding_ctx_length=False)
    cat, dog = embedder.embed_documents(["a cat", "a dog"])
    assert math.dist(cat, embedder.embed_query("a cat")) < 1e-3 < math.dist(cat, dog)


# --- LiteLLM


def ask(url: str, **more: Any) -> Any:
    litellm = load("litellm")
    messages = [{"role": "user", "content": QUESTION}]
    return litellm.completion(
        model="openai/demo", api_base=url, api_key="none", messages=messages, temperature=0, max_tokens=40, **more
    )


def test_litellm_asks(url: str) -> None:
    answer = ask(url)
    assert "Paris" in answer.choices[0].message.content
    assert answer.usage.completion_tokens > 0


def test_litellm_streams(url: str) -> None:
    text = "".join(chunk.choices[0].delta.content or "" for chunk in ask(url, stream=True))
    assert text == ask(url).choices[0].message.content


def test_litellm_embeds(url: str) -> None:
    litellm = load("litellm")
    answer = litellm.embedding(
        model="openai/demo", api_base=url, api_key="none", input=["a cat"], encoding_format="float"
    )
    assert sum(x * x for x in answer.data[0]["embedding"]) == pytest.approx(1, abs=1e-3)


def test_litellm_sees_errors_as_such(url: str) -> None:
    litellm = load("litellm")
    with pytest.raises(litellm.BadRequestError, match=r"max_tokens|n_predict"):
        litellm.completion(
            model="openai/demo",
            api_base=url,
            api_key="none",
            messages=[{"role": "user", "content": QUESTION}],
            max_tokens=-7,
        )
