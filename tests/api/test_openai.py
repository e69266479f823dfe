from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import numpy as np
import openai
import pytest
from numpy.typing import NDArray

from llamahttp.builtin_templates import CHATML
from llamahttp.config import ModelSource
from tests.fakes import EOS, N_VOCAB, FakeDecoder, continuation

from .conftest import Client, Start, get, post, post_error, stream

TEXT_PATH = "/v1/completions"
CHAT_PATH = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "hi"}]
PROMPT = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
ANSWER = bytes(continuation(PROMPT.encode(), 40)).decode()
TEXT = bytes(continuation(b"once", 40)).decode()


async def chat(client: Client, **body: Any) -> Any:
    return await post(client, CHAT_PATH, {"messages": MESSAGES, "max_tokens": 3} | body)


async def chat_stream(client: Client, **body: Any) -> list[Any]:
    return await stream(client, CHAT_PATH, {"messages": MESSAGES, "max_tokens": 3} | body)


def streamed_text(chunks: list[Any]) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in chunks[:-1] for choice in chunk["choices"])


async def complete(client: Client, **body: Any) -> Any:
    return await post(client, TEXT_PATH, {"prompt": "once", "max_tokens": 3} | body)


async def complete_stream(client: Client, **body: Any) -> list[Any]:
    return await stream(client, TEXT_PATH, {"prompt": "once", "max_tokens": 3} | body)


def usage(n_prompt: int, n_predicted: int) -> dict[str, object]:
    return {
        "completion_tokens": n_predicted,
        "prompt_tokens": n_prompt,
        "total_tokens": n_prompt + n_predicted,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


# --- chat


async def test_a_whole_chat(client: Client) -> None:
    answer = await chat(client)
    keys = ["choices", "created", "model", "system_fingerprint", "object", "usage", "id", "timings", "cache"]
    assert list(answer) == keys
    assert answer["choices"] == [
        {"finish_reason": "length", "index": 0, "message": {"role": "assistant", "content": ANSWER[:3]}}
    ]
    assert (answer["object"], answer["model"]) == ("chat.completion", "demo.gguf")
    assert answer["usage"] == usage(len(PROMPT), 3)
    assert answer["id"].startswith("chatcmpl-")


async def test_the_bytes_of_a_chat_stream(client: Client) -> None:
    async with client.post(CHAT_PATH, json={"messages": MESSAGES, "max_tokens": 2, "stream": True}) as response:
        events = (await response.read()).split(b"\n\n")
    head = b'data: {"choices":[{"finish_reason":null,"index":0,"delta":'
    for event, delta in zip(events, [b'{"role":"assistant","content":null}', *deltas(ANSWER[:2])], strict=False):
        assert event.startswith(head + delta + b'}],"created":')
        assert event.endswith(b'"object":"chat.completion.chunk"}')
    assert events[3].startswith(b'data: {"choices":[{"finish_reason":"length","index":0,"delta":{}}],"created":')
    assert events[4:] == [b"data: [DONE]", b""]


def deltas(text: str) -> list[bytes]:
    return [b'{"content":"%c"}' % ord(character) for character in text]


async def test_chunks_of_a_chat(client: Client) -> None:
    *chunks, done = await chat_stream(client)
    assert done == "[DONE]"
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": None}
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == ANSWER[:3]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 4 + ["length"]
    assert ["timings" in chunk for chunk in chunks] == [False] * 4 + [True]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert not any("usage" in chunk for chunk in chunks)


async def test_usage_comes_in_a_chunk_of_its_own_when_asked_for(client: Client) -> None:
    *_, finish, last, done = await chat_stream(client, stream_options={"include_usage": True})
    assert (last["choices"], last["usage"], done) == ([], usage(len(PROMPT), 3), "[DONE]")
    assert "timings" in last and "timings" not in finish


async def test_usage_counts_every_choice_and_the_prompt_once(client: Client) -> None:
    answer = await chat(client, n=3)
    assert answer["usage"] == usage(len(PROMPT), 9)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    *chunks, last, _ = await chat_stream(client, n=3, stream_options={"include_usage": True})
    assert last["usage"]["completion_tokens"] == 9
    texts = ["", "", ""]
    for choice in (chunk["choices"][0] for chunk in chunks):
        texts[choice["index"]] += choice["delta"].get("content") or ""
    assert texts == [ANSWER[:3]] * 3
    assert sum("usage" in chunk for chunk in chunks) == 0


async def test_a_chat_that_ends_by_itself(start: Start) -> None:
    decoder = FakeDecoder()
    decoder.end_after = len(PROMPT) + 1
    client = await start(decoder)
    assert (await chat(client, max_tokens=9))["choices"][0]["finish_reason"] == "stop"
    chunks = await chat_stream(client, max_tokens=9)
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None, None, "stop"]


