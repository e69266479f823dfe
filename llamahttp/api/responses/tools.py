"""Response tools: functions, custom tools and namespaces of these, to the functions of a chat. Pure.

A custom tool takes a text of no form, or one that obeys a grammar. To a chat it is a function of one string, `input`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..body import json_type
from ..tool_use import CHOICES
from .custom_input import MEMBER
from .items import N_SHOWN, full_name, wrong

log = logging.getLogger(__name__)

KINDS = ("function", "custom")
"""Types of tools that can be called."""
INPUT_FORMATS = ("text", "grammar")
SYNTAXES = ("lark", "regex")


@dataclass(frozen=True, slots=True)
class Origin:
    """What a client knows a tool by."""

    name: str
    namespace: str = ""
    is_custom: bool = False


def read_tools(tools: Sequence[Any], where: str = "tools") -> list[dict[str, Any]]:
    """The functions and custom tools, and namespaces of such, as they are shown. Raises InvalidRequest for what is no
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
            case {"type": "custom", "name": str(name)} if name:
                shown.append(read_custom(tool, at))
            case {"type": "function" | "custom" as kind}:
                raise wrong(f"{at}.name", f"a {kind} tool has a name")
            case {"type": "namespace", "name": str(name), "tools": list(inner)} if name and where == "tools":
                description = tool.get("description") or ""
                within = [each for each in read_tools(inner, f"{at}.tools") if each["type"] in KINDS]
                shown.append({"type": "namespace", "name": name, "description": description, "tools": within})
            case {"type": str(kind)}:
                log.info("%s, a tool of the type %.*r, is left out: this server does not know such", at, N_SHOWN, kind)
            case _:
                raise wrong(at, "a tool is an object with a 'type'")
    return shown


def read_custom(tool: Mapping[str, Any], at: str) -> dict[str, Any]:
    """A custom tool, as it is shown. Raises InvalidRequest."""
    description = tool.get("description")
    if not isinstance(description, str | None):
        raise wrong(f"{at}.description", f"type must be string, but is {json_type(description)}")
    format = tool.get("format")
    format = {"type": "text"} if format is None else format
    kind = format.get("type") if isinstance(format, dict) else format
    if kind not in INPUT_FORMATS:
        raise wrong(f"{at}.format.type", f"Value must be one of {', '.join(INPUT_FORMATS)}, but got {kind!r}")
    if kind == "grammar":
        if format.get("syntax") not in SYNTAXES:
            got = format.get("syntax")
            raise wrong(f"{at}.format.syntax", f"Value must be one of {', '.join(SYNTAXES)}, but got {got!r}")
        if not isinstance(format.get("definition"), str):
            got = json_type(format.get("definition"))
            raise wrong(f"{at}.format.definition", f"type must be string, but is {got}")
    return {"type": "custom", "name": tool["name"], "description": description, "format": format}


def tools_of(tools: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each tool that can be called, with its namespace if it has one."""
    for tool in tools:
        if tool["type"] == "namespace":
            yield from ((tool["name"], each) for each in tool["tools"])
        else:
            yield "", tool


def function_of(tool: Mapping[str, Any], namespace: str = "") -> dict[str, Any]:
    """A tool as a chat has it; templates show all of it."""
    if tool["type"] == "custom":
        return custom_function(tool, namespace)
    shown = {name: tool[name] for name in ("description", "parameters") if tool[name] is not None}
    shown = {"name": full_name(namespace, tool["name"])} | shown
    return shown | {"strict": True} if tool["strict"] else shown


def custom_function(tool: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """A custom tool as a chat has it. A pattern is enforced, come what may; a Lark grammar cannot be, within
    a string of JSON."""
    format, description = tool["format"], tool["description"] or ""
    text = {"type": "string", "description": "All of the tool's input, as it is."}
    if format["type"] == "grammar" and format["definition"]:
        kind = "grammar (Lark)" if format["syntax"] == "lark" else "regular expression"
        told = f"The input has to match this {kind}:\n{format['definition']}"
        description = f"{description}\n\n{told}" if description else told
        if format["syntax"] == "regex":
            text["pattern"] = f"^(?:{format['definition']})$"
    parameters = {"type": "object", "properties": {MEMBER: text}, "required": [MEMBER], "additionalProperties": False}
    function = {"name": full_name(namespace, tool["name"]), "description": description, "parameters": parameters}
    return function | {"strict": True} if "pattern" in text else function


def origins(tools: Sequence[Mapping[str, Any]]) -> dict[str, Origin]:
    """What a client knows each tool by, by the name that a chat has for it."""
    return {
        full_name(namespace, tool["name"]): Origin(tool["name"], namespace, tool["type"] == "custom")
        for namespace, tool in tools_of(tools)
    }


def read_choice(choice: object) -> object:
    """`tool_choice` as a chat has it. Raises InvalidRequest."""
    match choice:
        case str() if choice in CHOICES:
            return choice
        case {"type": "function" | "custom", "name": str(name), **rest}:
            return {"type": "function", "function": {"name": full_name(rest.get("namespace"), name)}}
        case {"type": "allowed_tools", "mode": "auto" | "required" as mode, "tools": list(tools)}:
            return read_allowed(mode, tools)
        case {"type": str(kind)} if kind not in (*KINDS, "allowed_tools"):
            raise wrong("tool_choice", f"there is no tool of the type {kind!r} here")
    raise wrong("tool_choice", f"Value must be one of {', '.join(CHOICES)}, or name a tool or allowed tools")


def read_allowed(mode: str, tools: Sequence[object]) -> object:
    """Those of the allowed tools that can be called; tools of other types have been left out before."""
    names = [name for tool in tools for name in allowed_name(tool)]
    if not names:
        if mode == "required":
            raise wrong("tool_choice", "a call is required, but none of the allowed tools can be called")
        return "none"
    functions = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": functions}}


def allowed_name(tool: object) -> list[str]:
    match tool:
        case {"type": "function" | "custom", "name": str(name), **rest}:
            return [full_name(rest.get("namespace"), name)]
        case {"type": str(kind)} if kind not in KINDS:
            return []
    raise wrong("tool_choice.tools", "a tool is {type, name}")
