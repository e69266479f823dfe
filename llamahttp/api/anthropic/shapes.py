"""Shapes of the Messages API's answers, as types; `/openapi.json` is made from them. Pure."""

from __future__ import annotations

from typing import Any, Literal, TypedDict


class FaultDetails(TypedDict):
    """What clients know it by, and which fields are not supported."""

    error_code: Literal["thread_unsupported_request"]
    unsupported: list[str]


class _MessagesFault(TypedDict):
    type: str
    message: str


class MessagesFault(_MessagesFault, total=False):
    """What went wrong."""

    details: FaultDetails


class MessagesError(TypedDict):
    """Every answer that is not what was asked for, and the last event of a stream that cannot go on."""

    type: Literal["error"]
    error: MessagesFault
    request_id: str


class MessagesUsage(TypedDict):
    """Tokens: the prompt's are the sum of the first three. Those of it that are new in the cache count as `creation`
    where the request has a `cache_control`."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int


class _Block(TypedDict):
    type: Literal["text", "thinking", "tool_use"]


class AnswerBlock(_Block, total=False):
    """A part of an answer: `text`, `thinking` with a `signature`, or a `tool_use` with `id`, `name` and `input`."""

    text: str
    thinking: str
    signature: str
    id: str
    name: str
    input: dict[str, Any]


StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"]


class AnthropicMessage(TypedDict):
    """An answer."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    content: list[AnswerBlock]
    model: str
    stop_reason: StopReason | None
    stop_sequence: str | None
    usage: MessagesUsage


class MessageStart(TypedDict):
    """The answer begins: all of it but what is still to come."""

    type: Literal["message_start"]
    message: AnthropicMessage


class Ping(TypedDict):
    """Nothing new."""

    type: Literal["ping"]


class BlockStart(TypedDict):
    """A block begins."""

    type: Literal["content_block_start"]
    index: int
    content_block: AnswerBlock


class _Delta(TypedDict):
    type: Literal["text_delta", "thinking_delta", "signature_delta", "input_json_delta"]


class BlockDelta(_Delta, total=False):
    """More of a block."""

    text: str
    thinking: str
    signature: str
    partial_json: str


class BlockDeltaEvent(TypedDict):
    """More of a block."""

    type: Literal["content_block_delta"]
    index: int
    delta: BlockDelta


class BlockStop(TypedDict):
    """A block ends."""

    type: Literal["content_block_stop"]
    index: int


class MessageEnd(TypedDict):
    """Why the answer has ended."""

    stop_reason: StopReason
    stop_sequence: str | None


class MessageDelta(TypedDict):
    """The answer ends, with the whole usage."""

    type: Literal["message_delta"]
    delta: MessageEnd
    usage: MessagesUsage


class MessageStop(TypedDict):
    """The stream ends."""

    type: Literal["message_stop"]


class MessageTokens(TypedDict):
    """Tokens of a prompt."""

    input_tokens: int


MESSAGE_EVENTS = (MessageStart, Ping, BlockStart, BlockDeltaEvent, BlockStop, MessageDelta, MessageStop)
