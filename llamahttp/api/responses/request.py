"""Response requests: a body of `/v1/responses`, to the chat that gives the answer, and to what is shown of it. Pure."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ...errors import InvalidRequest
from ..body import encode, json_type
from ..parameters import CHAT_TABLE
from ..schema import CompletionRequest
from ..tool_use import CHOICES
from .items import Conversation, Item, full_name, kind_of, read_input, with_id, wrong
from .parameters import ENCRYPTED_REASONING, LOGPROBS, RESPONSE_TABLE
from .shapes import Response
from .store import ResponseStore, StoredResponse

log = logging.getLogger(__name__)

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
                for namespace, tool in functions_of(self.tools)
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

    def namespaces(self) -> dict[str, tuple[str, str]]:
        """Of each tool that stands in one, by the name that a chat has for it: the namespace, and its name there."""
        return {
            full_name(namespace, tool["name"]): (namespace, tool["name"])
            for namespace, tool in functions_of(self.tools)
            if namespace
        }

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


# --- tools


def read_tools(tools: Sequence[Any], where: str = "tools") -> list[dict[str, Any]]:
    """The functions among the tools, and namespaces of such, as they are shown. Raises InvalidRequest for what is no
    tool."""
    shown = []
    for i, tool in enumerate(tools):
        at = f"{where}[{i}]"
        match tool:
            case {"type": "function", "name": str(name)} if name:
                function = {name: tool.get(name) for name in ("description", "parameters")}
                strict = tool.get("strict")
                if not isinstance(strict, bool | None):
                    raise wrong(f"{at}.strict", f"type must be boolean, but is {json_type(strict)}")
                shown.append({"type": "function", "name": name, "strict": bool(strict), **function})
            case {"type": "function"}:
                raise wrong(f"{at}.name", "a function has a name")
            case {"type": "namespace", "name": str(name), "tools": list(inner)} if name and where == "tools":
                description = tool.get("description") or ""
                within = [each for each in read_tools(inner, f"{at}.tools") if each["type"] == "function"]
                shown.append({"type": "namespace", "name": name, "description": description, "tools": within})
            case {"type": str(kind)}:
                log.debug("%s, of the type %s, is left out", at, kind)
            case _:
                raise wrong(at, "a tool is an object with a 'type'")
    return shown


def functions_of(tools: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each function, with its namespace if it has one."""
    for tool in tools:
        if tool["type"] == "namespace":
            yield from ((tool["name"], each) for each in tool["tools"])
        else:
            yield "", tool


def function_of(tool: Mapping[str, Any], namespace: str = "") -> dict[str, Any]:
    """A tool as a chat has it; templates show all of it."""
    shown = {name: tool[name] for name in ("description", "parameters") if tool[name] is not None}
    shown = {"name": full_name(namespace, tool["name"])} | shown
    return shown | {"strict": True} if tool["strict"] else shown


def read_choice(choice: object) -> object:
    """`tool_choice` as a chat has it. Raises InvalidRequest."""
    match choice:
        case str() if choice in CHOICES:
            return choice
        case {"type": "function", "name": str(name), **rest}:
            return {"type": "function", "function": {"name": full_name(rest.get("namespace"), name)}}
        case {"type": "allowed_tools", "mode": "auto" | "required" as mode, "tools": list(tools)}:
            return read_allowed(mode, tools)
        case {"type": str(kind)} if kind not in ("function", "allowed_tools"):
            raise wrong("tool_choice", f"there is no tool of the type {kind!r} here")
    raise wrong("tool_choice", f"Value must be one of {', '.join(CHOICES)}, or name a function or allowed tools")


def read_allowed(mode: str, tools: Sequence[object]) -> object:
    """Those of the allowed tools that are functions; tools of other types have been left out before."""
    names = [name for tool in tools for name in allowed_name(tool)]
    if not names:
        if mode == "required":
            raise wrong("tool_choice", "a call is required, but none of the allowed tools is a function")
        return "none"
    functions = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": functions}}


def allowed_name(tool: object) -> list[str]:
    match tool:
        case {"type": "function", "name": str(name), **rest}:
            return [full_name(rest.get("namespace"), name)]
        case {"type": str(kind)} if kind != "function":
            return []
    raise wrong("tool_choice.tools", "a tool is {type, name}")


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
