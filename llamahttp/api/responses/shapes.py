"""Response shapes: what `/v1/responses` answers, whole and in events, as types. Pure."""

from __future__ import annotations

from typing import Literal, TypedDict

from ..completion_shapes import Progress, Timings
from ..logprobs import GeneratedToken
from ..shapes import CacheUse, Open

Status = Literal["in_progress", "completed", "incomplete"]


class OpenAIFault(TypedDict):
    """What went wrong: `param` is the field, `code` a word that clients know, where there is one."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(TypedDict):
    """Every answer that is not what was asked for."""

    error: OpenAIFault


class _Part(TypedDict):
    type: Literal["output_text", "reasoning_text"]
    text: str


class OutputPart(_Part, total=False):
    """A part of a message, or of a thought, which has no more than its text."""

    annotations: list[Open]
    logprobs: list[GeneratedToken]


class _OutputItem(TypedDict):
    id: str
    type: Literal["reasoning", "message", "function_call", "custom_tool_call"]
    status: Status


class OutputItem(_OutputItem, total=False):
    """A thought, a message or a call: of a function with `arguments`, of a custom tool with `input`. A call that is
    `incomplete` must not be made."""

    role: Literal["assistant"]
    content: list[OutputPart]
    summary: list[Open]
    encrypted_content: str | None
    call_id: str
    namespace: str
    name: str
    arguments: str
    input: str


class InputDetails(TypedDict):
    """Tokens that were cached before, and those that have been since."""

    cached_tokens: int
    cache_write_tokens: int


class OutputDetails(TypedDict):
    """Tokens of thoughts."""

    reasoning_tokens: int


class ResponseUsage(TypedDict):
    """What a response cost, in tokens."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class IncompleteDetails(TypedDict):
    """Why it ended early."""

    reason: Literal["max_output_tokens"]


class ResponseFault(TypedDict):
    """Why it failed."""

    code: str
    message: str


class _Response(TypedDict):
    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    error: ResponseFault | None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    model: str
    output: list[OutputItem]
    background: Literal[False]
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: Open
    safety_identifier: str | None
    service_tier: Literal["default"]
    store: bool
    temperature: float
    text: Open
    tool_choice: str | Open
    tools: list[Open]
    top_logprobs: int
    top_p: float
    truncation: Literal["disabled"]
    usage: ResponseUsage | None
    user: str | None


class Response(_Response, total=False):
    """A response. Members that are not results show what was asked for, as it was understood."""

    timings: Timings
    cache: CacheUse


class DeletedResponse(TypedDict):
    """It is forgotten."""

    id: str
    object: Literal["response"]
    deleted: Literal[True]


class ItemList(TypedDict):
    """A page of the items that a response was made from."""

    object: Literal["list"]
    data: list[Open]
    first_id: str | None
    last_id: str | None
    has_more: bool


# --- events


class _Event(TypedDict):
    sequence_number: int


class _ResponseEvent(_Event):
    type: Literal[
        "response.created", "response.in_progress", "response.completed", "response.incomplete", "response.failed"
    ]
    response: Response


class ResponseEvent(_ResponseEvent, total=False):
    """The response begins, goes on or ends."""

    timings: Timings
    cache: CacheUse
    prompt_progress: Progress


class _AtItem(_Event):
    output_index: int


class ItemEvent(_AtItem):
    """An item begins or ends."""

    type: Literal["response.output_item.added", "response.output_item.done"]
    item: OutputItem


class _InItem(_AtItem):
    item_id: str


class PartEvent(_InItem):
    """A part of an item begins or ends."""

    type: Literal["response.content_part.added", "response.content_part.done"]
    content_index: int
    part: OutputPart


class _TextDelta(_InItem):
    type: Literal["response.output_text.delta"]
    content_index: int
    delta: str
    logprobs: list[GeneratedToken]


class TextDelta(_TextDelta, total=False):
    """More of a message."""

    timings: Timings
    cache: CacheUse


class TextDone(_InItem):
    """All of a message."""

    type: Literal["response.output_text.done"]
    content_index: int
    text: str
    logprobs: list[GeneratedToken]


class _ReasoningDelta(_InItem):
    type: Literal["response.reasoning_text.delta"]
    content_index: int
    delta: str


class ReasoningDelta(_ReasoningDelta, total=False):
    """More of a thought."""

    timings: Timings
    cache: CacheUse


class ReasoningDone(_InItem):
    """All of a thought."""

    type: Literal["response.reasoning_text.done"]
    content_index: int
    text: str


class _ArgumentsDelta(_InItem):
    type: Literal["response.function_call_arguments.delta"]
    delta: str


class ArgumentsDelta(_ArgumentsDelta, total=False):
    """More of a call's arguments, JSON."""

    timings: Timings
    cache: CacheUse


class ArgumentsDone(_InItem):
    """All of a call's arguments."""

    type: Literal["response.function_call_arguments.done"]
    name: str
    arguments: str


class _InputDelta(_InItem):
    type: Literal["response.custom_tool_call_input.delta"]
    delta: str


class InputDelta(_InputDelta, total=False):
    """More of a custom tool's input."""

    timings: Timings
    cache: CacheUse


class InputDone(_InItem):
    """All of a custom tool's input."""

    type: Literal["response.custom_tool_call_input.done"]
    input: str


class ErrorEvent(_Event):
    """The response cannot go on; it is the last event but one."""

    type: Literal["error"]
    message: str
    param: str | None
    code: str | None


EVENTS = (
    ResponseEvent,
    ItemEvent,
    PartEvent,
    TextDelta,
    TextDone,
    ReasoningDelta,
    ReasoningDone,
    ArgumentsDelta,
    ArgumentsDone,
    InputDelta,
    InputDone,
    ErrorEvent,
)
