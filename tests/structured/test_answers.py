"""Whole answers of a model of random weights, hot, through the server: each one that stops is valid."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import openai
import pydantic
import pytest
from process import REAL, Server

from tests.models import write_llama_bpe

from .schemas import PERSON, SCHEMAS
from .test_schema import validator

THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is not false %}<think>\n{% endif %}{% endif %}"
)
USER: Any = [{"role": "user", "content": "x"}]
HOT = {"temperature": 3.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "reasoning_budget_tokens": 5, "max_tokens": 300}
CHAINS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0},
    "default": {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05},
    "min_p alone": {"min_p": 0.05},
    "Mirostat": {"mirostat": 2},
    "penalties": {"repeat_penalty": 1.1, "presence_penalty": 0.1},
    "DRY": {"dry_multiplier": 0.8},
    "after the chain": {"n_probs": 2, "post_sampling_probs": True},
}


@pytest.fixture(scope="module", params=["", THINKING], ids=["plain", "thinking"])
def client(request: pytest.FixtureRequest, models_folder: Path) -> Iterator[openai.OpenAI]:
    model = write_llama_bpe(models_folder / "structured.gguf")
    flags = ["-m", str(model), "--port", "0", "-np", "4", "-c", "8192", "-lv", "1"]
    if request.param:
        flags += ["--chat-template", request.param]
    with Server(REAL, flags) as server, openai.OpenAI(base_url=f"{server.ready()}/v1", api_key="k") as client:
        yield client
        server.interrupt()


def ask(client: openai.OpenAI, seed: int = 1, messages: Any = USER, **body: Any) -> Any:
    return client.chat.completions.create(
        model="m", messages=messages, extra_body={**HOT, "seed": seed, **body}
    ).choices


def json_schema(schema: Any) -> Any:
    return {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}


def check(choice: Any, schema: Any) -> bool:
    """Whether the answer stopped, which has to be valid then."""
    if choice.finish_reason == "length":
        return False
    assert choice.finish_reason == "stop"
    errors = [error.message for error in validator(schema).iter_errors(json.loads(choice.message.content))]
    assert not errors, choice.message.content
    return True


@pytest.mark.parametrize("name", SCHEMAS)
def test_hot_answers_are_valid(client: openai.OpenAI, name: str) -> None:
    schema = SCHEMAS[name]
    choices = [
        *ask(client, seed=1, response_format=json_schema(schema), n=2),
        *ask(client, seed=9, json_schema=schema),
        *ask(client, seed=19, response_format={"type": "json_object", "schema": schema}),
    ]
    assert any([check(choice, schema) for choice in choices])


@pytest.mark.parametrize("chain", CHAINS)
def test_with_every_kind_of_sampling(client: openai.OpenAI, chain: str) -> None:
    choices = [
        choice
        for seed in range(4)
        for choice in ask(client, seed, json_schema=SCHEMAS["array bounds"], **CHAINS[chain])
    ]
    assert all([check(choice, SCHEMAS["array bounds"]) for choice in choices])


def test_an_answer_that_is_cut_says_so(client: openai.OpenAI) -> None:
    choice, *_ = ask(client, json_schema={"type": "string", "minLength": 200}, max_tokens=20)
    assert choice.finish_reason == "length"
    with pytest.raises(json.JSONDecodeError):
        json.loads(choice.message.content)


def test_thoughts_come_before(client: openai.OpenAI, request: pytest.FixtureRequest) -> None:
    choice, *_ = ask(client, json_schema={"const": "yes"})
    assert choice.message.content == '"yes"'
    assert bool(getattr(choice.message, "reasoning_content", "")) == ("thinking" in request.node.name)


def test_regular_expressions(client: openai.OpenAI) -> None:
    for name in ("regex", "guided_regex"):
        choices = [choice for seed in range(4) for choice in ask(client, seed, **{name: "^[a-c]{2,4}-(x|\\d{2})$"})]
        assert all(re.fullmatch(r"[a-c]{2,4}-(x|[0-9]{2})", choice.message.content) for choice in choices)


def test_a_lark_grammar(client: openai.OpenAI) -> None:
    grammar = '%llguidance {}\nstart: "<" word+ ">"\nword: /[ab]{3}/'
    answer = client.completions.create(model="m", prompt="x", extra_body={**HOT, "seed": 3, "grammar": grammar})
    assert re.fullmatch(r"<([ab]{3})+>", answer.choices[0].text) or answer.choices[0].finish_reason == "length"


def test_with_log_probabilities_and_stop_strings(client: openai.OpenAI) -> None:
    choice, *_ = ask(client, json_schema={"const": "abcdef"}, logprobs=True, top_logprobs=2)
    shown = "".join(token.token for token in choice.logprobs.content)
    assert shown.endswith('"abcdef"')
    choice, *_ = ask(client, json_schema={"const": "abcdef"}, stop=["cd"])
    assert (choice.message.content, choice.finish_reason) == ('"ab', "stop")


def test_streamed_it_is_the_same(client: openai.OpenAI) -> None:
    body = {**HOT, "seed": 5, "json_schema": PERSON}
    whole = client.chat.completions.create(model="m", messages=USER, extra_body=body).choices[0]
    stream = client.chat.completions.create(model="m", messages=USER, extra_body=body, stream=True)
    text = "".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices)
    assert text == whole.message.content
    assert check(whole, PERSON)


def test_the_rest_of_a_message(client: openai.OpenAI) -> None:
    schema = {"properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    begun = [*USER, {"role": "assistant", "content": '{"a'}]
    choice, *_ = ask(client, messages=begun, json_schema=schema)
    assert set(json.loads(choice.message.content)) == {"a"}
    with pytest.raises(openai.BadRequestError, match="the beginning of the answer, 'xx', does not obey"):
        ask(client, messages=[*USER, {"role": "assistant", "content": "xx"}], json_schema=schema)


TOOL = {"type": "function", "function": {"name": "look", "parameters": {"properties": {"at": {"type": "boolean"}}}}}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"response_format": json_schema({"items": {"not": {}}})},
            "Field 'response_format': JSON schema: at '/items/not'",
        ),
        (
            {"response_format": json_schema({"minLength": 2, "maxLength": 1})},
            "Field 'response_format': JSON schema: at its",
        ),
        (
            {"response_format": json_schema([])},
            "Expected 'response_format.json_schema.schema' to be a JSON Schema object",
        ),
        ({"response_format": {"type": "xml"}}, "response_format type must be one of"),
        ({"json_schema": {"type": "zz"}}, "Field 'json_schema': JSON schema: at '/type'"),
        ({"json_schema": 5}, "Expected 'json_schema' to be a JSON Schema object"),
        ({"regex": "(?=a)"}, "Field 'regex': the pattern '\\(\\?=a\\)': a lookahead cannot be enforced"),
        ({"regex": "("}, "Field 'regex': "),
        ({"regex": 5}, "Field 'regex': type must be string"),
        (
            {"grammar": "%llguidance {}\nstart: " + "(" * 200 + '"a"' + ")" * 200},
            "brackets are nested more than 100 deep",
        ),
        ({"grammar": "%llguidance []\n"}, "the options behind %llguidance have to be a JSON object"),
        ({"grammar": 'root ::= "a"', "json_schema": True}, "Cannot use both json_schema and grammar"),
        ({"regex": "a", "response_format": {"type": "json_object"}}, "Cannot use both regex and response_format"),
        ({"regex": "a", "tools": [TOOL]}, "Cannot use custom grammar constraints with tools."),
    ],
)
def test_what_is_refused(client: openai.OpenAI, body: dict[str, Any], message: str) -> None:
    with pytest.raises(openai.BadRequestError, match=message) as caught:
        ask(client, **body)
    assert caught.value.status_code == 400


class Step(pydantic.BaseModel):
    kind: Literal["add", "take"]
    amount: int = pydantic.Field(ge=0, le=99)
    note: str | None


class Plan(pydantic.BaseModel):
    title: str = pydantic.Field(max_length=10)
    steps: list[Step] = pydantic.Field(max_length=2)
    then: Plan | None


def test_the_openai_package_parses_pydantic_models(client: openai.OpenAI) -> None:
    bias = {"extra_body": {**HOT, "seed": 4, "temperature": 0.8, "max_tokens": 700}}
    completion = client.chat.completions.parse(model="m", messages=USER, response_format=Plan, **bias)  # type: ignore[arg-type]
    plan = completion.choices[0].message.parsed
    assert isinstance(plan, Plan)
    with client.chat.completions.stream(model="m", messages=USER, response_format=Plan, **bias) as stream:  # type: ignore[arg-type]
        assert stream.get_final_completion().choices[0].message.parsed == plan