async def test_an_empty_answer_still_names_its_role(start: Start) -> None:
    decoder = FakeDecoder()
    decoder.end_after = 1
    client = await start(decoder)
    chunks = await chat_stream(client)
    assert [chunk["choices"][0]["delta"] for chunk in chunks[:-1]] == [{"role": "assistant", "content": None}, {}]
    assert (await chat(client))["choices"][0]["message"] == {"role": "assistant", "content": ""}


async def test_the_role_is_told_while_text_is_held_back(client: Client) -> None:
    chunks = await chat_stream(client, stop=[ANSWER[:2] + "!"])
    contents = [chunk["choices"][0]["delta"].get("content") for chunk in chunks[:-1]]
    assert contents == [None, ANSWER[:3], None]


async def test_chat_log_probabilities(client: Client) -> None:
    (choice,) = (await chat(client, logprobs=True, top_logprobs=2))["choices"]
    entries = choice["logprobs"]["content"]
    assert "".join(entry["token"] for entry in entries) == ANSWER[:3]
    assert [len(entry["top_logprobs"]) for entry in entries] == [2, 2, 2]
    (choice,) = (await chat(client, logprobs=True))["choices"]
    assert [entry["top_logprobs"] for entry in choice["logprobs"]["content"]] == [[], [], []]
    chunks = await chat_stream(client, logprobs=True, top_logprobs=2)
    streamed = [chunk["choices"][0].get("logprobs") for chunk in chunks[:-1]]
    assert streamed == [None, *({"content": [entry]} for entry in entries), None]


async def test_progress_of_a_chat(client: Client) -> None:
    first, *_ = await chat_stream(client, return_progress=True)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": None}
    assert first["prompt_progress"]["total"] == len(PROMPT)


async def test_timings_of_a_chat(client: Client) -> None:
    chunks = await chat_stream(client, timings_per_token=True)
    assert ["timings" in chunk for chunk in chunks[:-1]] == [False, True, True, True, True]


async def test_an_assistant_message_at_the_end_is_continued(client: Client) -> None:
    messages = [*MESSAGES, {"role": "assistant", "content": ANSWER[:4]}]
    assert (await chat(client, messages=messages))["choices"][0]["message"]["content"] == ANSWER[:7]
    asked: dict[str, Any] = {"messages": messages, "continue_final_message": True, "add_generation_prompt": False}
    assert (await chat(client, **asked))["choices"][0]["message"]["content"] == ANSWER[:7]
    assert streamed_text(await chat_stream(client, messages=messages)) == ANSWER[:7]
    assert streamed_text(await chat_stream(client, **asked)) == ANSWER[4:7]
    assert streamed_text(await chat_stream(client, **asked, echo=True)) == ANSWER[:7]


# --- reasoning

THINKING = CHATML + "{% if add_generation_prompt %}{{ '<think>\\n' }}{% endif %}{# </think> #}"


class ScriptedDecoder(FakeDecoder):
    """A model that says `script` after its prompt, and then ends."""

    def __init__(self, prompt: str, script: str) -> None:
        super().__init__()
        self._start = len(prompt.encode())
        self._script = [*script.encode(), EOS]

    def logits(self, n_outputs: int) -> NDArray[np.float32]:
        logits = np.zeros((n_outputs, N_VOCAB), np.float32)
        for row, (id_seq, _) in enumerate(self.batches[-1][-n_outputs:]):
            logits[row, self._script[len(self.memory[id_seq]) - self._start]] = 10.0
        return logits


