"""Response parameters: the table of what a request of `/v1/responses` may say. Pure."""

from __future__ import annotations

from typing import Any, TypedDict

from ..field import INT32_MAX, Field, Kind, Table
from ..parameters import CHAT, COMPLETION

MAX_INCLUDE = 64
MAX_METADATA = 16
MAX_ID = 256
"""Characters of an id."""
ENCRYPTED_REASONING = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"


class _ItemType(TypedDict, total=False):
    type: str


class InputItem(_ItemType, total=False):
    """Something of the conversation: a message (`role`, `content`), or by its `type` a call (`call_id`, `name`,
    `arguments`), what a call gave (`call_id`, `output`), or a thought (`content`, `encrypted_content`)."""

    id: str | None
    role: str
    content: str | list[dict[str, Any]] | None
    call_id: str
    name: str
    arguments: str
    output: str | list[dict[str, Any]]
    encrypted_content: str | None


class ResponseTool(_ItemType, total=False):
    """A `function`, with a JSON Schema of its `parameters`; a `custom` tool, whose input is a text, which follows the
    regular expression of its `format` (a grammar in Lark is told to the model, but not enforced); or a `namespace` of
    such, its `tools`. Those of any other type are left out."""

    name: str
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool | None
    format: dict[str, Any] | None
    tools: list[dict[str, Any]]


class ReasoningOptions(TypedDict, total=False):
    """How much to think."""

    effort: str | None
    summary: str | None


class TextFormat(_ItemType, total=False):
    """What the text has to be: `text`, `json_object`, or `json_schema` with a `schema`."""

    name: str
    description: str | None
    schema: dict[str, Any]
    strict: bool | None


class TextOptions(TypedDict, total=False):
    """The form of the text."""

    format: TextFormat | None
    verbosity: str | None


def _is_true(value: Any) -> bool:
    return value is True


def _is_given(value: Any) -> bool:
    return value is not None


PREVIOUS = Field(
    "previous_response_id",
    Kind.STRING,
    None,
    "Go on from this response, which was stored: all it was made from and its output stand before the `input`.",
    high=MAX_ID,
)

RESPONSE: tuple[Field, ...] = (
    Field(
        "input",
        Kind.ANY,
        None,
        "A text of the user, or the items of a conversation. Those of tools that run on other servers are left out.",
        shape=str | list[InputItem],
    ),
    Field("instructions", Kind.STRING, None, "A system message before all else; the next response does not get it."),
    PREVIOUS,
    Field("store", Kind.BOOLEAN, True, "Keep the response in memory, to be gone on from and asked for."),
    Field(
        "max_output_tokens",
        Kind.INTEGER,
        -1,
        "Most tokens to generate, those of thoughts and calls too; -1 is no limit but the context.",
        aliases=("n_predict", "max_completion_tokens", "max_tokens"),
        low=-1,
        high=INT32_MAX,
    ),
    Field("n_cmpl", Kind.INTEGER, 1, "A response is one answer.", aliases=("n",), low=1, high=1),
    Field("tools", Kind.ARRAY, [], "Functions and custom tools that the model may call.", shape=list[ResponseTool]),
    Field(
        "tool_choice",
        Kind.ANY,
        "auto",
        "`auto`, `none`, `required`, a tool (`{type, name}`), or `allowed_tools` (`{type, mode, tools}`).",
    ),
    Field("text", Kind.SHAPE, {}, "What the text has to be.", shape=TextOptions),
    Field("reasoning", Kind.SHAPE, {}, "`effort`: how much to think; `none` switches it off.", shape=ReasoningOptions),
    Field(
        "include",
        Kind.STRINGS,
        (),
        f"Also give `{LOGPROBS}`, or `{ENCRYPTED_REASONING}`: thoughts in a form that comes back whole from clients "
        "which drop their text. Others have no effect.",
        high=MAX_INCLUDE,
    ),
    Field(
        "top_logprobs",
        Kind.INTEGER,
        None,
        f"With `{LOGPROBS}`: also those of this many of the most likely tokens.",
        low=0,
        high=INT32_MAX,
    ),
    Field("metadata", Kind.SHAPE, {}, "Shown in the response.", high=MAX_METADATA, shape=dict[str, str]),
    Field("background", Kind.BOOLEAN, False, "Responses are made while the client waits.", later=_is_true),
    Field("conversation", Kind.ANY, None, "Conversations are gone on with by `previous_response_id`.", later=_is_given),
    Field("prompt", Kind.ANY, None, "There are no stored prompts.", later=_is_given),
    Field(
        "truncation",
        Kind.STRING,
        "disabled",
        "Accepted; a conversation that does not fit into the context is refused.",
        one_of=("auto", "disabled"),
        inert=True,
    ),
    Field("max_tool_calls", Kind.INTEGER, None, "Accepted; it is about tools that run on the server.", inert=True),
    Field("prompt_cache_key", Kind.STRING, None, "Accepted; what is cached is found by itself.", inert=True),
    Field(
        "prompt_cache_retention", Kind.STRING, None, "Accepted; what is cached stays while there is room.", inert=True
    ),
    Field("safety_identifier", Kind.STRING, None, "Accepted, and shown in the response.", inert=True),
    Field("user", Kind.STRING, None, "Accepted, and shown in the response.", inert=True),
    Field("service_tier", Kind.STRING, None, "Accepted; there is one.", inert=True),
)
"""Parameters of `/v1/responses` that are its own, or mean something else than in a chat."""

INSTEAD = {"messages", "response_format", "logprobs", "n_predict", *(field.name for field in RESPONSE)}
"""Parameters of a chat that a response has others for."""
SHARED = tuple(field for field in (*COMPLETION, *CHAT) if field.name not in INSTEAD)

RESPONSE_TABLE = Table((*SHARED, *RESPONSE))

SEGMENTS = (Field("response_id", Kind.STRING, None, "The response's id.", required=True, high=MAX_ID),)
"""Parameters in the paths of a response."""
RETRIEVE_QUERY = (
    Field("include", Kind.STRING, None, "Accepted; the response is as it was given.", inert=True),
    Field("stream", Kind.STRING, None, "Responses are not given as events a second time.", one_of=("false",)),
)
ITEMS_QUERY = (
    Field("after", Kind.STRING, None, "The id of an item: those that follow it in the order."),
    Field("include", Kind.STRING, None, "Accepted; the items are as they were given.", inert=True),
    Field("limit", Kind.INTEGER, 20, "Most items to give.", low=1, high=100),
    Field("order", Kind.STRING, "desc", "Oldest first, or newest.", one_of=("asc", "desc")),
)
"""Parameters after the paths of a response, and of its items."""
