from __future__ import annotations

from dataclasses import fields

import pytest

from llamahttp.api.parameters import CHAT_TABLE, COMPLETION_TABLE, NATIVE_TABLE, TEXT_TABLE
from llamahttp.api.schema import CompletionRequest, Probabilities, completion_request
from llamahttp.errors import InvalidRequest
from llamahttp.task import RANDOM_SEED, SamplingParams

CHAT: dict[str, object] = {"messages": []}


def decode(body: dict[str, object], n_predict: int = -1) -> CompletionRequest:
    return completion_request(COMPLETION_TABLE, body, n_slots=4, n_predict=n_predict)


def test_defaults_are_those_of_the_engine() -> None:
    assert decode({}).sampling == SamplingParams()


@pytest.mark.parametrize("table", [COMPLETION_TABLE, TEXT_TABLE, CHAT_TABLE])
def test_every_field_of_the_engine_s_sampling_can_be_set(table: object) -> None:
    names = {field.name for field in fields(SamplingParams)} - {"n_post_probs"}  # which is two in requests
    assert names <= table.fields.keys()  # type: ignore[attr-defined]


@pytest.mark.parametrize("table", [COMPLETION_TABLE, TEXT_TABLE, CHAT_TABLE])
def test_every_default_is_accepted_when_sent(table: object) -> None:
    values = {name: field.default for name, field in table.fields.items()}  # type: ignore[attr-defined]
    as_json = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    required = {name: "x" for name, field in table.fields.items() if field.required}  # type: ignore[attr-defined]
    assert table.decode(as_json | required) == values | required  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("body", "seed"),
    [({"seed": -1}, RANDOM_SEED), ({"seed": 7}, 7), ({"seed": 2**32 + 5}, 5), ({}, RANDOM_SEED)],
)
def test_seeds_are_32_bits(body: dict[str, object], seed: int) -> None:
    assert decode(body).sampling.seed == seed


@pytest.mark.parametrize(
    ("wanted", "default", "n_predict"), [(-1, -1, -1), (5, -1, 5), (-1, 5, 5), (9, 5, 9), (3, 5, 3), (0, 5, 0)]
)
def test_a_request_without_a_limit_gets_the_server_s(wanted: int, default: int, n_predict: int) -> None:
    assert decode({"max_tokens": wanted}, default).n_predict == n_predict


def test_the_server_s_defaults_hold_where_the_request_says_nothing() -> None:
    defaults = {"n_keep": 5, "cache_prompt": False}
    request = completion_request(COMPLETION_TABLE, {"n_keep": 7}, n_slots=4, defaults=defaults)
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
    ("body", "message"),
    [
        ({"json_schema": {}, "grammar": "x"}, "Cannot use both json_schema and grammar"),
        ({"guided_regex": "a", "json_schema": True}, "Cannot use both json_schema and regex"),
    ],
)
def test_answers_have_one_constraint(body: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        decode(body)


def test_a_request_s_constraint_replaces_the_default_one() -> None:
    defaults = {"json_schema": {"type": "null"}}
    bodies: list[dict[str, object]] = [{}, {"grammar": ""}, {"grammar": "x"}, {"regex": "a"}, {"json_schema": True}]
    requests = [
        completion_request(NATIVE_TABLE, {"prompt": "", **body}, n_slots=1, defaults=defaults) for body in bodies
    ]
    assert [request.values["json_schema"] for request in requests] == [{"type": "null"}] * 2 + [None, None, True]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["top_k", "temperature"], ("top_k", "temperature")),
        (
            ["Top-K", "topk", "nucleus", "temp", "typ", "minp", "ADAPTIVE-P"],
            ("top_k", "top_k", "top_p", "temperature", "typ_p", "min_p", "adaptive_p"),
        ),
        ("edskypmxt", SamplingParams().samplers),
        ("kia", ("top_k", "infill", "adaptive_p")),
        ([], ()),
        ("", ()),
    ],
)
def test_samplers_are_listed_by_names_or_codes(value: object, expected: tuple[str, ...]) -> None:
    assert decode({"samplers": value}).sampling.samplers == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["top_k", "top_z"], "there is no sampler 'top_z'; there are penalties, dry"),
        ("kz", "there is no sampler with the code 'z'; the codes are edskypmxtia"),
        (["top_k"] * 33, "at most 32 samplers may be listed, but got 33"),
        (["dry", "top_k", "dry"], "the sampler dry may be listed once only"),
        ([5], "type must be array of strings, but is number"),
        (5, "type must be array of strings, but is number"),
    ],
)
def test_a_wrong_sampler_is_named(value: object, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode({"samplers": value})
    assert str(caught.value).startswith(f"Field 'samplers': {message}")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("repeat_last_n", -1, "Value must be between 0 <= value <= 2147483647, but got -1"),
        ("dry_penalty_last_n", -1, "Value must be between 0 <= value <= 2147483647, but got -1"),
        ("dry_allowed_length", -1, "Value must be between 0 <= value <= 2147483647, but got -1"),
        ("min_keep", -1, "Value must be between 0 <= value <= 2147483647, but got -1"),
        ("adaptive_decay", 0.995, "Value must be between 0.000000 <= value <= 0.990000, but got 0.995000"),
        ("dry_sequence_breakers", [], "must be a non-empty array of strings"),
        ("dry_sequence_breakers", ["x"] * 17, "at most 16 entries are allowed, but got 17"),
        ("dry_sequence_breakers", "x", "type must be array of strings, but is string"),
        ("mirostat_tau", "x", "type must be number, but is string"),
        ("typical_p", 1e39, "Value must be finite as a 32-bit float, but got 1e+39"),
    ],
)
def test_hard_limits_of_sampling(name: str, value: object, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode({name: value})
    assert str(caught.value) == f"Field '{name}': {message}"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("xtc_probability", 3, 1.0),
        ("xtc_threshold", -1, 0.0),
        ("mirostat", 9, 2),
        ("mirostat", -9, 0),
        ("adaptive_target", 2, 1.0),
        ("temperature", -1, 0.0),
        ("top_k", -1, 0),
        ("top_p", 1.5, 1.0),
        ("min_p", -0.5, 0.0),
        ("dry_base", 0.5, 1.75),
        ("typical_p", 7, 7.0),
    ],
)
def test_soft_limits_of_sampling(name: str, value: float, expected: float) -> None:
    assert getattr(decode({name: value}).sampling, name) == expected


