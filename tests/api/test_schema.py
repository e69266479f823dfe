from __future__ import annotations

from dataclasses import fields

import pytest

from llamahttp.api.schema import CHAT_TABLE, NATIVE_TABLE, TEXT_TABLE, CompletionRequest, completion_request
from llamahttp.errors import InvalidRequest, NotSupported
from llamahttp.task import RANDOM_SEED, SamplingParams


def decode(body: dict[str, object], n_predict: int = -1) -> CompletionRequest:
    return completion_request(NATIVE_TABLE, body, n_slots=4, n_predict=n_predict)


def test_defaults_are_those_of_the_engine() -> None:
    assert decode({}).sampling == SamplingParams()


@pytest.mark.parametrize("table", [NATIVE_TABLE, TEXT_TABLE, CHAT_TABLE])
def test_every_field_of_the_engine_s_sampling_can_be_set(table: object) -> None:
    names = {field.name for field in fields(SamplingParams)}
    assert names <= table.fields.keys()  # type: ignore[attr-defined]


@pytest.mark.parametrize("table", [NATIVE_TABLE, TEXT_TABLE, CHAT_TABLE])
def test_every_default_is_accepted_when_sent(table: object) -> None:
    values = {name: field.default for name, field in table.fields.items()}  # type: ignore[attr-defined]
    as_json = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    assert table.decode(as_json) == values  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("body", "seed"),
    [({"seed": -1}, RANDOM_SEED), ({"seed": 7}, 7), ({"seed": 2**32 + 5}, 5), ({}, RANDOM_SEED)],
)
def test_seeds_are_32_bits(body: dict[str, object], seed: int) -> None:
    assert decode(body).sampling.seed == seed


@pytest.mark.parametrize(
    ("wanted", "limit", "n_predict"), [(-1, -1, -1), (5, -1, 5), (-1, 5, 5), (9, 5, 5), (3, 5, 3), (0, 5, 0)]
)
def test_the_server_s_limit_bounds_n_predict(wanted: int, limit: int, n_predict: int) -> None:
    assert decode({"max_tokens": wanted}, limit).n_predict == n_predict


def test_the_server_s_defaults_hold_where_the_request_says_nothing() -> None:
    defaults = {"n_keep": 5, "cache_prompt": False}
    request = completion_request(NATIVE_TABLE, {"n_keep": 7}, n_slots=4, defaults=defaults)
    assert (request.n_keep, request.cache_prompt, request.n_discard) == (7, False, 0)
    assert request.values["cache_prompt"] is False


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("priority", 101, "Value must be between -100 <= value <= 100, but got 101"),
        ("priority", "high", "type must be number, but is string"),
        ("cache_salt", "x" * 257, "at most 256 characters are allowed, but got 257"),
        ("cache_salt", 5, "type must be string, but is number"),
        ("n_keep", -2, "Value must be between -1 <= value <= 2147483647, but got -2"),
        ("n_discard", -1, "Value must be between 0 <= value <= 2147483647, but got -1"),
        ("n_cache_reuse", -1, "Value must be between 0 <= value <= 2147483647, but got -1"),
        ("lora", {}, "type must be array, but is object"),
    ],
)
def test_a_wrong_value_is_named_with_its_limits(name: str, value: object, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode({name: value})
    assert str(caught.value) == f"Field '{name}': {message}"


@pytest.mark.parametrize("name", ["n", "n_cmpl"])
@pytest.mark.parametrize("value", [0, 5])
def test_n_is_at_most_the_number_of_slots(name: str, value: int) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode({name: value})
    assert str(caught.value) == f"Field '{name}': Value must be between 1 <= value <= 4, but got {value}"


@pytest.mark.parametrize(
    "body",
    [
        {"grammar": 'root ::= "a"'},
        {"json_schema": {}},
        {"samplers": ["top_k"]},
        {"samplers": "k"},
        {"mirostat": 2},
        {"dry_multiplier": 0.8},
        {"xtc_probability": 0.5},
        {"typical_p": 0.9},
        {"dynatemp_range": 0.5},
        {"top_n_sigma": 1},
        {"adaptive_target": 0.5},
        {"n_indent": 4},
        {"post_sampling_probs": True},
        {"backend_sampling": True},
        {"reasoning_budget_tokens": 0},
        {"reasoning_format": "deepseek-legacy"},
    ],
)
def test_features_to_come_are_refused_by_name(body: dict[str, object]) -> None:
    with pytest.raises(NotSupported, match=f"'{next(iter(body))}'"):
        decode(body)


@pytest.mark.parametrize("value", [0, -1, -0.5])
def test_a_repeat_penalty_must_be_positive(value: float) -> None:
    with pytest.raises(InvalidRequest, match=r"'repeat_penalty': Value must be greater than 0, but got"):
        decode({"repeat_penalty": value})


@pytest.mark.parametrize(
    ("body", "n_probs", "n_top"),
    [
        ({}, 0, 0),
        ({"logprobs": False}, 0, 0),
        ({"logprobs": True}, 1, 0),
        ({"logprobs": True, "top_logprobs": 0}, 1, 0),
        ({"logprobs": True, "top_logprobs": 5}, 5, 5),
        ({"n_probs": 3}, 3, 3),
    ],
)
def test_chats_ask_for_probabilities_in_two_steps(body: dict[str, object], n_probs: int, n_top: int) -> None:
    request = completion_request(CHAT_TABLE, body, n_slots=4)
    assert (request.n_probs, request.n_top) == (n_probs, n_top)


def test_top_logprobs_alone_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="top_logprobs requires logprobs"):
        completion_request(CHAT_TABLE, {"top_logprobs": 2}, n_slots=4)


def test_logprobs_is_a_number_outside_chats() -> None:
    assert decode({"logprobs": 2}).n_probs == 2
    with pytest.raises(InvalidRequest, match="'logprobs': type must be boolean"):
        completion_request(CHAT_TABLE, {"logprobs": 2}, n_slots=4)


@pytest.mark.parametrize(
    ("options", "included"), [({}, False), ({"include_usage": None}, False), ({"include_usage": True}, True)]
)
def test_usage_is_asked_for_in_stream_options(options: dict[str, object], included: bool) -> None:
    assert decode({"stream_options": options}).include_usage is included


def test_a_wrong_stream_option_is_named() -> None:
    with pytest.raises(InvalidRequest, match=r"'stream_options\.include_usage': type must be boolean"):
        decode({"stream_options": {"include_usage": "yes"}})
