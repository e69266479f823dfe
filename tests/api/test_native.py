from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from llamahttp.api.native import pick
from llamahttp.api.state import STATE
from llamahttp.config import SamplingConfig
from tests.fakes import EOS, FakeDecoder, continuation

from .conftest import Client, Start, decode_events, post, post_error, stream

PROMPT = "once upon a time"
TEXT = bytes(continuation(list(PROMPT.encode()), 40)).decode()
TIMINGS = {
    *("cache_n", "prompt_n", "prompt_ms", "prompt_per_token_ms", "prompt_per_second"),
    *("predicted_n", "predicted_ms", "predicted_per_token_ms", "predicted_per_second"),
}
FINAL = {
    *("index", "content", "tokens", "id_slot", "stop", "model", "tokens_predicted", "tokens_evaluated"),
    *("generation_settings", "prompt", "has_new_line", "truncated", "stop_type", "stopping_word", "tokens_cached"),
    *("timings", "cache"),
}


async def complete(client: Client, **body: Any) -> Any:
    return await post(client, "/completion", {"prompt": PROMPT, "n_predict": 5} | body)


async def complete_stream(client: Client, **body: Any) -> list[Any]:
    return await stream(client, "/completion", {"prompt": PROMPT, "n_predict": 5} | body)


async def test_a_whole_answer(client: Client) -> None:
    answer = await complete(client)
    assert answer.keys() == FINAL
    assert answer["timings"].keys() == TIMINGS
    assert answer["content"] == TEXT[:5]
    assert (answer["stop"], answer["stop_type"], answer["truncated"]) == (True, "limit", False)
    assert (answer["tokens_predicted"], answer["tokens_evaluated"]) == (5, len(PROMPT))
    assert answer["tokens_cached"] == len(PROMPT) + 4
    assert (answer["prompt"], answer["tokens"]) == (PROMPT, [])
    assert answer["generation_settings"]["n_predict"] == answer["generation_settings"]["max_tokens"] == 5


async def test_the_bytes_of_a_stream(client: Client) -> None:
    body = {"prompt": "ab", "n_predict": 2, "stream": True}
    first, second = continuation(b"ab", 2)
    async with client.post("/completion", json=body) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        data = await response.read()
    events = data.split(b"\n\n")
    assert events[0] == (
        b'data: {"index":0,"content":"%c","tokens":[%d],"stop":false,"id_slot":-1,'
        b'"tokens_predicted":1,"tokens_evaluated":2}' % (first, first)
    )
    assert events[1] == (
        b'data: {"index":0,"content":"%c","tokens":[%d],"stop":false,"id_slot":-1,'
        b'"tokens_predicted":2,"tokens_evaluated":2}' % (second, second)
    )
    assert events[2].startswith(b'data: {"index":0,"content":"","tokens":[],"id_slot":')
    assert events[3:] == [b""], "a native stream ends with its final event"


async def test_a_stream_ends_with_the_whole_answer_s_fields(client: Client) -> None:
    *chunks, final = await complete_stream(client)
    assert "".join(chunk["content"] for chunk in chunks) == TEXT[:5]
    assert final.keys() == FINAL
    assert (final["content"], final["tokens"], final["tokens_predicted"]) == ("", [], 5)


async def test_no_tokens_are_given_when_none_are_wanted(client: Client) -> None:
    answer = await complete(client, n_predict=0)
    assert (answer["content"], answer["tokens_predicted"], answer["stop_type"]) == ("", 0, "limit")
    (final,) = await complete_stream(client, n_predict=0)
    assert (final["stop"], final["tokens_predicted"]) == (True, 0)


async def test_an_answer_that_ends_by_itself(start: Start) -> None:
    decoder = FakeDecoder()
    decoder.end_after = len(PROMPT) + 3
    client = await start(decoder)
    answer = await complete(client, n_predict=-1, return_tokens=True)
    assert (answer["content"], answer["stop_type"]) == (TEXT[:3], "eos")
    assert answer["tokens"] == [*TEXT[:3].encode(), EOS]
    *chunks, final = await complete_stream(client, n_predict=-1)
    assert [token for chunk in chunks for token in chunk["tokens"]] == [*TEXT[:3].encode(), EOS]
    assert (final["stop_type"], final["tokens_predicted"]) == ("eos", 4)


