"""OpenAI's Responses API over a fake engine: its stream, its items, its store, and the openai package as a client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from numpy.typing import NDArray
from openai.types import responses as sdk_types
from pydantic import TypeAdapter

from llamahttp.api.openapi import document
from llamahttp.api.responses.store import ResponseStore
from llamahttp.api.responses.tools import function_of, read_tools
from llamahttp.api.routes import ROUTES
from llamahttp.api.state import STATE
from tests.answers import Document
from tests.fakes import EOS, N_VOCAB, FakeDecoder

from ..conftest import Client, Start, get, post

TEMPLATE = (Path(__file__).parents[3] / "demo" / "chat_template.jinja").read_text(encoding="utf-8")
JUDGE = Document(document(ROUTES))
PATH = "/v1/responses"
LOOK: Any = {
    "type": "function",
    "name": "look",
    "parameters": {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]},
    "strict": True,
}
ARGUMENTS = '{"at": "sky"}'
CALL = f'<tool_call>\n{{"name": "look", "arguments": {ARGUMENTS}}}\n</tool_call>'
NO_THOUGHT = {"reasoning": {"effort": "none"}}
EVENT: TypeAdapter[Any] = TypeAdapter(sdk_types.ResponseStreamEvent)
RESPONSE = sdk_types.Response


class Sayer(FakeDecoder):
    """A model that says each of `scripts` in turn, whatever it is told, and the last one ever after."""

    def __init__(self, *scripts: str, **sizes: Any) -> None:
        super().__init__(**{"n_ctx": 1 << 16} | sizes)
        self._scripts = [[*script.encode(), EOS] for script in scripts]
        self._said: dict[int, tuple[list[int], int]] = {}
        """By sequence, what it says, and the length of its prompt."""

    def logits(self, n_outputs: int) -> NDArray[np.float32]:
        logits = np.zeros((n_outputs, N_VOCAB), np.float32)
        for row, (id_seq, _) in enumerate(self.batches[-1][-n_outputs:]):
            n_tokens = len(self.memory[id_seq])
            if id_seq not in self._said:
                script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
                self._said[id_seq] = script, n_tokens
            script, n_prompt = self._said[id_seq]
            token = script[n_tokens - n_prompt]
            logits[row, token] = 10.0
            if token == EOS:
                del self._said[id_seq]
        return logits


Say = Callable[..., Awaitable[Client]]


@pytest.fixture
def say(start: Start) -> Say:
    """Start a server whose model says texts."""

    async def saying(*scripts: str, template: str = TEMPLATE, **config: Any) -> Client:
        return await start(Sayer(*scripts), template, **config)

    return saying


async def ask(client: Client, value: Any = "hi", **body: Any) -> Any:
    answer = await post(client, PATH, {"input": value} | body)
    JUDGE.check(PATH, "post", 200, answer)
    return RESPONSE.model_validate(answer)


async def follow(client: Client, value: Any = "hi", **body: Any) -> list[Any]:
    """The events of a stream, each as the package knows it: all that it says there are, and numbered."""
    async with client.post(PATH, json={"input": value, "stream": True} | body) as response:
        data = (await response.read()).decode()
        assert response.status == 200, data
    events = []
    for text in data.removesuffix("\n\n").split("\n\n"):
        name, payload = text.split("\n")
        value = json.loads(payload.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        JUDGE.check_event(PATH, value)
        events.append(EVENT.validate_python(value))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    return events


async def refused(client: Client, status: int = 400, path: str = PATH, **body: Any) -> Any:
    """The error of a request."""
    answer = await post(client, path, body, status)
    JUDGE.check(path, "post", status, answer)
    return answer["error"]


def kinds(events: list[Any]) -> list[str]:
    """Types of events, those of one kind in a row once."""
    found = [event.type.removeprefix("response.") for event in events]
    return [kind for i, kind in enumerate(found) if i == 0 or kind != found[i - 1]]


@asynccontextmanager
async def package(client: Client, api_key: str = "k") -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=str(client.make_url("/v1")), api_key=api_key, max_retries=0) as sdk:
        yield sdk


# --- whole


async def test_a_whole_response(say: Say) -> None:
    client = await say("well\n</think>\n\nyes")
    response = await ask(client, metadata={"a": "b"}, instructions="Be brief.", user="me", temperature=0.5)
    thought, message = response.output
    assert (thought.type, thought.content[0].text, thought.summary) == ("reasoning", "well", [])
    assert (message.type, message.role, message.status) == ("message", "assistant", "completed")
    assert (response.output_text, message.content[0].annotations) == ("yes", [])
    assert (response.status, response.error, response.incomplete_details) == ("completed", None, None)
    assert (response.metadata, response.instructions, response.user) == ({"a": "b"}, "Be brief.", "me")
    assert (response.temperature, response.model) == (0.5, "demo.gguf")
    assert response.completed_at >= response.created_at
    assert (response.id[:5], thought.id[:3], message.id[:4]) == ("resp_", "rs_", "msg_")


async def test_usage_counts_what_was_cached_and_what_was_thought(say: Say) -> None:
    client = await say("well\n</think>\n\nyes")
    first, second = await ask(client), await ask(client)
    usage = first.usage
    assert usage.output_tokens == len("well\n</think>\n\nyes") + 1
    assert usage.output_tokens_details.reasoning_tokens == len("well")
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert (usage.input_tokens_details.cached_tokens, second.usage.input_tokens_details.cached_tokens) == (
        0,
        usage.input_tokens - 1,
    )
    assert second.usage.input_tokens_details.cache_write_tokens == 1


async def test_a_response_that_is_cut(say: Say) -> None:
    response = await ask(await say("yes or no"), max_output_tokens=3, **NO_THOUGHT)
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert (response.output_text, response.output[0].status) == ("yes", "incomplete")
    assert (response.max_output_tokens, response.completed_at) == (3, None)


async def test_an_answer_of_nothing_has_no_items(say: Say) -> None:
    client = await say("")
    assert (await ask(client, **NO_THOUGHT)).output == []
    events = await follow(client, **NO_THOUGHT)
    assert kinds(events) == ["created", "in_progress", "completed"]


async def test_two_calls(say: Say) -> None:
    response = await ask(await say(f"Let me see.\n{CALL}\n{CALL}"), tools=[LOOK], **NO_THOUGHT)
    message, *calls = response.output
    assert (message.type, response.output_text) == ("message", "Let me see.")
    assert [(call.type, call.name, call.arguments, call.status) for call in calls] == [
        ("function_call", "look", ARGUMENTS, "completed")
    ] * 2
    assert len({call.call_id for call in calls} | {call.id for call in calls}) == 4


async def test_a_call_that_is_cut_is_incomplete(say: Say) -> None:
    client = await say(CALL)
    for response in (
        await ask(client, tools=[LOOK], max_output_tokens=50, **NO_THOUGHT),
        (await follow(client, tools=[LOOK], max_output_tokens=50, **NO_THOUGHT))[-1].response,
    ):
        (call,) = response.output
        assert (response.status, call.status) == ("incomplete", "incomplete")
        assert ARGUMENTS.startswith(call.arguments) and call.arguments not in ("", ARGUMENTS)


async def test_what_reads_like_a_call_without_tools_is_a_message(say: Say) -> None:
    response = await ask(await say(CALL), **NO_THOUGHT)
    assert (response.output_text, len(response.output)) == (CALL, 1)


# --- streams


async def test_the_events_of_a_thought_and_a_message(say: Say) -> None:
    events = await follow(await say("well\n</think>\n\nyes"))
    item = ["output_item.added", "content_part.added"]
    done = ["content_part.done", "output_item.done"]
    assert kinds(events) == [
        *("created", "in_progress"),
        *(*item, "reasoning_text.delta", "reasoning_text.done", *done),
        *(*item, "output_text.delta", "output_text.done", *done),
        "completed",
    ]
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "yes"
    response = events[-1].response
    assert [item.id for item in response.output] == [e.item.id for e in events if e.type.endswith("item.added")]
    assert {event.response.id for event in events if hasattr(event, "response")} == {response.id}
    for event in events:
        if hasattr(event, "item_id"):
            assert event.item_id == response.output[event.output_index].id
    finished = [event.item for event in events if event.type == "response.output_item.done"]
    assert finished == response.output


async def test_the_events_of_a_call(say: Say) -> None:
    events = await follow(await say(CALL), tools=[LOOK], **NO_THOUGHT)
    assert kinds(events)[2:] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    added = next(event.item for event in events if event.type == "response.output_item.added")
    assert (added.name, added.arguments, added.status) == ("look", "", "in_progress")
    deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert ("".join(deltas), len(deltas) > 3) == (ARGUMENTS, True)
    (done,) = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert (done.arguments, done.name) == (ARGUMENTS, "look")
    assert events[-1].response.output[0].call_id == added.call_id


@pytest.mark.parametrize("script", ["yes", f"one {CALL} two", f"{CALL}{CALL}", "a<tool_cal"])
async def test_a_stream_ends_with_what_is_given_whole(say: Say, script: str) -> None:
    client = await say(script)
    options: Any = {"tools": [LOOK], **NO_THOUGHT}
    whole, streamed = await ask(client, **options), (await follow(client, **options))[-1].response
    secrets = {"id", "call_id"}
    assert [item.model_dump(exclude=secrets) for item in whole.output] == [
        item.model_dump(exclude=secrets) for item in streamed.output
    ]
    assert whole.output, "nothing that was said is lost"


async def test_the_response_is_told_of_while_its_prompt_is_computed(say: Say) -> None:
    events = await follow(await say("yes"), "word " * 200, return_progress=True, timings_per_token=True, **NO_THOUGHT)
    reports = [event for event in events if hasattr(event, "prompt_progress")]
    assert [event.type for event in events[: len(reports) + 1]] == ["response.created"] + [
        "response.in_progress"
    ] * len(reports)
    assert reports[-1].prompt_progress["processed"] == reports[-1].prompt_progress["total"] > 1000
    assert all(event.timings["predicted_n"] for event in events if event.type.endswith("text.delta"))
    assert events[-1].timings["predicted_n"] == 4


async def test_a_stream_that_fails_says_so(start: Start) -> None:
    decoder = Sayer("yes or no")
    client = await start(decoder, TEMPLATE)
    decoder.step_seconds = 0.02
    async with client.post(PATH, json={"input": "hi", "stream": True} | NO_THOUGHT) as response:
        await response.content.readuntil(b"output_text.delta")
        decoder.errors.append(RuntimeError("the device is gone"))
        data = (await response.read()).decode()
    events = [json.loads(line.removeprefix("data: ")) for line in data.split("\n") if line.startswith("data: ")]
    for event in events[-2:]:
        JUDGE.check_event(PATH, event)
    error, failed = (EVENT.validate_python(event) for event in events[-2:])
    assert (error.type, error.code) == ("error", "server_error")
    assert (failed.type, failed.response.status) == ("response.failed", "failed")
    assert failed.response.error.message == error.message
    assert failed.response.output[0].type == "message"


# --- log probabilities


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_log_probabilities_are_those_of_the_message(say: Say, is_streamed: bool) -> None:
    client = await say("well\n</think>\n\nyes")
    options: Any = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    response = (await follow(client, **options))[-1].response if is_streamed else await ask(client, **options)
    logprobs = response.output[1].content[0].logprobs
    assert [entry.token for entry in logprobs] == ["y", "e", "s"]
    assert [len(entry.top_logprobs) for entry in logprobs] == [2, 2, 2]
    assert response.top_logprobs == 2


async def test_log_probabilities_come_with_their_text(say: Say) -> None:
    client = await say("well\n</think>\n\nyes")
    events = await follow(client, include=["message.output_text.logprobs"])
    told = [(event.delta, event.logprobs) for event in events if event.type == "response.output_text.delta"]
    assert [(delta, "".join(entry.token for entry in logprobs)) for delta, logprobs in told] == [
        (delta, delta) for delta, _ in told
    ]


async def test_log_probabilities_have_to_be_asked_for(say: Say) -> None:
    response = await ask(await say("yes"), top_logprobs=2, **NO_THOUGHT)
    assert response.output[0].content[0].logprobs == []


# --- the store


async def test_a_conversation_goes_on(say: Say) -> None:
    client = await say("first\n</think>\n\none", "second\n</think>\n\ntwo")
    before = await ask(client, "What comes first?", instructions="Count.")
    after = await ask(client, "And then?", previous_response_id=before.id)
    assert (after.previous_response_id, after.instructions) == (before.id, None)
    assert after.usage.input_tokens == await count(
        client,
        [
            {"role": "user", "content": "What comes first?"},
            {"role": "assistant", "content": "one"},
            {"role": "user", "content": "And then?"},
        ],
    )
    items: Any = await get(client, f"{PATH}/{after.id}/input_items?order=asc")
    JUDGE.check(PATH + "/{response_id}/input_items", "get", 200, items)
    assert [item["type"] for item in items["data"]] == ["message", "reasoning", "message", "message"]
    known: Any = sdk_types.ResponseItemList.model_validate(items)
    assert known.data[0].content[0].text == "What comes first?"


async def count(client: Client, value: Any, **body: Any) -> int:
    answer = await post(client, f"{PATH}/input_tokens", {"input": value} | body)
    JUDGE.check(f"{PATH}/input_tokens", "post", 200, answer)
    return int(answer["input_tokens"])


async def test_a_call_is_answered_by_the_next_response(say: Say) -> None:
    client = await say(CALL, "blue")
    options: Any = {"tools": [LOOK], **NO_THOUGHT}
    asked = await ask(client, "What colour is the sky?", **options)
    output = {"type": "function_call_output", "call_id": asked.output[0].call_id, "output": "blue"}
    short = await ask(client, [output], previous_response_id=asked.id, **options)
    assert short.output_text == "blue"
    sent = [item.model_dump(exclude_none=True) for item in asked.output]
    whole = await ask(client, [{"role": "user", "content": "What colour is the sky?"}, *sent, output], **options)
    assert whole.usage.input_tokens == short.usage.input_tokens
    assert whole.usage.input_tokens_details.cached_tokens > asked.usage.input_tokens


async def test_responses_are_kept_until_they_are_deleted(say: Say) -> None:
    client = await say("yes")
    async with package(client) as sdk:
        response = await sdk.responses.create(model="demo", input="hi", extra_body=NO_THOUGHT)
        kept = await sdk.responses.retrieve(response.id)
        assert kept.model_dump(exclude={"timings", "cache"}) == response.model_dump(exclude={"timings", "cache"})
        page = await sdk.responses.input_items.list(response.id)
        assert [item.type for item in page.data] == ["message"]
        await sdk.responses.delete(response.id)
        for call in (sdk.responses.retrieve, sdk.responses.delete, sdk.responses.input_items.list):
            with pytest.raises(openai.NotFoundError, match=response.id):
                await call(response.id)


async def test_pages_of_items(say: Say) -> None:
    client = await say("yes")
    items: Any = [{"role": "user", "content": str(i)} for i in range(45)]
    async with package(client) as sdk:
        response = await sdk.responses.create(model="demo", input=items, extra_body=NO_THOUGHT)
        first: Any = await sdk.responses.input_items.list(response.id)
        assert (len(first.data), first.has_more) == (20, True)
        found = [item.content[0].text async for item in first]
        assert found == [str(i) for i in range(44, -1, -1)]
        wrong: Any = ({"limit": 0}, {"limit": 101}, {"order": "up"}, {"after": "nobody"})
        for options in wrong:
            with pytest.raises(openai.BadRequestError) as refusal:
                await sdk.responses.input_items.list(response.id, **options)
            assert refusal.value.param == next(iter(options))


async def test_what_is_not_to_be_stored_is_not(say: Say) -> None:
    client = await say("yes")
    response = await ask(client, store=False)
    assert response.store is False
    error = await refused(client, input="hi", previous_response_id=response.id)
    assert response.id in error["message"]
    assert (error["param"], error["code"]) == ("previous_response_id", "previous_response_not_found")


async def test_keys_do_not_see_each_others_responses(say: Say) -> None:
    client = await say("yes", api_keys=frozenset({"mine", "yours"}))
    async with package(client, api_key="mine") as mine, package(client, api_key="yours") as yours:
        response = await mine.responses.create(model="demo", input="hi")
        with pytest.raises(openai.NotFoundError):
            await yours.responses.retrieve(response.id)
        with pytest.raises(openai.BadRequestError, match=response.id):
            await yours.responses.create(model="demo", input="hi", previous_response_id=response.id)
        assert (await mine.responses.retrieve(response.id)).id == response.id
    async with package(client, api_key="none") as nobody:
        with pytest.raises(openai.AuthenticationError) as refusal:
            await nobody.responses.retrieve(response.id)
        assert (refusal.value.code, refusal.value.param) == ("invalid_api_key", None)


async def test_a_reference_to_an_item(say: Say) -> None:
    client = await say("one")
    before = await ask(client, "hi", **NO_THOUGHT)
    reference = {"type": "item_reference", "id": before.output[0].id}
    question = {"role": "user", "content": "hi"}
    more = {"role": "user", "content": "more"}
    told = [question, {"role": "assistant", "content": "one"}, more]
    assert await count(client, [question, reference, more]) == await count(client, told)
    error = await refused(client, input=[question, {"type": "item_reference", "id": "msg_none"}])
    assert (error["param"], "msg_none" in error["message"]) == ("input[1].id", True)


async def test_the_store_is_bounded_whatever_is_asked(say: Say) -> None:
    client = await say("yes")
    assert client.app is not None
    client.app[STATE].responses = store = ResponseStore(max_responses=100, max_bytes=20_000)
    ids = [(await ask(client, "x" * 2000, **NO_THOUGHT)).id for _ in range(5)]
    assert 0 < len(store) < 5
    assert store.n_bytes <= 20_000
    await get(client, f"{PATH}/{ids[0]}", 404)
    await get(client, f"{PATH}/{ids[-1]}")


# --- what clients send


async def test_what_codex_sends(say: Say) -> None:
    client = await say("well\n</think>\n\n" + CALL, "It is blue.")
    turn: Any = {
        "model": "demo",
        "instructions": "You are a coding agent.",
        "tools": [
            LOOK | {"description": "Look.", "strict": False},
            {"type": "web_search", "external_web_access": True},
            {"type": "local_shell"},
            {
                "type": "custom",
                "name": "apply_patch",
                "format": {"type": "grammar", "syntax": "lark", "definition": ""},
            },
            {"type": "namespace", "name": "agents", "tools": [LOOK]},
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "service_tier": "auto",
        "prompt_cache_key": "01a1fc79",
        "text": {"verbosity": "low"},
        "client_metadata": {"x": "y"},
    }
    talk: Any = [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "<permissions>"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What colour is the sky?"}]},
    ]
    first = (await follow(client, talk, **turn))[-1].response
    thought, call = first.output
    assert [tool.name for tool in first.tools] == ["look", "apply_patch", "agents"]
    assert first.text.verbosity == "low"
    talk += [
        # without the text of the thought, as Codex sends it back
        {"type": "reasoning", "summary": [], "encrypted_content": thought.encrypted_content},
        {"type": "function_call", "name": call.name, "arguments": call.arguments, "call_id": call.call_id},
        {"type": "function_call_output", "call_id": call.call_id, "output": "blue"},
    ]
    second = (await follow(client, talk, **turn))[-1].response
    assert second.output_text == "It is blue."
    n_said = second.usage.input_tokens_details.cached_tokens - first.usage.input_tokens
    assert n_said >= len("well\n</think>\n\n"), "the thought has come back whole, and is cached"


PATCH = '*** Begin Patch\n*** Add File: "a\\b".py\n+print("né \U0001f600")\n*** End Patch\n'
APPLY: Any = {"type": "custom", "name": "apply_patch", "description": "Edit files."}
LARK = {"type": "grammar", "syntax": "lark", "definition": 'start: "*** Begin Patch" LF'}
REGEX = {"type": "grammar", "syntax": "regex", "definition": "[a-z]+"}


def patched(text: str = PATCH) -> str:
    """A call of `apply_patch` as the model writes it."""
    arguments = json.dumps({"input": text}, ensure_ascii=False)
    return f'<tool_call>\n{{"name": "apply_patch", "arguments": {arguments}}}\n</tool_call>'


@pytest.mark.parametrize("format", [None, {"type": "text"}, LARK])
async def test_codex_patches_a_file_with_its_custom_tool(say: Say, format: Any) -> None:
    client = await say(patched(), "Done.")
    tools = [APPLY | ({"format": format} if format else {})]
    events = await follow(client, tools=tools, store=True, **NO_THOUGHT)
    assert kinds(events)[2:] == [
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
        "completed",
    ]
    deltas = [event.delta for event in events if event.type == "response.custom_tool_call_input.delta"]
    assert ("".join(deltas), len(deltas) > 10) == (PATCH, True)
    (done,) = [event.input for event in events if event.type == "response.custom_tool_call_input.done"]
    (call,) = events[-1].response.output
    assert (done, call.type, call.name, call.input) == (PATCH, "custom_tool_call", "apply_patch", PATCH)
    assert events[-1].response.tools[0].type == "custom"
    back = [
        call.model_dump(exclude_none=True),
        {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "patched"},
    ]
    talk: Any = [{"role": "user", "content": "hi"}, *back]
    assert (await ask(client, talk, tools=tools, **NO_THOUGHT)).output_text == "Done."


async def test_a_custom_tool_that_is_cut_is_not_to_be_run(say: Say) -> None:
    response = await ask(await say(patched()), tools=[APPLY], max_output_tokens=90, **NO_THOUGHT)
    (call,) = response.output
    assert (call.type, call.status) == ("custom_tool_call", "incomplete")
    assert PATCH.startswith(call.input), "no half of an escape is shown"
    assert call.input


async def test_a_custom_tool_can_be_demanded(say: Say) -> None:
    client = await say(patched())
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "custom", "name": "apply_patch"}]}
    for choice in ({"type": "custom", "name": "apply_patch"}, allowed):
        response = await ask(client, tools=[LOOK, APPLY], tool_choice=choice, **NO_THOUGHT)
        assert [item.name for item in response.output] == ["apply_patch"]


async def test_a_custom_tool_of_a_namespace(say: Say) -> None:
    client = await say(patched().replace('"apply_patch"', '"fs__apply_patch"'))
    tools = [{"type": "namespace", "name": "fs", "tools": [APPLY]}]
    (call,) = (await ask(client, tools=tools, **NO_THOUGHT)).output
    assert (call.type, call.namespace, call.name, call.input) == ("custom_tool_call", "fs", "apply_patch", PATCH)


def test_the_model_is_told_the_form_of_a_custom_tools_input() -> None:
    def told(format: Any) -> dict[str, Any]:
        (tool,) = read_tools([APPLY | {"format": format}])
        return function_of(tool)

    assert told({"type": "text"})["description"] == "Edit files."
    assert LARK["definition"] in told(LARK)["description"]
    assert told(REGEX)["parameters"]["properties"]["input"]["pattern"] == "^(?:[a-z]+)$"


async def test_a_form_of_a_custom_tools_input_that_cannot_be_enforced_is_refused(say: Say) -> None:
    tool = APPLY | {"format": REGEX | {"definition": "a(?=b)"}}
    error = await refused(await say("x"), input="hi", tools=[tool])
    assert "the parameters of 'apply_patch' cannot be enforced" in error["message"]


async def test_tools_that_are_left_out_are_told_of(say: Say, caplog: pytest.LogCaptureFixture) -> None:
    client = await say("yes")
    with caplog.at_level("INFO", "llamahttp.api.responses"):
        response = await ask(client, tools=[{"type": "mcp", "server_label": "x"}, {"type": "bogus" * 99}])
    assert response.tools == []
    first, second = [message for message in caplog.messages if "left out" in message]
    assert first.startswith("tools[0], a tool of the type 'mcp', is left out")
    assert len(second) < 200


async def test_a_tool_of_a_namespace_is_called_by_both_names(say: Say) -> None:
    """Codex gives the tools of MCP servers so, and knows a call only by the two."""
    server = {"type": "namespace", "name": "mcp__sky", "description": "The sky.", "tools": [LOOK]}
    said = CALL.replace('"look"', '"mcp__sky__look"')
    client = await say("well\n</think>\n\n" + said, "It is blue.")
    tools: Any = [LOOK, server]
    added = [event for event in await follow(client, tools=tools, store=True) if event.type.endswith("item.done")]
    item = added[-1].item
    assert (item.name, item.namespace, json.loads(item.arguments)) == ("look", "mcp__sky", {"at": "sky"})
    back = [
        item.model_dump(exclude_none=True),
        {"type": "function_call_output", "call_id": item.call_id, "output": "b"},
    ]
    talk: Any = [{"role": "user", "content": "hi"}, *back]
    second = await ask(client, talk, tools=tools)
    assert second.output_text == "It is blue."
    chosen = {"type": "function", "name": "look", "namespace": "mcp__sky"}
    assert await count(client, talk, tools=tools) == await count(client, talk, tools=tools, tool_choice=chosen)
    error = await refused(client, input="hi", tools=tools, tool_choice=chosen | {"name": "see"})
    assert "there is no tool 'mcp__sky__see'; there are look, mcp__sky__look" in error["message"]


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"type": "namespace", "name": "a", "tools": [{"type": "function"}]}, "tools[0].tools[0].name"),
        ({"type": "namespace", "name": "a", "tools": [5]}, "tools[0].tools[0]"),
    ],
)
async def test_what_is_no_tool_of_a_namespace_is_named(client: Client, tool: Any, param: str) -> None:
    assert (await refused(client, input="hi", tools=[tool]))["param"] == param


async def test_a_response_that_has_ended_cannot_be_cancelled(say: Say) -> None:
    client = await say("yes")
    async with package(client) as sdk:
        response = await sdk.responses.create(model="demo", input="hi", extra_body=NO_THOUGHT)
        with pytest.raises(openai.BadRequestError, match="in the background can be cancelled"):
            await sdk.responses.cancel(response.id)
        with pytest.raises(openai.NotFoundError, match="resp_none"):
            await sdk.responses.cancel("resp_none")


async def test_parameters_of_llama_server_are_taken(say: Say) -> None:
    client = await say("yes")
    response = await ask(client, top_k=1, min_p=0.5, seed=3, cache_prompt=False, n_predict=2, stop=["e"], **NO_THOUGHT)
    assert (response.output_text, response.max_output_tokens) == ("y", 2)


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({}, "input", "required"),
        ({"input": []}, "input", "nothing to answer"),
        ({"input": 3}, "input", "string or array"),
        ({"input": [3]}, "input[0]", "object"),
        ({"input": [{}]}, "input[0]", "type"),
        ({"input": [{"role": "wizard", "content": "hi"}]}, "input[0].role", "wizard"),
        ({"input": [{"role": "user"}]}, "input[0].content", "string or array"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text", "string"),
        ({"input": [{"role": "user", "content": [{"type": "x"}]}]}, "input[0].content[0].type", "'x'"),
        ({"input": [{"type": "bogus"}]}, "input[0].type", "message, reasoning, function_call"),
        ({"input": [{"role": "user", "content": "hi"}, {"type": "x" * 999}]}, "input[1].type", "'xxx"),
        ({"input": [{"type": "mesage", "role": "user", "content": "hi"}]}, "input[0].type", "mesage"),
        ({"input": [{"type": "function_call", "call_id": "1", "name": "f"}]}, "input[0].arguments", "string"),
        ({"input": [{"type": "function_call_output", "output": "f"}]}, "input[0].call_id", "string"),
        ({"input": [{"type": "function_call_output", "call_id": "1"}]}, "input[0].output", "string or array"),
        ({"input": [{"type": "reasoning", "content": "x"}]}, "input[0].content", "array"),
        ({"input": "hi", "instructions": ["x"]}, "instructions", "string"),
        ({"input": "hi", "tools": [3]}, "tools[0]", "object"),
        ({"input": "hi", "tools": [{"type": "function"}]}, "tools[0].name", "name"),
        ({"input": "hi", "tools": [LOOK | {"strict": "yes"}]}, "tools[0].strict", "boolean"),
        ({"input": "hi", "tools": [{"type": "custom"}]}, "tools[0].name", "name"),
        ({"input": "hi", "tools": [APPLY | {"description": 3}]}, "tools[0].description", "string"),
        ({"input": "hi", "tools": [APPLY | {"format": {"type": "xml"}}]}, "tools[0].format.type", "text, grammar"),
        ({"input": "hi", "tools": [APPLY | {"format": 3}]}, "tools[0].format.type", "3"),
        (
            {"input": "hi", "tools": [APPLY | {"format": LARK | {"syntax": "gbnf"}}]},
            "tools[0].format.syntax",
            "lark, regex",
        ),
        (
            {"input": "hi", "tools": [APPLY | {"format": {"type": "grammar", "syntax": "lark"}}]},
            "tools[0].format.definition",
            "string",
        ),
        ({"input": "hi", "tool_choice": {"type": "custom", "name": "x"}}, "tool_choice", "no tool 'x'"),
        ({"input": "hi", "tool_choice": "maybe"}, "tool_choice", "auto, none, required"),
        ({"input": "hi", "tool_choice": {"type": "web_search"}}, "tool_choice", "web_search"),
        ({"input": "hi", "text": {"format": {"type": "xml"}}}, "text.format.type", "xml"),
        ({"input": "hi", "text": {"format": {"type": "json_schema"}}}, "text.format.schema", "required"),
        ({"input": "hi", "text": 3}, "text", "object"),
        ({"input": "hi", "reasoning": {"effort": 3}}, "reasoning", "str"),
        ({"input": "hi", "max_output_tokens": "x"}, "max_output_tokens", "number"),
        ({"input": "hi", "n": 2}, "n", "between 1 <= value <= 1"),
        ({"input": "hi", "metadata": {"a": 1}}, "metadata", "str"),
        ({"input": "hi", "truncation": "some"}, "truncation", "auto, disabled"),
        ({"input": "hi", "temperature": "hot"}, "temperature", "number"),
    ],
)
async def test_bad_input_is_named(client: Client, body: dict[str, Any], param: str, words: str) -> None:
    error = await refused(client, **body)
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
    assert words in error["message"]


@pytest.mark.parametrize("body", [{"background": True}, {"conversation": "conv_1"}, {"prompt": {"id": "p"}}])
async def test_what_is_not_there_is_said(client: Client, body: dict[str, Any]) -> None:
    error = await refused(client, 501, input="hi", **body)
    assert error["param"] == next(iter(body))


async def test_a_conversation_that_does_not_fit(start: Start) -> None:
    client = await start(FakeDecoder(n_ctx=64, n_slots=1))
    async with package(client) as sdk:
        with pytest.raises(openai.BadRequestError) as refusal:
            await sdk.responses.create(model="demo", input="x" * 100)
    assert refusal.value.code == "context_length_exceeded"
    error: Any = refusal.value.body
    assert error["n_ctx"] == 64 < error["n_prompt_tokens"]


# --- the package


async def test_the_stream_helper(say: Say) -> None:
    client = await say("well\n</think>\n\nyes")
    async with package(client) as sdk, sdk.responses.stream(model="demo", input="hi") as stream:
        snapshots = [event.snapshot async for event in stream if event.type == "response.output_text.delta"]
        response = await stream.get_final_response()
    assert snapshots == ["y", "ye", "yes"]
    assert response.output_text == "yes"


async def test_the_stream_helper_parses_calls(say: Say) -> None:
    client = await say(CALL)
    async with package(client) as sdk:
        async with sdk.responses.stream(model="demo", input="hi", tools=[LOOK], extra_body=NO_THOUGHT) as stream:
            snapshots = [
                event.snapshot async for event in stream if event.type == "response.function_call_arguments.delta"
            ]
            response = await stream.get_final_response()
    assert snapshots[-1] == ARGUMENTS
    (call,) = response.output
    assert call.type == "function_call"
    assert call.parsed_arguments == {"at": "sky"}


async def test_the_package_counts_tokens(say: Say) -> None:
    client = await say("yes")
    async with package(client) as sdk:
        counted = await sdk.responses.input_tokens.count(model="demo", input="hi", instructions="Be brief.")
        response = await sdk.responses.create(model="demo", input="hi", instructions="Be brief.")
    assert response.usage
    assert counted.input_tokens == response.usage.input_tokens


async def test_a_tool_is_shown_to_the_model_as_a_chat_would(say: Say) -> None:
    client = await say("yes")
    plain = {name: value for name, value in LOOK.items() if name not in ("strict", "type")}
    chat = {"messages": [{"role": "user", "content": "hi"}], "tools": [{"type": "function", "function": plain}]}
    answer = await post(client, "/v1/chat/completions/input_tokens", chat)
    assert await count(client, "hi", tools=[LOOK | {"strict": False}]) == answer["input_tokens"]