def thinking_decoder() -> ScriptedDecoder:
    return ScriptedDecoder(PROMPT + "<think>\n", "well\n</think>\n\nyes")


async def test_thoughts_are_not_content(start: Start) -> None:
    client = await start(thinking_decoder(), THINKING)
    (choice,) = (await chat(client, max_tokens=50))["choices"]
    assert choice["message"] == {"role": "assistant", "content": "yes", "reasoning_content": "well"}
    chunks = await chat_stream(client, max_tokens=50)
    assert [chunk["choices"][0]["delta"] for chunk in chunks[:-1]] == [
        {"role": "assistant", "content": None},
        *({"reasoning_content": letter} for letter in "well"),
        *({"content": letter} for letter in "yes"),
        {},
    ]


async def test_thoughts_stay_in_the_content_when_asked(start: Start) -> None:
    client = await start(thinking_decoder(), THINKING)
    answer = await chat(client, max_tokens=50, reasoning_format="none")
    assert answer["choices"][0]["message"]["content"] == "<think>\nwell\n</think>\n\nyes"
    chunks = await chat_stream(client, max_tokens=50, reasoning_format="none")
    assert chunks[1]["choices"][0]["delta"] == {"content": "<think>\nw"}


async def test_a_thought_that_never_ends_is_all_there_is(start: Start) -> None:
    client = await start(thinking_decoder(), THINKING)
    (choice,) = (await chat(client, max_tokens=3))["choices"]
    assert choice["message"] == {"role": "assistant", "content": "", "reasoning_content": "wel"}
    chunks = await chat_stream(client, max_tokens=5)
    assert [chunk["choices"][0]["delta"] for chunk in chunks[1:-1]][-2:] == [{"reasoning_content": "l"}, {}]


async def test_probabilities_of_thoughts(start: Start) -> None:
    client = await start(thinking_decoder(), THINKING)
    chunks = await chat_stream(client, max_tokens=50, logprobs=True)
    shown = [chunk["choices"][0].get("logprobs") or {"content": []} for chunk in chunks[:-1]]
    tokens = "".join(entry["token"] for logprobs in shown for entry in logprobs["content"])
    assert tokens == "well\n</think>\n\nyes"


# --- text


async def test_a_whole_text(client: Client) -> None:
    answer = await complete(client)
    keys = ["choices", "created", "model", "system_fingerprint", "object", "usage", "id", "timings", "cache"]
    assert list(answer) == keys
    assert answer["choices"] == [{"text": TEXT[:3], "index": 0, "logprobs": None, "finish_reason": "length"}]
    assert (answer["object"], answer["usage"]) == ("text_completion", usage(4, 3))


async def test_chunks_of_a_text(client: Client) -> None:
    *chunks, done = await complete_stream(client)
    keys = ["choices", "created", "model", "system_fingerprint", "object", "id"]
    assert [list(chunk) for chunk in chunks[:-1]] == [keys] * 3
    assert list(chunks[-1]) == [*keys[:-1], "usage", "id", "timings", "cache"]
    assert [chunk["choices"][0]["text"] for chunk in chunks] == [*TEXT[:3], ""]
    assert chunks[0]["choices"] == [{"text": TEXT[0], "index": 0, "logprobs": None, "finish_reason": None}]
    assert (chunks[-1]["choices"][0]["finish_reason"], done) == ("length", "[DONE]")
    assert chunks[-1]["usage"] == usage(4, 3)


async def test_the_last_usage_of_a_stream_counts_every_choice(client: Client) -> None:
    *chunks, _ = await complete_stream(client, prompt=["once", "upon"], n=2)
    totals = [chunk["usage"] for chunk in chunks if "usage" in chunk]
    assert (totals[-1]["prompt_tokens"], totals[-1]["completion_tokens"]) == (8, 12)
    assert (await complete(client, prompt=["once", "upon"], n=2))["usage"]["total_tokens"] == 20