async def test_an_answer_that_fills_the_context(start: Start) -> None:
    client = await start(FakeDecoder(n_ctx=32))
    answer = await complete(client, n_predict=-1)
    assert (answer["stop_type"], answer["truncated"]) == ("limit", True)
    assert answer["tokens_predicted"] == 32 - len(PROMPT)


@pytest.mark.parametrize("n_before", [0, 1, 7])
async def test_a_stop_string_is_left_out(client: Client, n_before: int) -> None:
    word = TEXT[n_before : n_before + 3]
    at = TEXT.index(word)
    for answer in (
        await complete(client, n_predict=30, stop=[word, "never"]),
        (await complete_stream(client, n_predict=30, stop=word))[-1],
    ):
        assert (answer["stop_type"], answer["stopping_word"]) == ("word", word)
        assert answer["tokens_predicted"] == at + 3
    events = await complete_stream(client, n_predict=30, stop=[word])
    assert "".join(event["content"] for event in events) == TEXT[:at]


async def test_text_held_back_comes_with_its_tokens(client: Client) -> None:
    """Tokens of a text that might have become a stop string are in the chunk that shows it."""
    events = await complete_stream(client, n_predict=8, stop=[TEXT[2:5] + "!"])
    chunks = events[:-1]
    assert [chunk["content"] for chunk in chunks][:3] == [TEXT[0], TEXT[1], TEXT[2:6]]
    assert chunks[2]["tokens"] == list(TEXT[2:6].encode())
    assert all(chunk["content"] for chunk in chunks)


async def test_a_slot_is_free_after_a_stop_string(client: Client) -> None:
    await complete(client, n_predict=-1, stop=[TEXT[:1]])
    async with client.get("/slots") as response:
        assert not any(slot["is_processing"] for slot in await response.json())


async def test_probabilities(client: Client) -> None:
    answer = await complete(client, n_predict=2, n_probs=3)
    entries = answer["completion_probabilities"]
    assert [entry["token"] for entry in entries] == list(TEXT[:2])
    assert entries[0]["bytes"] == [ord(TEXT[0])]
    assert entries[0].keys() == {"id", "token", "bytes", "logprob", "top_logprobs"}
    assert len(entries[0]["top_logprobs"]) == 3
    assert entries[0]["top_logprobs"][0] == {key: value for key, value in entries[0].items() if key != "top_logprobs"}
    *chunks, final = await complete_stream(client, n_predict=2, n_probs=3)
    assert [entry for chunk in chunks for entry in chunk["completion_probabilities"]] == entries
    assert "completion_probabilities" not in final


async def test_probabilities_end_where_the_text_does(client: Client) -> None:
    answer = await complete(client, n_predict=20, n_probs=1, stop=[TEXT[3:6]])
    shown = "".join(entry["token"] for entry in answer["completion_probabilities"])
    assert shown == answer["content"] == TEXT[:3]


async def test_several_prompts_with_several_answers(client: Client) -> None:
    prompts = ["ab", [99, 100], ["a", 98]]
    single = [bytes(continuation(p, 2)).decode() for p in (b"ab", b"cd")]
    answers = await complete(client, prompt=prompts, n_predict=2)
    assert [(a["index"], a["prompt"]) for a in answers] == [(0, "ab"), (1, "cd"), (2, "ab")]
    assert [a["content"] for a in answers] == [single[0], single[1], single[0]]
    answers = await complete(client, prompt=prompts[:2], n_predict=2, n=2)
    assert [(a["index"], a["prompt"]) for a in answers] == [(0, "ab"), (1, "ab"), (2, "cd"), (3, "cd")]
    events = await complete_stream(client, prompt=prompts[:2], n_predict=2, n=2)
    texts = {i: "".join(e["content"] for e in events if e["index"] == i) for i in range(4)}
    assert texts == {0: single[0], 1: single[0], 2: single[1], 3: single[1]}
    assert sorted(e["index"] for e in events if e["stop"]) == [0, 1, 2, 3]


