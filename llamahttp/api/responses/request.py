"""Response requests: a body of `/v1/responses`, to the chat that gives the answer, and to what is shown of it. Pure."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ...errors import InvalidRequest
from ..body import encode
from ..parameters import CHAT_TABLE
from ..schema import CompletionRequest
from .items import Conversation, Item, kind_of, read_input, with_id, wrong
from .parameters import ENCRYPTED_REASONING, LOGPROBS, RESPONSE_TABLE
from .shapes import Response
from .store import ResponseStore, StoredResponse
from .tools import Origin, function_of, origins, read_choice, read_tools, tools_of

FORMATS = ("text", "json_object", "json_schema")


decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class ResponseRequest:
    """A decoded request, with what it goes on from."""

    body: Mapping[str, object]
    values: Mapping[str, Any]
    """Of `RESPONSE_TABLE`."""
    items: Sequence[Item]
    """Of its input."""
    tools: Sequence[dict[str, Any]]
    owner: str
    previous: StoredResponse | None = None

    @property
    def shows_logprobs(self) -> bool:
        return LOGPROBS in self.values["include"]

    @property
    def seals_thoughts(self) -> bool:
        return ENCRYPTED_REASONING in self.values["include"]

    def chat_body(self) -> dict[str, Any]:
        """The body of a chat with the same answer. Raises InvalidRequest."""
        values = self.values
        conversation = Conversation(values["instructions"])
        if self.previous is not None:
            conversation.add_all(history(self.previous), "previous_response_id")
        conversation.add_all(self.items, "input")
        if not conversation.messages:
            raise wrong("input", "there is nothing to answer")
        return {
            **shared(self.body),
            "messages": conversation.messages,
            "tools": [
                {"type": "function", "function": function_of(tool, namespace)}
                for namespace, tool in tools_of(self.tools)
            ],
            "tool_choice": read_choice(values["tool_choice"]),
            "max_tokens": values["max_output_tokens"] if values["max_output_tokens"] >= 0 else None,
            "response_format": read_format(values["text"].get("format")),
            "reasoning_effort": values["reasoning"].get("effort") or values["reasoning_effort"],
            "logprobs": self.shows_logprobs,
            "top_logprobs": values["top_logprobs"] if self.shows_logprobs else None,
            # a part of the answer is either a thought or not
            "reasoning_format": "none" if values["reasoning_format"] == "none" else "deepseek",
        }

    def response(self, id_response: str, model: str, chat: CompletionRequest) -> Response:
        """What is shown of it before there is an answer; `chat` is what its chat was decoded to."""
        values, text, reasoning = self.values, self.values["text"], self.values["reasoning"]
        return {
            "id": id_response,
            "object": "response",
            "created_at": int(time.time()),
            "completed_at": None,
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "instructions": values["instructions"],
            "max_output_tokens": chat.n_predict if chat.n_predict >= 0 else None,
            "max_tool_calls": values["max_tool_calls"],
            "metadata": values["metadata"],
            "model": model,
            "output": [],
            "background": False,
            "parallel_tool_calls": values["parallel_tool_calls"],
            "previous_response_id": values["previous_response_id"],
            "prompt_cache_key": values["prompt_cache_key"],
            "reasoning": {"effort": chat.values["reasoning_effort"], "summary": reasoning.get("summary")},
            "safety_identifier": values["safety_identifier"],
            "service_tier": "default",
            "store": values["store"],
            "temperature": chat.values["temperature"],
            "text": {"format": text.get("format") or {"type": "text"}, "verbosity": text.get("verbosity") or "medium"},
            "tool_choice": values["tool_choice"],
            "tools": [*self.tools],
            "top_logprobs": values["top_logprobs"] or 0,
            "top_p": chat.values["top_p"],
            "truncation": "disabled",
            "usage": None,
            "user": values["user"],
        }

    def origins(self) -> dict[str, Origin]:
        """What the client knows its tools by, by the names that a chat has for them."""
        return origins(self.tools)

    def stored(self, response: Response) -> StoredResponse:
        """What is kept of it and of its response."""
        return StoredResponse(
            response["id"],
            self.owner,
            encode(response),
            encode([with_id(item) for item in self.items]),
            tuple(item["id"] for item in response["output"]),
            self.previous,
        )


def read_request(
    body: Mapping[str, object], owner: str, store: ResponseStore, defaults: Mapping[str, Any]
) -> ResponseRequest:
    """Decode a body, with what its owner has stored. Raises InvalidRequest."""
    values = RESPONSE_TABLE.decode(body, defaults)
    id_previous = values["previous_response_id"]
    if values["input"] is None and not id_previous:
        raise InvalidRequest("'input' is required", param="input")
    previous = None
    if id_previous:
        previous = store.find(owner, id_previous)
        if previous is None:
            raise InvalidRequest(
                f"Previous response with id {id_previous!r} not found.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
    items = [find_item(item, i, owner, store) for i, item in enumerate(read_input(values["input"]))]
    return ResponseRequest(body, values, items, read_tools(values["tools"]), owner, previous)


def find_item(item: Item, i: int, owner: str, store: ResponseStore) -> Item:
    """The item itself, or the one that it refers to. Raises InvalidRequest where there is none."""
    if kind_of(item, f"input[{i}]") != "item_reference":
        return item
    id_item = item.get("id")
    stored = store.find_item(owner, id_item) if isinstance(id_item, str) else None
    if stored is None:
        raise InvalidRequest(f"Item with id {id_item!r} not found.", param=f"input[{i}].id")
    return next(item for item in output_of(stored) if item["id"] == id_item)


def history(stored: StoredResponse) -> list[Item]:
    """All items that a stored response was made from, and its own."""
    items: list[Item] = []
    for each in stored.chain():
        items += input_of(each) + output_of(each)
    return items


def inputs(stored: StoredResponse) -> list[Item]:
    """All items that it was made from."""
    before = history(stored.previous) if stored.previous else []
    return before + input_of(stored)


def input_of(stored: StoredResponse) -> list[Item]:
    items: list[Item] = decode(stored.input)
    return items


def output_of(stored: StoredResponse) -> list[Item]:
    items: list[Item] = decode(stored.response)["output"]
    return items


def shared(body: Mapping[str, object]) -> dict[str, object]:
    """The members that a chat takes just so."""
    return {
        name: value
        for name, value in body.items()
        if (field := RESPONSE_TABLE.field_of(name)) is not None and CHAT_TABLE.field_of(name) is field
    }


# --- the form of the text


def read_format(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """`text.format` as a chat has it. Raises InvalidRequest."""
    if not given:
        return {}
    kind = given.get("type")
    if kind not in FORMATS:
        raise wrong("text.format.type", f"Value must be one of {', '.join(FORMATS)}, but got {kind!r}")
    if kind != "json_schema":
        return {"type": kind}
    if "schema" not in given:
        raise InvalidRequest("'text.format.schema' is required", param="text.format.schema")
    return {"type": kind, "json_schema": {name: value for name, value in given.items() if name != "type"}}
