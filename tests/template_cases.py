"""Conversations that all chat templates of llama.cpp's source are rendered with, and where those templates lie.

`scripts/write_template_hashes.py` renders them with transformers and keeps hashes of what that gives. The messages are
those of the API: the arguments of tool calls are text. What a template wants to see instead is `adapted` for it, as
its row in `template_hashes.json` says, without any code of llamahttp's.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

Message = dict[str, Any]

BOS, EOS = "<s>", "</s>"
NOW = datetime(2026, 3, 4, 5, 6, 7)
HASHES = Path(__file__).parent / "template_hashes.json"


@dataclass(frozen=True)
class Case:
    """One conversation and what it is rendered with."""

    messages: list[Message]
    tools: list[dict[str, Any]] = field(default_factory=list)
    add_generation_prompt: bool = True
    kwargs: dict[str, Any] = field(default_factory=dict)
    continued: str = ""
    """The field of the last message that the answer continues."""


def system(content: Any) -> Message:
    return {"role": "system", "content": content}


def user(content: Any) -> Message:
    return {"role": "user", "content": content}


def assistant(content: Any = None, *calls: Message, **more: Any) -> Message:
    return {"role": "assistant", "content": content, **({"tool_calls": list(calls)} if calls else {}), **more}


def call(name: str, arguments: dict[str, Any], number: int = 1) -> Message:
    text = json.dumps(arguments, ensure_ascii=False)
    return {"id": f"call0000{number}", "type": "function", "function": {"name": name, "arguments": text}}


def result(content: Any, name: str = "get_weather", number: int = 1) -> Message:
    return {"role": "tool", "tool_call_id": f"call0000{number}", "name": name, "content": content}


def tool(name: str, description: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


WEATHER = tool(
    "get_weather",
    'The weather at a place <now> & "there"',
    {
        "place": {"type": "string", "description": "Name of the place, such as Zürich"},
        "unit": {"type": "string", "enum": ["°C", "°F"], "description": "Unit of the temperature"},
    },
    ["place"],
)
SEARCH = tool(
    "search",
    "Finds documents",
    {
        "query": {"type": "string", "description": "What to look for"},
        "filters": {
            "type": "object",
            "description": "What must hold",
            "properties": {"since": {"type": "integer", "description": "Year"}},
        },
        "tags": {"type": "array", "items": {"type": "string"}, "description": "Tags"},
    },
    ["query", "tags"],
)
TOOLS = [WEATHER, SEARCH]
AWKWARD = {
    "query": 'say "hi"\n\tto <b>Zoë</b> & co. \\ 東京 🎉',
    "filters": {"since": 1999, "deep": {"empty": {}, "none": None, "list": []}},
    "tags": ["a'b", "", "</tool_call>"],
    "exact": True,
    "limit": 1.5,
}
PARTS = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]

CHAT = [user("Hi <é>"), assistant("Hello!"), user("  Bye 👋\n")]
CALLED = [user("Is it warm?"), assistant("", call("get_weather", {"place": "Zürich"})), result('{"temp": 21}')]
PARALLEL = [
    user("Compare."),
    assistant("", call("get_weather", {"place": "Oslo"}), call("search", {"query": "x", "tags": []}, 2)),
    result("cold"),
    result("nothing", "search", 2),
]
THOUGHT = [user("2+2?"), assistant("4", reasoning_content="Two and two\nare four."), user("Sure?")]
THOUGHT_CALL = [
    user("Is it warm?"),
    assistant("", call("get_weather", {"place": "Rome"}), reasoning_content="I must look."),
    result("warm"),
]

CASES: dict[str, Case] = {
    "plain": Case([user("Hi")]),
    "system": Case([system("Be brief."), user("Hi")]),
    "turns": Case(CHAT),
    "system-turns": Case([system("Be brief."), *CHAT]),
    "no-prompt": Case([user("Hi")], add_generation_prompt=False),
    "turns-no-prompt": Case(CHAT[:2], add_generation_prompt=False),
    "system-no-prompt": Case([system("Be brief."), *CHAT], add_generation_prompt=False),
    "tools": Case([user("Hi")], TOOLS),
    "tools-system": Case([system("Be brief."), user("Hi")], TOOLS),
    "tools-no-thinking": Case([user("Hi")], TOOLS, kwargs={"enable_thinking": False}),
    "called": Case(CALLED, TOOLS),
    "called-system": Case([system("Be brief."), *CALLED], TOOLS),
    "called-answered": Case([*CALLED, assistant("Yes, 21 °C."), user("Thanks")], TOOLS),
    "called-null": Case([CALLED[0], assistant(None, *CALLED[1]["tool_calls"]), CALLED[2]], TOOLS),
    "called-no-tools": Case([*CALLED, assistant("Yes."), user("Thanks")]),
    "called-with-text": Case([CALLED[0], assistant("Let me see.", *CALLED[1]["tool_calls"]), CALLED[2]], TOOLS),
    "called-awkward": Case([user("Find."), assistant("", call("search", AWKWARD)), result("none", "search")], TOOLS),
    "called-empty": Case([user("Go."), assistant("", call("search", {})), result("", "search")], TOOLS),
    "called-twice": Case([*CALLED, assistant("", call("search", {"query": "é"}, 2)), result("x", "search", 2)], TOOLS),
    "parallel": Case(PARALLEL, TOOLS),
    "parallel-no-prompt": Case(PARALLEL, TOOLS, add_generation_prompt=False),
    "result-without-call": Case([user("Hi"), result("warm")], TOOLS),
    "thought": Case(THOUGHT),
    "thought-preserved": Case(THOUGHT, kwargs={"preserve_reasoning": True}),
    "thought-call": Case(THOUGHT_CALL, TOOLS),
    "thought-call-answered": Case(
        [*THOUGHT_CALL, assistant("Yes.", reasoning_content="It is warm."), user("Thanks")], TOOLS
    ),
    "thought-last": Case([THOUGHT[0], THOUGHT[1]], add_generation_prompt=False),
    "thinking": Case([user("Hi")], kwargs={"enable_thinking": True}),
    "no-thinking": Case([user("Hi")], kwargs={"enable_thinking": False}),
    "thinking-turns": Case(THOUGHT, kwargs={"enable_thinking": True}),
    "no-thinking-turns": Case(THOUGHT, kwargs={"enable_thinking": False}),
    "effort-low": Case([user("Hi")], kwargs={"reasoning_effort": "low"}),
    "effort-high": Case([system("Be brief."), user("Hi")], kwargs={"reasoning_effort": "high"}),
    "parts": Case([user(PARTS)]),
    "parts-system": Case([system(PARTS), user(PARTS), assistant("Well"), user("Bye")]),
    "continued": Case([user("Hi"), assistant("Well, he")], add_generation_prompt=False, continued="content"),
    "continued-turns": Case(
        [system("Be brief."), *CHAT, assistant("See ")], add_generation_prompt=False, continued="content"
    ),
    "continued-thought": Case(
        [user("Hi"), assistant("Well", reasoning_content="A greeting.")],
        add_generation_prompt=False,
        continued="content",
    ),
    "continued-thinking": Case(
        [user("Hi"), assistant("", reasoning_content="A gree")],
        add_generation_prompt=False,
        continued="reasoning_content",
    ),
    "user-twice": Case([user("Hi"), user("there")]),
    "assistant-first": Case([assistant("Hello!"), user("Hi")]),
    "system-late": Case([user("Hi"), assistant("Hello!"), system("Be brief."), user("Bye")]),
    "unknown-role": Case([{"role": "critic", "content": "Hm."}, user("Hi")]),
}


def folder() -> Path | None:
    """Where the templates of the pinned source are unpacked; None where it never was."""
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    sources = Path(os.environ.get("LLAMAHTTP_CACHE") or cache_home / "llamahttp") / "src"
    for path in sorted(sources.glob("sdist-*/models/templates")):
        return path
    return None


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def adapted(messages: list[Message], caps: dict[str, bool]) -> list[Message]:
    """The messages in the form that a template with these capabilities takes, in words of the API."""
    return [_adapted(message, caps) for message in messages]


def _adapted(message: Message, caps: dict[str, bool]) -> Message:
    message = dict(message)
    content = message.get("content")
    if isinstance(content, list) and not caps["supports_typed_content"]:
        message["content"] = "\n".join(part["text"] for part in content)
    if isinstance(content, str) and not caps["supports_string_content"]:
        message["content"] = [{"type": "text", "text": content}]
    if "tool_calls" in message and caps["supports_object_arguments"]:
        message["tool_calls"] = [_with_object(call) for call in message["tool_calls"]]
    return message


def _with_object(call: Message) -> Message:
    function = call["function"]
    return call | {"function": function | {"arguments": json.loads(function["arguments"])}}