def test_the_server_s_base_of_dry_takes_the_place_of_one_that_is_too_small() -> None:
    request = completion_request(COMPLETION_TABLE, {"dry_base": 0.1}, n_slots=4, defaults={"dry_base": 3.0})
    assert request.sampling.dry_base == 3.0


@pytest.mark.parametrize(
    ("body", "n_post_probs"),
    [({"n_probs": 3}, 0), ({"n_probs": 3, "post_sampling_probs": True}, 3), ({"post_sampling_probs": True}, 0)],
)
def test_probabilities_after_sampling_are_asked_for_by_a_switch(body: dict[str, object], n_post_probs: int) -> None:
    assert decode(body).sampling.n_post_probs == n_post_probs


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
    probs = completion_request(CHAT_TABLE, CHAT | body, n_slots=4).probs
    assert (probs.n_computed, probs.n_top, probs.is_shown) == (n_probs, n_top, n_probs > 0)


def test_top_logprobs_alone_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="top_logprobs requires logprobs"):
        completion_request(CHAT_TABLE, CHAT | {"top_logprobs": 2}, n_slots=4)


def test_logprobs_is_a_number_outside_chats() -> None:
    assert decode({"logprobs": 2}).probs == Probabilities(2, 2, is_shown=True)
    with pytest.raises(InvalidRequest, match="'logprobs': type must be boolean"):
        completion_request(CHAT_TABLE, CHAT | {"logprobs": 2}, n_slots=4)


@pytest.mark.parametrize(("value", "probs"), [(0, Probabilities(1, 0, True)), (3, Probabilities(3, 3, True))])
def test_text_completions_show_the_chosen_token_s_even_with_0(value: int, probs: Probabilities) -> None:
    assert completion_request(TEXT_TABLE, {"prompt": "x", "logprobs": value}, n_slots=4).probs == probs
    assert completion_request(TEXT_TABLE, {"prompt": "x", "logprobs": False}, n_slots=4).probs == Probabilities()


def test_the_best_of_several_needs_their_probabilities() -> None:
    request = completion_request(TEXT_TABLE, {"prompt": "x", "n": 2, "best_of": 4}, n_slots=4)
    assert (request.n_cmpl, request.n_tries, request.probs) == (2, 4, Probabilities(1, 0))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"best_of": 5}, "Field 'best_of': Value must be between 1 <= value <= 4, but got 5"),
        ({"best_of": 1, "n": 2}, "Field 'best_of': Value must be between 2 <= value <= 4, but got 1"),
        ({"best_of": 2, "stream": True}, "Field 'best_of': 2 answers have to be whole to choose the best 1: no stream"),
    ],
)
def test_best_of_has_limits(body: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        completion_request(TEXT_TABLE, {"prompt": "x"} | body, n_slots=4)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("options", "included"), [({}, False), ({"include_usage": None}, False), ({"include_usage": True}, True)]
)
def test_usage_is_asked_for_in_stream_options(options: dict[str, object], included: bool) -> None:
    assert decode({"stream_options": options}).include_usage is included


def test_a_wrong_stream_option_is_named() -> None:
    with pytest.raises(InvalidRequest, match=r"'stream_options\.include_usage': Expected `bool"):
        decode({"stream_options": {"include_usage": "yes"}})
