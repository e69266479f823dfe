"""The whole server with the demo model, used as people use it: the openai package, plain HTTP, bad input, Ctrl-C."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import openai
import pytest
import requests
from process import REAL, Server, get

TOKENS_PREDICTED = "llamacpp:tokens_predicted_total "

QUESTIONS = [
    "Hello!",
    "What is the capital of France?",
    "What is 25 + 31?",
    "Count to ten.",
    "Tell me a short story about a cat.",
    "Name five animals.",
    "What is llamahttp?",
    "My name is Nora. What is my name?",
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Server(REAL, ["--port", "0", "-np", "8", "-c", "16384", "-lv", "1", "--metrics"]) as server:
        yield server.ready()
        server.interrupt()


@pytest.fixture
async def client(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def http(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(url) as session:
        yield session


async def ask(client: openai.AsyncOpenAI, question: str, seen: list[str] | None = None) -> str:
    """The streamed answer to one question. With `seen` it goes on beyond its end; `seen` notes who gets each chunk."""
    stream = await client.chat.completions.create(
        model="demo",
        messages=[{"role": "user", "content": question}],
        temperature=0,
        max_tokens=100 if seen is None else 500,
        stream=True,
        extra_body={"ignore_eos": seen is not None},
    )
    parts = []
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            parts.append(chunk.choices[0].delta.content)
            if seen is not None:
                seen.append(question)
    return "".join(parts)


async def post(http: aiohttp.ClientSession, path: str, body: Any) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    async with http.post(path, data=io.BytesIO(data)) as response:
        return response.status, await response.json()


# --- eight clients


async def test_eight_clients_stream_their_own_answers_at_once(client: openai.AsyncOpenAI) -> None:
    alone = [await ask(client, question) for question in QUESTIONS]
    seen: list[str] = []
    together = await asyncio.gather(*(ask(client, question, seen) for question in QUESTIONS))
    assert [text[: len(answer)] for text, answer in zip(together, alone, strict=True)] == alone
    assert len(set(alone)) == len(QUESTIONS)
    first_end = min(len(seen) - seen[::-1].index(question) for question in QUESTIONS)
    assert len(set(seen[:first_end])) == len(QUESTIONS), "an answer was over before another had begun"


async def test_the_demo_model_knows_what_it_was_taught(client: openai.AsyncOpenAI) -> None:
    assert "Paris" in await ask(client, "What is the capital of France?")
    assert "56" in await ask(client, "What is 25 + 31?")
    assert "Nora" in await ask(client, "My name is Nora. What is my name?")


@pytest.mark.parametrize(
    ("thinks", "n_dropped"),
    [
        (False, 0),
        (True, 2),  # `<think>` and a new line begin an answer, and later turns do not show them
    ],
)
async def test_a_conversation_is_cached_from_turn_to_turn(
    client: openai.AsyncOpenAI, thinks: bool, n_dropped: int
) -> None:
    messages: list[Any] = [{"role": "user", "content": "My name is Otto. Please remember it."}]

    async def answer() -> openai.types.chat.ChatCompletion:
        return await client.chat.completions.create(
            model="demo",
            messages=messages,
            temperature=0,
            max_tokens=60,
            extra_body={"chat_template_kwargs": {"enable_thinking": thinks}},
        )

    first = await answer()
    messages += [first.choices[0].message, {"role": "user", "content": "What is my name?"}]
    second = await answer()
    assert first.usage and second.usage and second.usage.prompt_tokens_details
    assert second.usage.prompt_tokens_details.cached_tokens >= first.usage.prompt_tokens - n_dropped


async def test_usage_comes_with_the_stream_when_asked_for(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="demo",
        messages=[{"role": "user", "content": "Count to ten."}],
        max_tokens=7,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].usage and chunks[-1].usage.completion_tokens <= 7
    assert [chunk.choices for chunk in chunks[-1:]] == [[]]


async def complete(client: openai.AsyncOpenAI, **parameters: Any) -> Any:
    """Forty tokens of text and why it ended, whatever the model takes for an end."""
    answer = await client.completions.create(
        model="demo", prompt="Once upon a time", max_tokens=40, extra_body={"ignore_eos": True}, **parameters
    )
    return answer.choices[0]


async def test_text_completions_stop_at_a_stop_string(client: openai.AsyncOpenAI) -> None:
    whole = await complete(client, temperature=0)
    word = whole.text[20:24]
    cut = await complete(client, temperature=0, stop=[word])
    assert cut.text == whole.text[: whole.text.index(word)]
    assert (cut.finish_reason, whole.finish_reason) == ("stop", "length")


async def test_the_same_seed_gives_the_same_text(client: openai.AsyncOpenAI) -> None:
    texts = [(await complete(client, temperature=1.5, seed=seed)).text for seed in (7, 7, 8)]
    assert texts[0] == texts[1] != texts[2]


async def test_several_choices_count_all_their_tokens(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="demo",
        messages=[{"role": "user", "content": "Tell me a story."}],
        n=3,
        max_tokens=5,
        seed=1,
        extra_body={"ignore_eos": True},
    )
    assert len(answer.choices) == 3
    assert answer.usage and answer.usage.completion_tokens == 15


# --- clients that leave


async def test_a_client_that_leaves_frees_its_slot(client: openai.AsyncOpenAI, url: str) -> None:
    n_before = await n_predicted(url)
    stream = await client.completions.create(
        model="demo", prompt="once upon", max_tokens=1500, stream=True, extra_body={"ignore_eos": True}
    )
    async for _ in stream:
        break
    assert await n_busy(url) == 1
    await stream.close()
    await all_free(url)
    assert await n_predicted(url) - n_before < 1500, "it ended by itself"


async def test_a_client_that_does_not_wait_for_its_answer_frees_its_slot(url: str) -> None:
    n_before = await n_predicted(url)
    timeout = aiohttp.ClientTimeout(total=0.3)
    async with aiohttp.ClientSession(url, timeout=timeout) as hasty:
        with pytest.raises(asyncio.TimeoutError):  # not the built-in one before Python 3.11
            await post(hasty, "/completion", {"prompt": "once", "n_predict": 1800, "ignore_eos": True})
    await all_free(url)
    assert await n_predicted(url) - n_before < 1800, "it ended by itself"


async def all_free(url: str) -> None:
    deadline = time.monotonic() + 10
    while await n_busy(url):
        assert time.monotonic() < deadline, "the slot is still busy though its client has gone"
        await asyncio.sleep(0.01)


async def n_predicted(url: str) -> int:
    """How many tokens the server has generated since it began, those of clients that left included."""
    response = await asyncio.to_thread(requests.get, f"{url}/metrics", timeout=10)
    return next(int(float(line.split()[1])) for line in response.text.splitlines() if line.startswith(TOKENS_PREDICTED))


async def n_busy(url: str) -> int:
    _, slots = await asyncio.to_thread(get, f"{url}/slots")
    return sum(slot["is_processing"] for slot in slots)


# --- bad input: an error that says what is wrong, and the next request works


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/completion", "{", 400, "not valid JSON"),
        ("/completion", b"\xff\xfe", 400, "not valid JSON"),
        ("/completion", [], 400, "object"),
        ("/completion", {}, 400, "prompt"),
        ("/completion", {"prompt": 5}, 400, "prompt"),
        ("/completion", {"prompt": "x", "n_predict": "many"}, 400, "n_predict"),
        ("/completion", {"prompt": "x", "n_predict": -2}, 400, "n_predict"),
        ("/completion", {"prompt": "x", "temperature": [1]}, 400, "temperature"),
        ("/completion", {"prompt": [1, 2, 99999999]}, 400, "99999999"),
        ("/completion", {"prompt": [-5]}, 400, "-5"),
        ("/completion", {"prompt": "word " * 6000}, 400, "exceeds the available context size"),
        ("/completion", {"prompt": "x", "id_slot": 99}, 400, "99"),
        ("/completion", {"prompt": "x", "n": 99}, 400, "99"),
        ("/completion", {"prompt": "x", "repeat_penalty": 0}, 400, "repeat_penalty"),
        ("/completion", {"prompt": "x", "grammar": 'root ::= "a'}, 400, "line 1, column 12"),
        ("/completion", {"prompt": "x", "grammar": "root ::= " + "(" * 50_000}, 400, "nested"),
        ("/v1/chat/completions", {"messages": "hello"}, 400, "messages"),
        ("/v1/chat/completions", {"messages": [{"role": "user"}]}, 400, "content"),
        ("/v1/chat/completions", {"messages": [5]}, 400, "messages"),
        ("/detokenize", {"tokens": [99999999]}, 400, "99999999"),
        ("/nowhere", {}, 404, "File Not Found"),
    ],
)
async def test_bad_input_is_answered_clearly(
    http: aiohttp.ClientSession, path: str, body: Any, status: int, words: str
) -> None:
    got, answer = await post(http, path, body)
    assert got == status, answer
    assert words in answer["error"]["message"]
    good, _ = await post(http, "/completion", {"prompt": "fine", "n_predict": 1})
    assert good == 200


async def test_a_body_of_20_megabytes_is_refused_while_others_are_served(http: aiohttp.ClientSession) -> None:
    big = asyncio.create_task(post(http, "/completion", {"prompt": "lorem ipsum " * (20_000_000 // 12)}))
    slowest = 0.0
    while not big.done():
        began = time.monotonic()
        async with http.get("/health") as response:
            assert response.status == 200
        slowest = max(slowest, time.monotonic() - began)
        await asyncio.sleep(0.01)
    status, answer = await big
    assert status == 400
    assert answer["error"]["type"] == "exceed_context_size_error"
    assert answer["error"]["n_prompt_tokens"] > answer["error"]["n_ctx"]
    assert slowest < 2.0, "the event loop stood still"


async def test_a_body_over_the_limit_is_refused(http: aiohttp.ClientSession) -> None:
    status, answer = await post(http, "/completion", b" " * (65 << 20))
    assert status == 413
    assert "67108864" in answer["error"]["message"].replace(",", "").replace(" ", "")


# --- the end


async def test_ctrl_c_ends_the_server_within_two_seconds_with_clients_connected() -> None:
    with Server(REAL, ["--port", "0", "-np", "8", "-c", "16384", "-lv", "1", "--metrics"]) as server:
        url = await asyncio.to_thread(server.ready)
        async with aiohttp.ClientSession(url) as http:
            readers = [asyncio.create_task(read_all(http)) for _ in range(8)]
            while await n_busy(url) < 8:
                await asyncio.sleep(0.01)
            seconds = await asyncio.to_thread(server.interrupt)
            ends = await asyncio.gather(*readers)
        status, _, errors = await asyncio.to_thread(server.end)
    assert (status, errors) == (0, "")
    assert seconds < 2
    assert all(b"the server is stopping" in end for end in ends)


async def read_all(http: aiohttp.ClientSession) -> bytes:
    body = {"prompt": "once", "n_predict": 1900, "ignore_eos": True, "stream": True}
    async with http.post("/completion", json=body) as response:
        return await response.read()
