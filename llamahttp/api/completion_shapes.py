"""Completion shapes: what answers that are generated look like, whole and in events, as types. Pure."""

from __future__ import annotations

from typing import Literal, TypedDict

from .logprobs import GeneratedToken
from .shapes import CacheUse, Settings


class Timings(TypedDict):
    """What an answer cost; `_n` counts tokens."""

    cache_n: int
    prompt_n: int
    prompt_ms: float
    prompt_per_token_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_token_ms: float
    predicted_per_second: float


class Progress(TypedDict):
    """How far a prompt is computed, in tokens; `cache` were not computed."""

    total: int
    cache: int
    processed: int
    time_ms: int


class PromptDetails(TypedDict):
    """Prompt tokens that were not computed."""

    cached_tokens: int


class Usage(TypedDict):
    """Tokens of all answers together."""

    completion_tokens: int
    prompt_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class Completion(TypedDict, total=False):
    """An answer in llama-server's own shape; `response_fields` picks members, and names nested ones by their path."""

    index: int
    content: str
    tokens: list[int]
    id_slot: int
    stop: Literal[True]
    model: str
    tokens_predicted: int
    tokens_evaluated: int
    generation_settings: Settings
    prompt: str
    has_new_line: bool
    truncated: bool
    stop_type: Literal["none", "eos", "limit", "word"]
    stopping_word: str
    tokens_cached: int
    timings: Timings
    cache: CacheUse
    completion_probabilities: list[GeneratedToken]


_Verbose = TypedDict("_Verbose", {"__verbose": Completion}, total=False)
"""What is shown to requests that are `verbose`."""


class _CompletionChunk(TypedDict):
    index: int
    content: str
    tokens: list[int]
    stop: Literal[False]
    id_slot: int
    tokens_predicted: int
    tokens_evaluated: int


class CompletionChunk(_CompletionChunk, total=False):
    """New text of an answer."""

    timings: Timings
    cache: CacheUse
    completion_probabilities: list[GeneratedToken]
    prompt_progress: Progress


class _Logprobs(TypedDict):
    content: list[GeneratedToken]


class ChatLogprobs(_Logprobs):
    """Log probabilities of a choice's tokens."""


class TextLogprobs(_Logprobs, total=False):
    """Log probabilities of a choice's tokens, in two shapes; OpenAI's own is not given for those after sampling."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(TypedDict):
    """One answer, or new text of it."""

    text: str
    index: int
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"] | None


class _TextCompletion(_Verbose):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoice]


class TextCompletion(_TextCompletion):
    """Answers in the shape of OpenAI's text completions."""

    usage: Usage
    timings: Timings
    cache: CacheUse


class TextCompletionChunk(_TextCompletion, total=False):
    """The same, piece by piece; the last one of each answer has `usage`."""

    usage: Usage
    timings: Timings
    cache: CacheUse
    prompt_progress: Progress


class _AnswerMessage(TypedDict):
    role: Literal["assistant"]
    content: str | None


class AnswerMessage(_AnswerMessage, total=False):
    """What the model says, and what it thought before."""

    reasoning_content: str


class _ChatChoice(TypedDict):
    index: int
    message: AnswerMessage
    finish_reason: Literal["stop", "length"]


class ChatChoice(_ChatChoice, total=False):
    """One answer."""

    logprobs: ChatLogprobs


class _ChatEnvelope(_Verbose):
    id: str
    created: int
    model: str
    system_fingerprint: str


class ChatCompletion(_ChatEnvelope):
    """Answers in the shape of OpenAI's chats."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    usage: Usage
    timings: Timings
    cache: CacheUse


class ChatDelta(TypedDict, total=False):
    """What is new of a message."""

    role: Literal["assistant"]
    content: str | None
    reasoning_content: str


class _ChatChunkChoice(TypedDict):
    index: int
    delta: ChatDelta
    finish_reason: Literal["stop", "length"] | None


class ChatChunkChoice(_ChatChunkChoice, total=False):
    """New text of an answer, or its end."""

    logprobs: ChatLogprobs


class _ChatChunk(_ChatEnvelope):
    object: Literal["chat.completion.chunk"]
    choices: list[ChatChunkChoice]


class ChatCompletionChunk(_ChatChunk, total=False):
    """The same, piece by piece; with `stream_options.include_usage` one without choices ends the stream."""

    usage: Usage
    timings: Timings
    cache: CacheUse
    prompt_progress: Progress
