"""Rules: a grammar in llguidance's Lark while it is written. Pure.

White space that holds a new line may be any, or none. A raw string ends with its closing tag: it holds anything else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from ..errors import InvalidRequest
from ..structured.answer import HEAD

SPACE = "SPACE: /[ \\t\\r\\n]{1,32}/"
ANYTHING = "/(?s:.*)/"
BREAK = re.compile(r"[ \t]*\n\s*")
EMPTY = '""'
MAX_RULES = 50_000
"""Of a grammar: schemas that refer to each other can make any number of them."""


class Rules:
    """Rules by number, in the order in which they are needed."""

    def __init__(self, ends: Iterable[str] = ()) -> None:
        """`ends`: texts of tokens that end an answer, which no grammar holds."""
        self._ends = sorted(ends, key=len, reverse=True)
        self._written: dict[str, str] = {}

    def text(self, start: str) -> str:
        """The grammar."""
        return "\n".join([HEAD, f"start: {start}", *self._written.values(), SPACE])

    def reserve(self, kind: str = "r") -> str:
        """The name of a rule that can be used before it is defined. Raises InvalidRequest beyond the limit."""
        if len(self._written) >= MAX_RULES:
            raise InvalidRequest(f"they need more than {MAX_RULES} rules, which is the limit")
        name = f"{kind}{len(self._written)}"
        self._written[name] = ""
        return name

    def define(self, name: str, body: str, attribute: str = "") -> str:
        self._written[name] = f"{name}{attribute}: {body}"
        return name

    def rule(self, body: str, attribute: str = "") -> str:
        """A new rule's name."""
        return self.define(self.reserve(), body, attribute)

    def one_of(self, bodies: Iterable[str]) -> str:
        return self.rule(" | ".join(bodies))

    def until(self, end: str, body: str = ANYTHING) -> str:
        """Text that `body` allows, up to the first `end`, and that."""
        return self.rule(body, f"[suffix={quoted(end)}]")

    def terminal(self, body: str) -> str:
        """One text that obeys all that `body` says."""
        return self.define(self.reserve("T"), body)

    def literal(self, text: str) -> str:
        """Literal text, in which white space with a new line is as one likes."""
        for end in self._ends:
            text = text.replace(end, "")
        parts = [quoted(part) if part else "" for part in BREAK.split(text)]
        return " SPACE? ".join(parts) if any(parts) or len(parts) > 1 else ""


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # Lark has no control characters in strings


def several(item: str, separator: str, least: int = 0, most: int | None = None) -> str:
    """So many items, the separator in between."""
    if most == 0:
        return EMPTY
    if not separator:
        return f"{item}{{{least},{'' if most is None else most}}}"
    last = "" if most is None else most - 1
    some = f"{item} ({separator} {item}){{{max(least - 1, 0)},{last}}}"
    return some if least else f"({some})?"