async def test_answers_to_one_prompt_have_seeds_of_their_own(client: Client) -> None:
    answers = await complete(client, n=3, seed=7)
    assert [answer["generation_settings"]["seed"] for answer in answers] == [7, 8, 9]


async def test_progress_and_timings_in_chunks(start: Start) -> None:
    client = await start(FakeDecoder(n_batch=64))
    events = await complete_stream(client, prompt="x" * 150, return_progress=True, timings_per_token=True)
    progress = [event["prompt_progress"] for event in events if "prompt_progress" in event]
    assert progress[-1].keys() == {"total", "cache", "processed", "time_ms"}
    assert [p["processed"] for p in progress] == sorted(p["processed"] for p in progress)
    assert (progress[0]["total"], progress[-1]["processed"]) == (150, 150)
    chunks = [event for event in events if event["content"]]
    assert [chunk["timings"]["predicted_n"] for chunk in chunks] == [1, 2, 3, 4, 5]
    assert chunks[0]["timings"].keys() == TIMINGS


async def test_a_time_limit_waits_for_a_new_line(start: Start) -> None:
    decoder = FakeDecoder()
    decoder.step_seconds = 0.002
    client = await start(decoder)
    assert (await complete(client, t_max_predict_ms=1))["tokens_predicted"] == 5, "no line has ended"


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        (["content"], {"content"}),
        (["content", "timings/predicted_n", "nope", "content/x"], {"content", "timings/predicted_n"}),
    ],
)
async def test_response_fields(client: Client, fields: list[str], keys: set[str]) -> None:
    assert (await complete(client, response_fields=fields)).keys() == keys


def test_pick_reaches_into_objects() -> None:
    assert pick({"a": {"b": {"c": 1}}}, ["a/b/c", "a/b"]) == {"a/b/c": 1, "a/b": {"c": 1}}


async def test_echo_begins_with_the_prompt(client: Client) -> None:
    assert (await complete(client, echo=True))["content"] == PROMPT + TEXT[:5]
    events = await complete_stream(client, echo=True)
    assert "".join(event["content"] for event in events) == PROMPT + TEXT[:5]


async def test_biases_reach_the_sampler(client: Client) -> None:
    bias = [["ab", 2], [5, False], [6, True], ["x"], 7]
    answer = await complete(client, logit_bias=bias)
    assert answer["generation_settings"]["logit_bias"] == [
        {"bias": 2.0, "token": 97},
        {"bias": 2.0, "token": 98},
        {"bias": None, "token": 5},
    ]


@pytest.mark.parametrize("token", [EOS + 1, -1])
async def test_a_bias_of_no_token_is_named(client: Client, token: int) -> None:
    error = (await post(client, "/completion", {"prompt": "a", "logit_bias": [[token, 1]]}, 400))["error"]
    assert error["message"] == f"Field 'logit_bias': there is no token {token}; the vocabulary has {EOS + 1}"


async def test_the_server_s_defaults_and_the_model_s_are_shown_and_used(start: Start) -> None:
    client = await start(sampling=SamplingConfig(top_k=7, logit_bias=((5, 1.0),), samplers=("top_k",)))
    answer = await complete(client, min_p=0.5)
    settings = answer["generation_settings"]
    assert (settings["top_k"], settings["min_p"], settings["samplers"]) == (7, 0.5, ["top_k"])
    assert settings["logit_bias"] == [{"bias": 1.0, "token": 5}]
    async with client.get("/props") as response:
        shown = (await response.json())["default_generation_settings"]["params"]
    assert (shown["top_k"], shown["samplers"]) == (7, ["top_k"])


async def test_the_server_s_limit_holds(start: Start) -> None:
    client = await start(n_predict=3)
    assert (await complete(client, n_predict=-1))["tokens_predicted"] == 3


