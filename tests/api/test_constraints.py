"""Grammars, triggers, budgets of thoughts and their control, from the request to the answer."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any

import pytest

from llamahttp.builtin_templates import CHATML
from tests.fakes import EOS, FakeDecoder, continuation

from .conftest import Client, Start, post, post_error, stream

PROMPT = "once upon a time"
TEXT = bytes(continuation(list(PROMPT.encode()), 40)).decode()
THINKING = CHATML + "{% if add_generation_prompt %}<think>\n{% endif %}{# </think> #}"
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 40}


async def complete(client: Client, **body: Any) -> Any:
    return await post(client, "/completion", {"prompt": PROMPT, "n_predict": 24} | body)


async def refused(client: Client, **body: Any) -> str:
    return await post_error(client, "/completion", {"prompt": PROMPT} | body)


# --- grammars


async def test_an_answer_follows_its_grammar(client: Client) -> None:
    answer = await complete(client, grammar='root ::= [0-9]{3} "-" [a-z]{2}')
    assert re.fullmatch("[0-9]{3}-[a-z]{2}", answer["content"])
    assert answer["stop_type"] == "eos"
    assert answer["generation_settings"]["grammar"] == 'root ::= [0-9]{3} "-" [a-z]{2}'


async def test_several_answers_follow_it_each(client: Client) -> None:
    answers = await complete(client, grammar='root ::= "x"{2,4}', n=3)
    assert all(re.fullmatch("x{2,4}", answer["content"]) for answer in answers)
    assert len(answers) == 3


async def test_a_stream_follows_it(client: Client) -> None:
    events = await stream(client, "/completion", {"prompt": PROMPT, "grammar": 'root ::= "yes"', "n_predict": 24})
    assert "".join(event["content"] for event in events) == "yes"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"grammar": "root ::= ("}, r"failed to parse grammar: line 1, column 11: expecting '\)'"),
        ({"grammar": 'a ::= "b"'}, "does not contain a 'root' symbol"),
        ({"grammar": "root ::= b"}, "undefined rule identifier 'b'"),
        ({"grammar": "root ::= root"}, "nothing matches it"),
        ({"grammar": "root ::= <[999]>"}, "token 999 is not in the vocabulary"),
        ({"grammar": "%llguidance {}\nstart: b"}, r'failed to parse grammar: at 2\(8\): unknown name: "b"'),
        ({"regex": "("}, "Field 'regex': a regular expression cannot be read: unclosed group"),
        ({"regex": "a{1000000}"}, "beyond the limit of 999999 times"),
        ({"grammar": 5}, "Field 'grammar': type must be string"),
        ({"grammar": "root ::= " + "(" * 50_000}, "nested more than"),
        ({"grammar": 'root ::= "' + "a" * 100_000}, "more than the limit"),
        ({"grammar": "root ::= [a-z]{1000000}"}, "more than the limit of 2000"),
        ({"grammar_triggers": {}}, "Field 'grammar_triggers': type must be array"),
        ({"grammar_triggers": [5]}, "type must be array of objects"),
        ({"grammar_triggers": [{"type": 4, "value": "x"}]}, "between 0 <= value <= 3, but got 4"),
        ({"grammar_triggers": [{"type": 1}]}, "grammar_triggers.value"),
        ({"grammar_triggers": [{"type": 0, "value": "x", "token": 300}]}, "between 0 <= value <= 256, but got 300"),
        ({"grammar_triggers": [{"type": 1, "value": "x"}]}, "should be marked as preserved token: x"),
        ({"grammar_lazy": True, "grammar_triggers": [{"type": 2, "value": "("}]}, "cannot be used"),
        ({"grammar_lazy": True, "grammar_triggers": [{"type": 1, "value": ""}]}, "between 1 and"),
        ({"preserved_tokens": "x"}, "Field 'preserved_tokens'"),
        ({"reasoning_budget_tokens": -2}, "reasoning_budget_tokens"),
    ],
)
async def test_what_cannot_be_obeyed_is_refused(client: Client, body: dict[str, Any], message: str) -> None:
    assert re.search(message, await refused(client, **body))


@pytest.mark.parametrize("triggers", [{}, {"grammar_triggers": []}], ids=["absent", "empty"])
async def test_a_lazy_grammar_without_triggers_is_refused(client: Client, triggers: dict[str, Any]) -> None:
    """llama-server refuses only an empty list, and lets a grammar that nothing can wake pass."""
    message = await refused(client, grammar='root ::= "a"', grammar_lazy=True, **triggers)
    assert message == "Error: no triggers set for lazy grammar!"


async def test_a_hostile_grammar_is_refused_while_a_stream_goes_on(start: Start) -> None:
    decoder = FakeDecoder()
    decoder.step_seconds = 0.002
    client = await start(decoder)
    await complete(client, grammar='root ::= "a"')  # from here on grammars are known
    gaps: list[float] = []

    async def read_stream() -> None:
        async with client.post("/completion", json={"prompt": PROMPT, "n_predict": 2000, "stream": True}) as response:
            last = time.perf_counter()
            async for _ in response.content:
                now = time.perf_counter()
                gaps.append(now - last)
                last = now

    reading = asyncio.create_task(read_stream())
    while not gaps:
        await asyncio.sleep(0.01)
    for grammar in ("root ::= " + "(" * 50_000, "root ::= " + '("a")?' * 10_000, "root ::= " + "[ab]{0,2000} " * 4000):
        n_before, began = len(gaps), time.perf_counter()
        await refused(client, grammar=grammar)
        seconds = time.perf_counter() - began
        assert seconds < 5
        assert len(gaps) - n_before > 20 * (seconds - 0.2), "the stream stood still"
    reading.cancel()
    assert max(gaps) < 1


AMBIGUOUS = 'root ::= "b"{5} x+\nx ::= ' + '"a"* ' * 150


async def test_a_grammar_that_turns_out_too_ambiguous_is_the_requests_fault(client: Client) -> None:
    message = await refused(client, grammar=AMBIGUOUS, n_predict=200)
    assert message.startswith("Field 'grammar': the answer cannot follow it any further: it is too complex")


BOMB: Any = {"type": "string", "pattern": "^(([ab]|[bc]){1,500}[abc]*){1,500}$", "minLength": 200}


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("json_schema", {"json_schema": BOMB}),
        ("response_format", {"response_format": {"type": "json_object", "schema": BOMB}}),
    ],
)
async def test_a_pattern_that_turns_out_too_complex_is_of_the_field_that_has_it(
    client: Client, name: str, body: Any
) -> None:
    message = await post_error(client, "/v1/chat/completions", CHAT | body)
    assert message.startswith(f"Field '{name}': ")
    assert "too complex" in message


SET: Any = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}


async def test_a_set_is_answered_where_strict_is_false(client: Client) -> None:
    format = {"type": "json_schema", "json_schema": {"name": "x", "strict": False, "schema": SET}}
    (choice,) = (await post(client, "/v1/chat/completions", CHAT | {"response_format": format}))["choices"]
    assert choice["message"]["content"].startswith("[")


@pytest.mark.parametrize("strict", [{}, {"strict": None}, {"strict": True}])
async def test_a_set_is_refused_where_strict_is_not_false(client: Client, strict: dict[str, Any]) -> None:
    format = {"type": "json_schema", "json_schema": {"name": "x", "schema": SET, **strict}}
    message = await post_error(client, "/v1/chat/completions", CHAT | {"response_format": format})
    assert message.startswith("Field 'response_format': JSON schema: at '/uniqueItems': can be enforced only where")


async def test_in_mid_stream_that_is_an_error_event(client: Client) -> None:
    body = {"prompt": PROMPT, "grammar": AMBIGUOUS, "n_predict": 200}
    *events, last = await stream(client, "/completion", body)
    assert "".join(event["content"] for event in events).startswith("bbbbb")
    assert last["error"]["code"] == 400
    assert last["error"]["type"] == "invalid_request_error"
    assert last["error"]["message"].startswith("Field 'grammar'")


# --- lazy grammars


async def test_a_trigger_wakes_a_lazy_grammar(client: Client) -> None:
    word = TEXT[4:7]
    lazy = {"grammar_lazy": True, "grammar_triggers": [{"type": 1, "value": word}]}
    answer = await complete(client, grammar=f'root ::= "{word}" [0-9]{{4}}', **lazy)
    at = TEXT.index(word)
    assert re.fullmatch(re.escape(TEXT[:at] + word) + "[0-9]{4}", answer["content"])


async def test_a_lazy_grammar_that_nothing_wakes_does_nothing(client: Client) -> None:
    triggers = [{"type": 1, "value": "!!"}, {"type": 0, "value": "", "token": 7}, {"type": 2, "value": "[0-9]+"}]
    answer = await complete(client, grammar='root ::= "no"', grammar_lazy=True, grammar_triggers=triggers)
    assert answer["content"] == TEXT[:24]


async def test_control_tokens_that_are_preserved_show(start: Start) -> None:
    decoder = FakeDecoder()
    decoder.end_after = len(PROMPT) + 3
    client = await start(decoder)
    assert (await complete(client))["content"] == TEXT[:3]
    grammar = f"root ::= <[{EOS}]>"  # an end token is not text for a grammar
    assert "nothing matches it" in await refused(client, grammar=grammar)


# --- thoughts


async def chat(client: Client, **body: Any) -> tuple[str, str]:
    """What a chat thinks and says."""
    answer = await post(client, "/v1/chat/completions", CHAT | body)
    message = answer["choices"][0]["message"]
    return message.get("reasoning_content", ""), message["content"]


@pytest.mark.parametrize("name", ["reasoning_budget_tokens", "thinking_budget_tokens"])
async def test_a_thought_is_ended_when_its_budget_is_used_up(start: Start, name: str) -> None:
    client = await start(template=THINKING)
    free, _ = await chat(client)
    thought, content = await chat(client, **{name: 5})
    assert len(free.strip()) > 20
    assert (thought.strip(), bool(content)) == (free[:5].strip(), True)


async def test_a_grammar_holds_from_the_first_token_thoughts_included_as_in_llama_server(start: Start) -> None:
    """Whoever writes one can write what the thought is to be; a schema or a `regex` holds after it."""
    client = await start(template=THINKING)
    assert await chat(client, grammar='root ::= "yes"') == ("yes", "")
    assert await chat(client, grammar='root ::= "so" "</think>" "yes"') == ("so", "yes")
    thought, content = await chat(client, regex="yes|no", reasoning_budget_tokens=3, max_tokens=80)
    assert thought and content in ("yes", "no")


async def test_a_message_may_end_it(start: Start) -> None:
    client = await start(template=THINKING)
    thought, content = await chat(client, reasoning_budget_tokens=3, reasoning_budget_message=" That is enough.")
    assert thought.endswith(" That is enough.")
    assert content


async def test_a_budget_of_nothing_is_no_thought(start: Start) -> None:
    client = await start(template=THINKING)
    thought, content = await chat(client, reasoning_budget_tokens=0)
    assert thought == ""
    assert content


async def test_the_server_has_a_budget_for_those_who_name_none(start: Start) -> None:
    client = await start(template=THINKING, reasoning_budget=4, reasoning_budget_message="!")
    thought, _ = await chat(client)
    assert (len(thought), thought[-1]) == (5, "!")
    assert (await chat(client, reasoning_budget_tokens=-1))[0] == thought
    assert len((await chat(client, reasoning_budget_tokens=9))[0]) == 10


# --- control


async def control(client: Client, **body: Any) -> Any:
    return await post(client, "/v1/chat/completions/control", {"action": "reasoning_end"} | body)


async def test_a_thought_is_ended_from_outside(start: Start) -> None:
    decoder = FakeDecoder()
    decoder.step_seconds = 0.005
    client = await start(decoder, template=THINKING)
    body = CHAT | {"max_tokens": 400, "stream": True, "reasoning_control": True}
    said = {"reasoning_content": "", "content": ""}
    async with client.post("/v1/chat/completions", json=body) as response:
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            for choice in event["choices"]:
                for name in said.keys() & choice["delta"].keys():
                    said[name] += choice["delta"][name] or ""
            if len(said["reasoning_content"]) == 20:
                assert await control(client, id=event["id"]) == {"success": True}
            if len(said["content"]) > 20:
                break
    assert 20 <= len(said["reasoning_content"]) < 200
    ended = {"success": False, "message": "no active completion for this id"}
    while await control(client, id=event["id"]) != ended:
        await asyncio.sleep(0.01)


async def test_what_cannot_be_controlled(start: Start) -> None:
    decoder = FakeDecoder()
    decoder.step_seconds = 0.005
    client = await start(decoder, template=THINKING)
    assert await control(client, id="x") == {"success": False, "message": "no active completion for this id"}
    for body, message in (
        ({}, "'id' is required"),
        ({"id": ""}, "missing completion id"),
        ({"id": "x", "action": "dance"}, "Field 'action': Value must be one of reasoning_end, but got dance"),
    ):
        assert message in await post_error(client, "/v1/chat/completions/control", {"action": "reasoning_end"} | body)
    async with client.post("/v1/chat/completions", json=CHAT | {"stream": True, "max_tokens": 300}) as response:
        line = await response.content.readline()
        answer = await control(client, id=json.loads(line[6:])["id"])
    assert answer == {"success": False, "message": "reasoning control not enabled for this completion"}
