"""Template: messages to text, as the server does it with the template stored in the GGUF."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

PATH = Path(__file__).with_name("chat_template.jinja")


def _tojson(value: Any, indent: int | None = None) -> str:
    """JSON without the HTML escapes of jinja2's own filter."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _compile() -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = _tojson
    return environment.from_string(PATH.read_text(encoding="utf-8"))


TEMPLATE = _compile()


def render(
    messages: list[dict[str, Any]], tools: list[dict[str, Any]], *, thinking: bool = False, generate: bool = False
) -> str:
    """The text of a conversation; with `generate` it ends where the assistant's next message begins."""
    return TEMPLATE.render(
        messages=messages, tools=tools or None, enable_thinking=thinking, add_generation_prompt=generate
    )
