"""JSON text: where a value ends that comes in pieces, and strings written on the fly. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 500
"""Brackets in brackets, of values that are taken for JSON: readers follow them by recursion."""

_OUTSIDE = re.compile(r'["{}\[\],:]')
_INSIDE = re.compile(r'["\\]')
_SCALAR_END = re.compile(r"[\s,}\]<]")


class JsonScanner:
    """Finds the end of one JSON value; whether it is valid is for others to say. Each character is looked at once."""

    def __init__(self) -> None:
        self.is_done = False
        self._depth = 0
        self._in_string = False
        self._is_escaped = False
        self._is_scalar = False
        self._has_begun = False

    def feed(self, text: str, at: int = 0) -> int:
        """Take `text` from `at` on; where the value ends in it, or len(text)."""
        if not self._has_begun and at < len(text):
            self._has_begun = True
            self._is_scalar = text[at] not in '"{['
        while at < len(text) and not self.is_done:
            if self._is_scalar:
                found = _SCALAR_END.search(text, at)
                self.is_done = found is not None
                return found.start() if found else len(text)
            at = self._string(text, at) if self._in_string else self._structure(text, at)
        return at

    def _string(self, text: str, at: int) -> int:
        if self._is_escaped:
            self._is_escaped = False
            return at + 1
        found = _INSIDE.search(text, at)
        if found is None:
            return len(text)
        if found.group() == "\\":
            self._is_escaped = True
        else:
            self._in_string = False
            self.is_done = self._depth == 0
        return found.end()

    def _structure(self, text: str, at: int) -> int:
        found = _OUTSIDE.search(text, at)
        if found is None:
            return len(text)
        match found.group():
            case '"':
                self._in_string = True
            case "{" | "[":
                self._depth += 1
            case "}" | "]":
                self._depth -= 1
                self.is_done = self._depth <= 0
        return found.end()


def dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def load(text: str) -> Any:
    """The value of a JSON text. Raises ValueError, also for what is nested too deeply and for NaN and its like."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def is_json(text: str) -> bool:
    try:
        load(text)
    except ValueError:
        return False
    return True


def is_object(text: str) -> bool:
    """Whether it is the JSON of an object."""
    try:
        return isinstance(load(text), dict)
    except ValueError:
        return False


def escape(text: str) -> str:
    """Text as it stands within the quotes of a JSON string."""
    return dump(text)[1:-1]


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
