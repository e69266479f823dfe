"""Bodies, good and odd: every parameter of a route takes every value in turn, and where ours differs on purpose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

TEXTS: list[Any] = ["x", ""]
BIG: list[Any] = [1e12, 2**31]
HUGE: list[Any] = [2**63, -(2**40)]
NUMBERS: list[Any] = [0, 1, 2, -1, -2, 1.5, *BIG, *HUGE]
BOOLEANS: list[Any] = [True, False]
LISTS: list[Any] = [[], ["a"], [1], [[]]]
OBJECTS: list[Any] = [{}, {"a": 1}]
VALUES = [*TEXTS, *NUMBERS, *BOOLEANS, *LISTS, *OBJECTS, None]

COMPLETION: dict[str, Any] = {
    **{"prompt": "The quick brown", "temperature": 0, "n_predict": 3, "ignore_eos": True, "seed": 1},
    "cache_prompt": False,
}
CHAT: dict[str, Any] = {
    **{"messages": [{"role": "user", "content": "Hi"}], "temperature": 0, "max_tokens": 3, "ignore_eos": True},
    **{"seed": 1, "cache_prompt": False, "chat_template_kwargs": {"enable_thinking": False}},
}
GAP: dict[str, Any] = {
    **{"input_prefix": "def add", "input_suffix": " b\n", "temperature": 0, "n_predict": 3, "seed": 1},
    "cache_prompt": False,
}


@dataclass(frozen=True)
class Route:
    """A route, a body that is right, and the parameters that take every value."""

    path: str
    body: dict[str, Any]
    names: str
    model: str = "generates"
    is_stream: bool = False

    def bodies(self, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each value of a parameter as JSON, and the body with it."""
        stream = {"stream": True} if self.is_stream else {}
        for value in VALUES:
            yield json.dumps(value), {**self.body, **stream, name: value}


SAMPLING = """
seed temperature dynatemp_range dynatemp_exponent top_k top_p min_p xtc_probability xtc_threshold top_n_sigma typical_p
repeat_last_n repeat_penalty frequency_penalty presence_penalty dry_multiplier dry_base dry_allowed_length
dry_penalty_last_n dry_sequence_breakers mirostat mirostat_tau mirostat_eta adaptive_target adaptive_decay min_keep
n_probs logprobs post_sampling_probs backend_sampling samplers logit_bias ignore_eos
"""
GENERATING = """
id_slot stream_options n_predict n_cmpl n stop cache_prompt n_cache_reuse n_keep n_discard n_indent t_max_predict_ms
response_fields return_tokens return_progress timings_per_token verbose sse_ping_interval echo lora grammar
grammar_lazy grammar_triggers preserved_tokens reasoning_format reasoning_control reasoning_budget_tokens
reasoning_budget_message model prompt unheard_of
"""
CHATTING = """
messages tools tool_choice parallel_tool_calls logprobs top_logprobs chat_template_kwargs reasoning_effort
reasoning_format thinking_budget_tokens add_generation_prompt continue_final_message reasoning_budget_message
reasoning_control unheard_of
"""

ROUTES = [
    Route("/completion", COMPLETION, SAMPLING + GENERATING),
    Route("/completion", COMPLETION, SAMPLING + GENERATING, is_stream=True),
    Route("/v1/completions", COMPLETION, "prompt n logprobs echo suffix best_of max_tokens stream_options stop user"),
    Route(
        "/v1/completions",
        COMPLETION,
        "prompt n logprobs echo max_tokens stream_options stop user return_progress timings_per_token",
        is_stream=True,
    ),
    Route("/v1/chat/completions", CHAT, CHATTING, model="chats"),
    Route("/v1/chat/completions", CHAT, CHATTING, model="chats", is_stream=True),
    Route("/apply-template", CHAT, "messages tools chat_template_kwargs add_generation_prompt", model="chats"),
    Route("/chat/completions/input_tokens", CHAT, "messages tools chat_template_kwargs", model="chats"),
    Route("/infill", GAP, "input_prefix input_suffix input_extra prompt", model="chats"),
    Route("/tokenize", {"content": "Hello you"}, "content add_special parse_special with_pieces"),
    Route("/detokenize", {"tokens": [5, 300]}, "tokens"),
    Route("/lora-adapters", {}, "id scale"),
    Route("/v1/chat/completions/control", {"id": "x", "action": "reasoning_end"}, "id action"),
    Route("/v1/streams/lookup", {"conversation_ids": ["a"]}, "conversation_ids"),
    Route("/v1/embeddings", {"input": "hello"}, "input content encoding_format embd_normalize model", "embeds"),
    Route("/embedding", {"content": "hello"}, "input content encoding_format embd_normalize dimensions", "embeds"),
    Route("/v1/rerank", {"query": "a b", "documents": ["c", "e"]}, "query documents top_n return_text model", "ranks"),
    Route("/rerank", {"query": "a b", "texts": ["c d", "e"]}, "query texts documents top_n return_text", "ranks"),
]