async def test_text_log_probabilities(client: Client) -> None:
    (choice,) = (await complete(client, logprobs=2))["choices"]
    assert "".join(entry["token"] for entry in choice["logprobs"]["content"]) == TEXT[:3]
    chunks = await complete_stream(client, logprobs=2)
    streamed = [chunk["choices"][0]["logprobs"] for chunk in chunks[:-1]]
    by_token = [{name: [entries[i]] for name, entries in choice["logprobs"].items()} for i in range(3)]
    assert streamed == [*by_token, None]


async def test_text_log_probabilities_are_in_openai_s_shape_too(client: Client) -> None:
    (choice,) = (await complete(client, logprobs=2))["choices"]
    shown = choice["logprobs"]
    assert shown["tokens"] == list(TEXT[:3])
    assert shown["token_logprobs"] == [entry["logprob"] for entry in shown["content"]]
    assert shown["text_offset"] == [0, 1, 2]
    for entry, likely in zip(shown["content"], shown["top_logprobs"], strict=True):
        assert likely == {other["token"]: other["logprob"] for other in entry["top_logprobs"]}


async def test_the_best_of_several_answers(client: Client) -> None:
    one = {"n": 4, "logprobs": 0, "temperature": 1.5, "seed": 7}
    all_four = (await complete(client, **one))["choices"]
    likelihood = [sum(c["logprobs"]["token_logprobs"]) / len(c["logprobs"]["tokens"]) for c in all_four]
    order = sorted(range(4), key=lambda i: -likelihood[i])
    best = (await complete(client, **one | {"n": 2, "best_of": 4}))["choices"]
    assert [choice["text"] for choice in best] == [all_four[i]["text"] for i in order[:2]]
    assert [choice["index"] for choice in best] == [0, 1]
    (plain,) = (await complete(client, n=1, best_of=4, temperature=1.5, seed=7))["choices"]
    assert (plain["text"], plain["logprobs"]) == (best[0]["text"], None)


async def test_echo_repeats_the_prompt(client: Client) -> None:
    answer = await complete(client, prompt=["once", [98, 99]], echo=True)
    assert answer["choices"][0]["text"].startswith("once")
    assert answer["choices"][1]["text"].startswith("bc")


@pytest.mark.parametrize(
    ("body", "status", "name"),
    [
        ({"suffix": "x"}, 400, "suffix"),
        ({"best_of": 5}, 400, "best_of"),
        ({"echo": True, "logprobs": 1}, 400, "echo"),
        ({"best_of": "x"}, 400, "best_of"),
    ],
)
async def test_what_is_not_done_is_not_ignored(client: Client, body: dict[str, object], status: int, name: str) -> None:
    assert f"'{name}'" in await post_error(client, TEXT_PATH, {"prompt": "a"} | body, status)


async def test_what_is_the_default_is_accepted(client: Client) -> None:
    answer = await complete(client, suffix="", best_of=2, n=2, echo=False, user="me", store=False, logprobs=None)
    assert len(answer["choices"]) == 2


# --- models, and the client that people use


async def test_models(client: Client) -> None:
    async with client.get("/v1/models") as response:
        answer = await response.json()
    (model,) = answer["data"]
    assert list(model) == ["id", "aliases", "tags", "object", "created", "owned_by", "meta"]
    assert (model["id"], model["meta"]["n_ctx"], model["meta"]["n_vocab"]) == ("demo.gguf", 4096, 257)
    assert answer["models"][0]["name"] == "demo.gguf"


@pytest.mark.parametrize("path", ["/tmp/x/y.gguf", "user/repo:Q8_0", "a b"])
async def test_a_model_is_found_whose_name_is_a_path(start: Start, path: str) -> None:
    client = await start(source=ModelSource(path=path))
    for asked in (path, quote(path, safe="")):
        assert (await get(client, f"/v1/models/{asked}"))["id"] == path


