"""Parameters of the Messages API, and the shapes of what is in them. Pure."""

from __future__ import annotations

import math
from typing import Any, Literal, TypedDict

from ..field import INT32_MAX, Field, Kind, Table
from ..parameters import MAX_STOPS

DEFAULT_MAX_TOKENS = 4096
DEFAULT_BUDGET = 10_000
"""Tokens of thought where `thinking` is enabled without a budget; llama-server's."""
MAX_MESSAGES = 100_000
"""Anthropic's own limit."""

CacheControl = dict[str, Any]
"""Accepted: what is computed is always cached. With one, usage says how much of the prompt is new in the cache."""


class _BlockType(TypedDict):
    type: str


class Block(_BlockType, total=False):
    """A part of a message: `text`, `thinking`, `tool_use` of the assistant, `tool_result`, or a `document` of text.
    Blocks of Anthropic's own tools are left out."""

    text: str
    thinking: str
    signature: str
    id: str
    name: str
    input: dict[str, Any]
    tool_use_id: str
    content: Any
    is_error: bool | None
    source: Any
    title: str | None
    context: str | None
    cache_control: CacheControl | None


class TextBlock(_BlockType, total=False):
    """A part of the system prompt: `{type: text, text}`."""

    text: str
    cache_control: CacheControl | None


class MessageParam(TypedDict):
    """A message: a text, or blocks."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class ToolParam(TypedDict, total=False):
    """A tool that the client runs; `input_schema` is a JSON Schema. Those of another `type` than `custom`, which
    Anthropic would run or knows the input of, are left out."""

    type: str | None
    name: str
    description: str | None
    input_schema: dict[str, Any]
    strict: bool | None
    cache_control: CacheControl | None


class _Choice(TypedDict):
    type: Literal["auto", "any", "tool", "none"]


class ToolChoice(_Choice, total=False):
    """`tool` is about the one of that name."""

    name: str
    disable_parallel_tool_use: bool | None


class _Thinking(TypedDict):
    type: Literal["enabled", "disabled", "adaptive", "between_tools"]


class Thinking(_Thinking, total=False):
    """Whether to think. Without `budget_tokens`, `enabled` thinks up to 10000 tokens. `display: omitted` leaves the
    text of thoughts out of the answer. A model that cannot but think does so unseen where it is `disabled`."""

    budget_tokens: int
    display: Literal["summarized", "omitted"] | None


class OutputFormat(TypedDict):
    """A JSON Schema that the answer follows."""

    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(TypedDict, total=False):
    """How much to think, for chat templates that ask for it, and the form of the answer."""

    effort: str | None
    format: OutputFormat | None


class Metadata(TypedDict, total=False):
    """Who asks; without effect."""

    user_id: str | None


PROMPT: tuple[Field, ...] = (
    Field("model", Kind.STRING, None, "Any name is fine: there is one model. The answer repeats it."),
    Field(
        "messages",
        Kind.SHAPE,
        None,
        "The conversation; the answer continues a last message of the assistant's.",
        required=True,
        high=MAX_MESSAGES,
        shape=list[MessageParam],
    ),
    Field("system", Kind.SHAPE, None, "The system prompt: a text, or blocks of text.", shape=str | list[TextBlock]),
    Field("tools", Kind.SHAPE, [], "Tools that the model may use.", shape=list[ToolParam]),
    Field("tool_choice", Kind.SHAPE, None, "Whether it has to use any, or a certain one.", shape=ToolChoice),
    Field(
        "thinking",
        Kind.SHAPE,
        None,
        "Whether to think, and show it; not if not given, unless `chat_template_kwargs` say so. A server may be set to "
        "let the model think anyway: that is not shown.",
        shape=Thinking,
    ),
    Field("output_config", Kind.SHAPE, {}, "Effort, and the form of the answer.", shape=OutputConfig),
    Field("chat_template_kwargs", Kind.OBJECT, {}, "Further variables for the chat template."),
    Field("cache_control", Kind.OBJECT, None, "As in a block.", shape=CacheControl),
)
"""What the prompt is made of."""

ANSWER: tuple[Field, ...] = (
    Field(
        "max_tokens",
        Kind.INTEGER,
        DEFAULT_MAX_TOKENS,
        "Most tokens to generate; 0 only caches the prompt, -1 is no limit but the context.",
        low=-1,
        high=INT32_MAX,
    ),
    Field("stream", Kind.BOOLEAN, False, "Send the answer as server-sent events, as it is generated."),
    Field("stop_sequences", Kind.STRINGS, (), "Texts that end the answer; they are not part of it.", high=MAX_STOPS),
    Field(
        "temperature",
        Kind.NUMBER,
        None,
        "Spread of the choice; 0 takes the most likely token.",
        low=0.0,
        high=math.inf,
        soft=True,
    ),
    Field("top_k", Kind.INTEGER, None, "Choose among this many tokens; 0 is all.", low=0, high=INT32_MAX, soft=True),
    Field(
        "top_p",
        Kind.NUMBER,
        None,
        "Choose among the tokens that have this much probability together.",
        low=0.0,
        high=1.0,
        soft=True,
    ),
    Field("thread", Kind.OBJECT, None, "Not supported: an error tells clients to send whole conversations."),
    Field("mcp_servers", Kind.ANY, None, "Not supported: this server calls no tools itself."),
    Field("container", Kind.ANY, None, "Accepted, and ignored: nothing is run here.", inert=True),
    Field("metadata", Kind.SHAPE, {}, "Who asks; without effect.", shape=Metadata, inert=True),
)
"""How it is answered."""

COUNT_TABLE = Table(PROMPT)
MESSAGES_TABLE = Table((*PROMPT, *ANSWER))