@pytest.mark.parametrize("prompt", ["", [[]]])
async def test_a_prompt_of_no_token_has_an_empty_answer(client: Client, prompt: object) -> None:
    answer = await complete(client, prompt=prompt, n_predict=5)
    names = ("content", "stop_type", "tokens_predicted", "tokens_evaluated")
    assert [answer[name] for name in names] == ["", "none", 0, 0]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "'prompt' is required"),
        ({"prompt": None}, "'prompt' is required"),
        ({"prompt": 5}, '"prompt" elements must be'),
        ({"prompt": {"a": 1}}, '"prompt" elements must be'),
        ({"prompt": [{}]}, '"prompt" elements must be'),
        ({"prompt": [1.5, 2]}, '"prompt" elements must be'),
        ({"prompt": [1, True]}, '"prompt" elements must be'),
        ({"prompt": []}, '"prompt" must not be empty'),
        ({"prompt": [1, 9999]}, "prompt token 1 is 9999"),
        ({"prompt": [-5]}, "prompt token 0 is -5"),
        ({"prompt": [2**40]}, "Prompt contains invalid tokens"),
        ({"prompt": ["a"] * 2000}, '"prompt" asks for 2000 answers'),
        ({"prompt": "a", "id_slot": 9}, "id_slot must be between -1 and 3, but got 9"),
        ({"prompt": "a", "id_slot": "x"}, "Field 'id_slot': type must be number, but is string"),
        ({"prompt": "a", "n_predict": "x"}, "Field 'n_predict': type must be number, but is string"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_bad_requests_and_the_next_one_works(
    client: Client, body: dict[str, object], message: str, streamed: bool
) -> None:
    assert (await post_error(client, "/completion", body | {"stream": streamed})).startswith(message)
    assert (await complete(client))["content"] == TEXT[:5]


@pytest.mark.parametrize(
    "prompt",
    ["x" * 5000, [1] * 5000, ["a", *[1] * 5000], "x" * 20_000_000, ["x" * 20_000_000, 1]],
    ids=["text", "ids", "mixed", "huge", "huge-mixed"],
)
async def test_a_prompt_that_is_too_long_tells_by_how_much(client: Client, prompt: object) -> None:
    answer = await post(client, "/completion", {"prompt": prompt}, 400)
    error = answer["error"]
    assert (error["type"], error["n_ctx"]) == ("exceed_context_size_error", 4096)
    assert error["n_prompt_tokens"] >= 5000


async def test_media_are_not_there_yet(client: Client) -> None:
    body = {"prompt": {"prompt_string": "a", "multimodal_data": ["AAAA"]}}
    await post_error(client, "/completion", body, 501)
    assert (await complete(client, prompt={"prompt_string": PROMPT}))["content"] == TEXT[:5]


async def test_an_error_before_the_first_token_is_an_http_error(start: Start) -> None:
    decoder = FakeDecoder()
    decoder.errors = [RuntimeError("the device is gone")]
    client = await start(decoder)
    assert "the device is gone" in await post_error(client, "/completion", {"prompt": "a", "stream": True}, 500)
    assert (await complete(client))["content"] == TEXT[:5]


async def test_a_later_error_is_the_last_event(start: Start) -> None:
    decoder = FakeDecoder()
    client = await start(decoder)
    async with client.post("/completion", json={"prompt": PROMPT, "stream": True, "n_predict": 3000}) as response:
        await response.content.readuntil(b"\n\n")
        decoder.errors.append(RuntimeError("the device is gone"))
        *_, last = decode_events(await response.read())
    assert last["error"].keys() == {"code", "message", "type"}
    assert "the device is gone" in last["error"]["message"]


async def test_leaving_a_stream_frees_its_slots(start: Start) -> None:
    decoder = FakeDecoder()
    decoder.step_seconds = 0.001
    client = await start(decoder)
    body = {"prompt": PROMPT, "stream": True, "n_predict": 4000, "n": 3}
    async with client.post("/completion", json=body) as response:
        await response.content.readuntil(b"\n\n")
        response.close()
    await until_idle(client)


async def test_leaving_a_whole_answer_frees_its_slot(start: Start) -> None:
    decoder = FakeDecoder()
    decoder.step_seconds = 0.001
    client = await start(decoder)
    request = asyncio.create_task(post(client, "/completion", {"prompt": PROMPT, "n_predict": 4000}))
    while not decoder.batches:
        await asyncio.sleep(0.001)
    request.cancel()
    await until_idle(client)


async def until_idle(client: Client) -> None:
    assert client.app is not None
    engine = client.app[STATE].engine
    assert engine is not None
    deadline = time.monotonic() + 5
    while any(slot.state.value != "idle" for slot in (await engine.snapshot()).slots):
        assert time.monotonic() < deadline, "a slot still works for a client that has gone"
        await asyncio.sleep(0.005)


async def test_a_full_queue_says_when_to_come_back(start: Start) -> None:
    decoder = FakeDecoder(n_slots=1)
    client = await start(decoder, queue_size=2)
    decoder.gate.clear()

    async def ask() -> tuple[int, str | None]:
        async with client.post("/completion", json={"prompt": "a", "n_predict": 1}) as response:
            await response.read()
            return response.status, response.headers.get("Retry-After")

    requests = [asyncio.create_task(ask()) for _ in range(5)]
    refused, _ = await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
    assert {(status, int(seconds or 0) >= 1) for status, seconds in (request.result() for request in refused)} == {
        (429, True)
    }
    decoder.gate.set()
    answers = await asyncio.gather(*requests)
    assert answers.count((200, None)) in (2, 3), "two wait, and perhaps one had left the queue for the slot"


async def test_more_prompts_than_can_ever_wait_are_a_bad_request(start: Start) -> None:
    client = await start(queue_size=5)
    body = {"prompt": ["a"] * 3, "n": 2, "n_predict": 1}
    assert "6 answers" in await post_error(client, "/completion", body)
    assert len(await post(client, "/completion", body | {"n": 1})) == 3


# --- tokens


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"content": "ab"}, [97, 98]),
        ({"content": ["a", 5, "b"]}, [97, 5, 98]),
        ({"content": [1, 2]}, [1, 2]),
        ({"content": ""}, []),
        ({}, []),
        ({"content": [1] * 5000}, [1] * 5000),
        ({"content": "a", "add_special": True, "parse_special": False}, [97]),
    ],
)
async def test_tokenize(client: Client, body: dict[str, object], tokens: list[int]) -> None:
    assert await post(client, "/tokenize", body) == {"tokens": tokens}


