"""Values of parameters that are answered otherwise than by llama-server, on purpose, and why."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .bodies import BIG, BOOLEANS, HUGE, LISTS, NUMBERS, OBJECTS, TEXTS

NO_TEXT = [*NUMBERS, *BOOLEANS, *LISTS, *OBJECTS]
NO_NUMBER = [*TEXTS, *LISTS, *OBJECTS]
NO_BOOLEAN = [*TEXTS, *NUMBERS, *LISTS, *OBJECTS]
NO_OBJECT = [*TEXTS, *NUMBERS, *BOOLEANS, *LISTS]
NO_ARRAY = [*TEXTS, *NUMBERS, *BOOLEANS, *OBJECTS]
NO_FORM = [*NUMBERS, *BOOLEANS, *OBJECTS]
"""What neither texts nor lists are."""
NOT_ONE = [0, -1, -2, *BIG, *HUGE, False]

TYPE = "a value of the wrong type is a 400 that names it; llama-server ignores it, or answers 500"
RANGE = "a number out of range is a 400 that names the limits; llama-server takes it, lets it wrap, or answers 500"
NULL = "null is the same as absent; llama-server answers 500"
HONOURED = "it has the effect that OpenAI's API gives it; llama-server ignores it"


@dataclass(frozen=True)
class Difference:
    """`values` of the parameters `names` of the routes `paths`, or of one of them, whole or streamed."""

    reason: str
    paths: str
    names: str
    values: list[Any]
    streams: tuple[bool, ...] = (False, True)


DIFFERENCES = [
    Difference(TYPE, "/completion", "grammar reasoning_budget_message model", NO_TEXT),
    Difference(TYPE, "/completion", "id_slot", NO_NUMBER),
    Difference(TYPE, "/completion", "logit_bias", [*TEXTS, *NUMBERS, *BOOLEANS]),
    Difference(TYPE, "/completion", "lora", [["a"], [1], [[]]]),
    Difference(TYPE, "/completion", "preserved_tokens", [*TEXTS, {}]),
    Difference(TYPE, "/completion", "grammar_triggers", [{}]),
    Difference(TYPE, "/completion", "response_fields", [*NO_ARRAY, [1], [[]]]),
    Difference(TYPE, "/completion", "samplers", NO_FORM),
    Difference(TYPE, "/completion /v1/completions", "stop", [*NO_FORM, [[]]]),
    Difference(TYPE, "/completion /v1/completions", "stream_options", NO_OBJECT),
    Difference(TYPE, "/v1/completions", "suffix", NO_TEXT),
    Difference(TYPE, "/v1/completions", "best_of", NO_NUMBER),
    Difference(TYPE, "/v1/chat/completions /apply-template", "add_generation_prompt", NO_BOOLEAN),
    Difference(TYPE, "/v1/chat/completions", "parallel_tool_calls reasoning_control", NO_BOOLEAN),
    Difference(
        TYPE, "/v1/chat/completions /apply-template /chat/completions/input_tokens", "chat_template_kwargs", NO_OBJECT
    ),
    Difference(
        TYPE,
        "/v1/chat/completions /apply-template /chat/completions/input_tokens",
        "tools",
        [*NO_ARRAY, ["a"], [1], [[]]],
    ),
    Difference(TYPE, "/v1/chat/completions", "tool_choice", NO_TEXT),
    Difference(TYPE, "/v1/chat/completions", "reasoning_effort reasoning_budget_message", NO_TEXT),
    Difference(TYPE, "/v1/chat/completions", "logprobs", NUMBERS),
    Difference(TYPE, "/v1/chat/completions", "thinking_budget_tokens", NO_NUMBER),
    Difference(TYPE, "/v1/chat/completions", "reasoning_format", [*TEXTS, *NO_TEXT]),
    Difference(
        TYPE,
        "/v1/chat/completions",
        "continue_final_message",
        [*TEXTS, 2, -1, -2, 1.5, *BIG, *HUGE, *LISTS, *OBJECTS],
    ),
    Difference(TYPE, "/infill", "input_prefix input_suffix", [*NO_FORM, [[]]]),
    Difference(TYPE, "/infill", "prompt", NO_TEXT),
    Difference(TYPE, "/tokenize", "content", [*NO_FORM, [[]]]),
    Difference(TYPE, "/tokenize", "add_special parse_special with_pieces", NO_BOOLEAN),
    Difference(TYPE, "/detokenize", "tokens", [*NO_ARRAY, ["a"], [[]]]),
    Difference(TYPE, "/v1/streams/lookup", "conversation_ids", [*NO_ARRAY, [1], [[]]]),
    Difference(TYPE, "/v1/embeddings /embedding", "embd_normalize dimensions", NO_NUMBER),
    Difference(TYPE, "/v1/embeddings /embedding", "encoding_format", NO_TEXT),
    Difference(TYPE, "/v1/embeddings /embedding", "input", NO_FORM),
    Difference(TYPE, "/embedding", "content", NO_FORM),
    Difference(TYPE, "/v1/embeddings /v1/rerank", "model", NO_TEXT),
    Difference(TYPE, "/v1/rerank /rerank", "return_text", NO_BOOLEAN),
    Difference(TYPE, "/v1/rerank /rerank", "top_n", NO_NUMBER),
    Difference(TYPE, "/rerank", "documents", [*NO_ARRAY, [1], [[]], None]),
    Difference(RANGE, "/completion", "id_slot", [-2, *BIG, *HUGE]),
    Difference(RANGE, "/completion", "repeat_last_n dry_allowed_length dry_penalty_last_n min_keep", HUGE),
    Difference(RANGE, "/completion", "n_predict n_cache_reuse n_keep n_discard n_indent sse_ping_interval", HUGE),
    Difference(RANGE, "/completion", "reasoning_budget_tokens", HUGE),
    Difference(RANGE, "/completion", "repeat_penalty", [*BIG, 2**63]),
    Difference(RANGE, "/v1/completions", "best_of", NOT_ONE),
    Difference(RANGE, "/v1/chat/completions", "thinking_budget_tokens", HUGE),
    Difference(RANGE, "/v1/embeddings /embedding", "embd_normalize", [-2, *BIG, *HUGE]),
    Difference(RANGE, "/embedding", "dimensions", NOT_ONE),
    Difference(RANGE, "/v1/rerank /rerank", "top_n", [-1, -2, *BIG, *HUGE]),
    Difference(
        "numbers above 32 bits are the largest; llama-server lets them wrap", "/completion", "top_k", [*BIG, 2**63]
    ),
    Difference(
        "numbers above 32 bits are the largest; llama-server lets them wrap", "/completion", "mirostat", [*BIG, 2**63]
    ),
    Difference(
        "numbers above 32 bits are the largest, those below 0 none; llama-server lets them wrap, and shows them",
        "/completion",
        "n_probs logprobs",
        [-1, -2, *BIG, 2**63],
    ),
    Difference(
        "booleans are numbers everywhere; llama-server refuses them here only",
        "/completion",
        "t_max_predict_ms",
        BOOLEANS,
    ),
    Difference(
        "penalties so large that all tokens are tied", "/completion", "frequency_penalty presence_penalty", [-(2**40)]
    ),
    Difference("no tokens are none; llama-server generates one", "/completion", "n_predict", [0, False]),
    Difference("an empty text stops nothing; llama-server stops at once", "/completion /v1/completions", "stop", [""]),
    Difference(
        "what a stop string cuts off is no event; llama-server sends an empty one",
        "/completion /v1/completions",
        "stop",
        [["a"]],
        (True,),
    ),
    Difference(
        "a prompt of no token has none in memory; llama-server shows what others left in the slot",
        "/completion",
        "prompt",
        [[[]]],
    ),
    Difference("a sampler that there is not is named; llama-server leaves it out", "/completion", "samplers", [["a"]]),
    Difference("a lazy grammar needs triggers, even one that is not there", "/completion", "grammar_lazy", [True]),
    Difference(
        "texts are shown as they came; llama-server shows their tokens", "/completion", "preserved_tokens", [["a"]]
    ),
    Difference(
        "reports name no tokens; llama-server's name a token 0 that nobody generated",
        "/completion",
        "return_progress",
        [True],
        (True,),
    ),
    Difference(HONOURED, "/completion /v1/completions", "echo", [True]),
    Difference(HONOURED, "/v1/completions", "suffix", ["x"]),
    Difference(HONOURED, "/embedding", "dimensions", [1, 2, 1.5, True]),
    Difference(
        "OpenAI's shape of log probabilities too, and the chosen token's own for 0",
        "/v1/completions",
        "logprobs",
        [*NUMBERS, True],
    ),
    Difference("usage counts every answer; llama-server counts one", "/v1/completions", "n", [2]),
    Difference(
        "none of the most likely tokens unless `top_logprobs` asks, as in OpenAI's API; llama-server shows 20",
        "/v1/chat/completions",
        "logprobs",
        [True],
    ),
    Difference(
        "1 is true: it contradicts `add_generation_prompt`", "/v1/chat/completions", "continue_final_message", [1]
    ),
    Difference(
        "the demo model's template does without messages; llama-server's Jinja fails on it",
        "/v1/chat/completions /apply-template /chat/completions/input_tokens",
        "messages",
        [[]],
    ),
    Difference(NULL, "/v1/chat/completions", "reasoning_format", [None]),
    Difference(NULL, "/tokenize", "content", [None]),
    Difference(NULL, "/detokenize", "tokens", [None]),
    Difference(NULL, "/infill", "input_extra", [None]),
    Difference(NULL, "/embedding", "input", [None]),
    Difference(NULL, "/v1/embeddings /embedding", "encoding_format embd_normalize", [None]),
    Difference(
        "what is required cannot be null: 400; llama-server answers 500", "/infill", "input_prefix input_suffix", [None]
    ),
    Difference("what is required cannot be null: 400; llama-server answers 500", "/v1/embeddings", "input", [None]),
    Difference("what is required cannot be null: 400; llama-server answers 500", "/embedding", "content", [None]),
]


def expected(path: str, name: str, is_stream: bool) -> dict[str, str]:
    """The reasons by value, as JSON, of a parameter."""
    rows = (row for row in DIFFERENCES if path in row.paths.split() and name in row.names.split())
    return {key: row.reason for row in rows if is_stream in row.streams for key in as_json(row.values)}


def as_json(values: Iterable[Any]) -> list[str]:
    return [json.dumps(value) for value in values]
