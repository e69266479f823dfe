"""Tool use: `tools`, `tool_choice` and `parallel_tool_calls` of a chat, checked. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InvalidRequest
from ..structured.schema import is_deeper
from ..tools.schema import Schema
from .body import json_type

MAX_TOOLS = 1024
MAX_SCHEMA_DEPTH = 64
"""Objects and arrays in each other in the parameters of a tool: grammars follow them by recursion."""
CHOICES = ("auto", "none", "required")
ANY_ARGUMENTS: Schema = {"type": "object"}


@dataclass(frozen=True, slots=True)
class ToolUse:
    """What answers may call."""

    tools: Mapping[str, Schema] = field(default_factory=dict)
    """The parameters of each tool that may be called, by name."""
    strict: frozenset[str] = frozenset()
    """Those whose arguments have to be as their parameters say, come what may."""
    is_required: bool = False
    """At least one call is wanted, and nothing else."""
    parallel: bool = True


NO_TOOLS = ToolUse()


def read_tool_use(values: Mapping[str, Any]) -> ToolUse:
    """`tools`, `tool_choice` and `parallel_tool_calls` of a chat. Raises InvalidRequest."""
    tools = read_tools(values["tools"])
    mode, names = read_choice(values["tool_choice"], list(tools))
    if not tools or mode == "none":
        return NO_TOOLS
    if values["grammar"] or values["regex"]:
        raise InvalidRequest("Cannot use custom grammar constraints with tools.")
    return ToolUse(
        {name: tools[name].get("parameters") or ANY_ARGUMENTS for name in names},
        frozenset(name for name in names if tools[name].get("strict")),
        mode == "required",
        values["parallel_tool_calls"],
    )


def read_tools(tools: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """The functions by name. Raises InvalidRequest for two of one name, and for what is no function."""
    if len(tools) > MAX_TOOLS:
        raise InvalidRequest(f"Field 'tools': at most {MAX_TOOLS} are allowed, but got {len(tools)}")
    functions: dict[str, dict[str, Any]] = {}
    for i, tool in enumerate(tools):
        match tool:
            case {"type": "function", "function": {"name": str(name), **rest} as function} if name:
                check_parameters(rest.get("parameters"), f"tools[{i}].function.parameters")
            case {"type": str(kind)} if kind != "function":
                raise InvalidRequest(
                    f"Field 'tools[{i}].type': tools of a chat are of the type 'function', but got {kind!r};"
                    " '/v1/responses' also takes those of the type 'custom'",
                    param="tools",
                )
            case _:
                raise InvalidRequest("Expected 'tools' to be an array of {type: function, function: {name, ...}}")
        if name in functions:
            raise InvalidRequest(f"Field 'tools': there are two tools of the name {name!r}")
        functions[name] = function
    return functions


def check_parameters(schema: object, where: str) -> None:
    if schema is not None and not isinstance(schema, dict):
        raise InvalidRequest(f"Expected '{where}' to be a JSON Schema object, but it is {json_type(schema)}")
    if is_deeper(schema, MAX_SCHEMA_DEPTH):
        raise InvalidRequest(f"'{where}' is nested more than {MAX_SCHEMA_DEPTH} levels deep, which is the limit")


def read_choice(choice: object, known: list[str]) -> tuple[str, list[str]]:
    """One of `CHOICES`, and the names of the tools that it is about. Raises InvalidRequest."""
    match choice:
        case None:
            return "auto", known
        case str() if choice in CHOICES:
            if choice == "required" and not known:
                raise InvalidRequest("Field 'tool_choice': a call is required, but there are no 'tools'")
            return choice, known
        case {"type": "function", "function": {"name": str(name)}}:
            return "required", [known_name(name, known)]
        case {"type": "allowed_tools", "allowed_tools": {"mode": "auto" | "required" as mode, "tools": list(allowed)}}:
            if mode == "required" and not allowed:
                raise InvalidRequest("Field 'tool_choice': a call is required, but no tools are allowed")
            return mode, [known_name(allowed_name(tool), known) for tool in allowed]
    shown = choice if isinstance(choice, str) else "an object of the wrong form"
    raise InvalidRequest(f"Invalid tool_choice: {shown}; it is one of {', '.join(CHOICES)}, or names a function")


def allowed_name(tool: object) -> str:
    match tool:
        case {"type": "function", "function": {"name": str(name)}}:
            return name
    raise InvalidRequest("Invalid tool_choice: allowed_tools.tools is an array of {type: function, function: {name}}")


def known_name(name: str, known: Sequence[str]) -> str:
    if name not in known:
        there = f"there are {', '.join(known)}" if known else "there are none"
        raise InvalidRequest(f"Field 'tool_choice': there is no tool {name!r}; {there}", param="tool_choice")
    return name