async def test_the_alias_is_the_model_s_name(start: Start) -> None:
    client = await start(alias="mine,other", tags=("small", "new"))
    assert (await chat(client))["model"] == "mine"
    async with client.get("/v1/models") as response:
        (model,) = (await response.json())["data"]
    assert (model["id"], model["aliases"], model["tags"]) == ("mine", ["mine", "other"], ["small", "new"])


@pytest.fixture
async def sdk(start: Start) -> AsyncIterator[openai.AsyncOpenAI]:
    client = await start(api_keys=frozenset({"secret"}))
    async with openai.AsyncOpenAI(base_url=str(client.make_url("/v1")), api_key="secret", max_retries=0) as sdk:
        yield sdk


async def test_eight_clients_stream_at_once(sdk: openai.AsyncOpenAI) -> None:
    async def ask(question: str) -> str:
        messages: Any = [{"role": "user", "content": question}]
        chunks = await sdk.chat.completions.create(model="any", messages=messages, stream=True, max_tokens=20)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])

    questions = [f"question {i}" for i in range(8)]
    answers = await asyncio.gather(*map(ask, questions))
    for question, answer in zip(questions, answers, strict=True):
        prompt = PROMPT.replace("hi", question).encode()
        assert answer == bytes(continuation(prompt, 20)).decode()


async def test_the_sdk_reads_every_shape(sdk: openai.AsyncOpenAI) -> None:
    messages: Any = MESSAGES
    whole = await sdk.chat.completions.create(
        model="m", messages=messages, max_tokens=3, n=2, logprobs=True, top_logprobs=1
    )
    assert [choice.message.content for choice in whole.choices] == [ANSWER[:3]] * 2
    assert whole.usage is not None and whole.usage.completion_tokens == 6
    chunks = await sdk.chat.completions.create(
        model="m", messages=messages, max_tokens=3, stream=True, stream_options={"include_usage": True}
    )
    *_, last = [chunk async for chunk in chunks]
    assert last.usage is not None and last.usage.total_tokens == len(PROMPT) + 3
    text = await sdk.completions.create(model="m", prompt="once", max_tokens=3)
    assert text.choices[0].text == TEXT[:3]
    assert [model.id async for model in sdk.models.list()] == ["demo.gguf"]
    assert (await sdk.models.retrieve("demo.gguf")).owned_by == "llamacpp"
    with pytest.raises(openai.NotFoundError, match=r"there is no model 'gpt-5'; this server has 'demo\.gguf'"):
        await sdk.models.retrieve("gpt-5")


async def test_the_sdk_raises_its_own_errors(sdk: openai.AsyncOpenAI) -> None:
    messages: Any = MESSAGES
    bad: Any = [{"role": "user"}]
    with pytest.raises(openai.BadRequestError, match="must contain 'content'"):
        await sdk.chat.completions.create(model="m", messages=bad)
    with pytest.raises(openai.BadRequestError, match="Value must be between"):
        await sdk.chat.completions.create(model="m", messages=messages, stream=True, max_tokens=-2)
    with pytest.raises(openai.AuthenticationError):
        await sdk.with_options(api_key="wrong").models.list()
    with pytest.raises(openai.InternalServerError, match="does not support embeddings") as error:
        await sdk.embeddings.create(model="m", input="x")
    assert error.value.response.headers["x-should-retry"] == "false"


# --- verbose


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
async def test_verbose_shows_the_native_answer(client: Client, path: str) -> None:
    body: dict[str, Any] = {"prompt": "ab", "messages": [{"role": "user", "content": "ab"}], "max_tokens": 3}
    plain = await post(client, path, body)
    assert "__verbose" not in plain
    shown = (await post(client, path, body | {"verbose": True}))["__verbose"]
    assert (shown["tokens_predicted"], shown["stop_type"]) == (3, "limit")
    assert "ab" in shown["prompt"]
    *chunks, last, _ = await stream(client, path, body | {"verbose": True})
    assert last["__verbose"]["prompt"] == shown["prompt"]
    assert all("__verbose" not in chunk for chunk in chunks)