async def test_tokenize_with_pieces_shows_bytes_that_are_no_text(client: Client) -> None:
    answer = await post(client, "/tokenize", {"content": "aé", "with_pieces": True})
    assert answer["tokens"] == [
        {"id": 97, "piece": "a"},
        {"id": 195, "piece": [195]},
        {"id": 169, "piece": [169]},
    ]


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/tokenize", {"content": 5}, "Field 'content': type must be string or array, but is number"),
        ("/tokenize", {"content": [None]}, '"content" elements must be'),
        ("/tokenize", {"content": [9999], "with_pieces": True}, "Field 'content': Value must be between 0 <= value"),
        ("/tokenize", {"content": "a", "add_special": "x"}, "Field 'add_special': type must be boolean"),
        ("/detokenize", {"tokens": "x"}, "Field 'tokens': type must be array, but is string"),
        ("/detokenize", {"tokens": ["x"]}, "Field 'tokens': type must be array of numbers, but is string"),
        ("/detokenize", {"tokens": [9999]}, "Field 'tokens': Value must be between 0 <= value <= 256, but got 9999"),
        ("/detokenize", {"tokens": [-1]}, "Field 'tokens': Value must be between 0 <= value <= 256, but got -1"),
    ],
)
async def test_bad_tokens(client: Client, path: str, body: dict[str, object], message: str) -> None:
    assert (await post_error(client, path, body)).startswith(message)


async def test_detokenize(client: Client) -> None:
    assert await post(client, "/detokenize", {"tokens": [97, EOS, 98]}) == {"content": "a<eos>b"}
    assert await post(client, "/detokenize", {}) == {"content": ""}


async def test_apply_template(client: Client) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}]}
    assert await post(client, "/apply-template", body) == {
        "prompt": "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    }
