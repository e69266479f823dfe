"""Notation: arguments that are written neither as JSON nor between tags. Pure."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from . import schema as schemas
from .json_text import load

QUOTE = '<|"|>'
"""What Gemma 4 puts around strings."""
MAX_DEPTH = 100
MAX_TEXT = 1 << 20
"""Characters of the arguments of one call."""


class Scanner(Protocol):
    """Finds the end of arguments in text that comes in pieces."""

    is_done: bool

    def feed(self, text: str, at: int) -> int:
        """Take `text` from `at` on; where the arguments end in it, or len(text)."""


@dataclass(frozen=True, slots=True)
class Notation:
    """One notation."""

    scanner: Callable[[], Scanner]
    read: Callable[[str, schemas.Schema], dict[str, Any]]
    """The arguments, for what the scanner has found and the tool's schema. Raises ValueError."""


class BracketScanner:
    """Counts brackets outside of quotes, from the first bracket to its end."""

    def __init__(self, quotes: tuple[str, ...], *, has_escapes: bool) -> None:
        self.is_done = False
        self._depth = 0
        self._quote = ""
        self._tail = ""
        self._quotes = quotes
        alternatives = "|".join(re.escape(quote) for quote in quotes)
        self._outside = re.compile(rf"[(\[{{)\]}}]|{alternatives}")
        self._inside = {
            quote: re.compile((r"\\.|" if has_escapes else "") + re.escape(quote), re.S) for quote in quotes
        }
        self._longest = max(len(quote) for quote in quotes) - 1

    def feed(self, text: str, at: int) -> int:
        # the tail is what may be the beginning of a quote, or an escape, that the last text ended with
        joined, n_tail = self._tail + text[at:], len(self._tail)
        place = 0
        self._tail = ""
        while not self.is_done:
            found = (self._inside[self._quote] if self._quote else self._outside).search(joined, place)
            if found is None:
                self._tail = self._open(joined[max(place, len(joined) - max(self._longest, 1)) :])
                return len(text)
            place = found.end()
            self._count(found.group())
        return at + place - n_tail

    def _open(self, end: str) -> str:
        """The last characters, as far as they may go on as a quote or an escape."""
        for start in range(len(end)):
            tail = end[start:]
            if (tail == "\\" and self._quote) or any(quote.startswith(tail) for quote in self._quotes):
                return tail
        return ""

    def _count(self, found: str) -> None:
        if found in self._quotes:
            self._quote = "" if self._quote else found
        elif found in "([{":
            self._depth += 1
        elif found in ")]}":
            self._depth -= 1
            self.is_done = self._depth <= 0


# --- Python: name(path='a', count=3)


def python_literal(text: str) -> Any:
    """The value of a Python literal, in which null, true and false may stand too. Raises ValueError."""
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError, TypeError):
        raise ValueError("no Python literal") from None


def python_arguments(text: str, schema: schemas.Schema) -> dict[str, Any]:
    """The keyword arguments in brackets."""
    if len(text) > MAX_TEXT:
        raise ValueError("too long")
    try:
        # templates write line breaks in strings as they are
        call = ast.parse("f" + _STRING.sub(lambda found: found[0].replace("\n", "\\n"), text), mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise ValueError("no keyword arguments")
        return {keyword.arg or "": _value(keyword.value) for keyword in call.keywords}
    except (SyntaxError, RecursionError, MemoryError, TypeError):
        raise ValueError("no keyword arguments") from None


_STRING = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.S)
_NAMES = {"null": None, "true": True, "false": False}


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value) if value is None or isinstance(value, str | int | float | bool):
            return value
        case ast.Name(name) if name in _NAMES:
            return _NAMES[name]
        case ast.List(items) | ast.Tuple(items):
            return [_value(item) for item in items]
        case ast.Dict(keys, values):
            return {str(_value(key)): _value(value) for key, value in zip(keys, values, strict=True) if key is not None}
        case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as number)):
            return -number
    raise ValueError("no literal")


# --- Gemma 4: {path:<|"|>a<|"|>,count:3}

_GEMMA = re.compile(
    rf"\s*(?:(?P<text>{re.escape(QUOTE)}(?P<inner>.*?){re.escape(QUOTE)})"
    r"|(?P<mark>[{}\[\],:])|(?P<word>[^{}\[\],:]+))",
    re.S,
)


def gemma_arguments(text: str, schema: schemas.Schema) -> dict[str, Any]:
    """The object as JSON: strings and keys in quotes, None as null."""
    value = load("".join(_gemma_pieces(text)))
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


def _gemma_pieces(text: str) -> list[str]:
    pieces: list[str] = []
    at = 0
    found = list(_GEMMA.finditer(text))
    for token, after in zip(found, [*found[1:], None], strict=True):
        if token.start() != at:
            raise ValueError("not that notation")
        at = token.end()
        is_key = after is not None and after["mark"] == ":"
        if token["text"] is not None:
            pieces.append(json.dumps(token["inner"]))
        elif token["mark"]:
            pieces.append(token["mark"])
        elif is_key:
            pieces.append(json.dumps(token["word"].strip().strip('"')))
        else:
            word = token["word"].strip()
            pieces.append({"None": "null", "True": "true", "False": "false"}.get(word, word))
    return pieces


# --- MiniMax M3: tags within tags


def nested(text: str, tag: str, schema: schemas.Schema, root: schemas.Schema) -> str:
    """The JSON of an object or an array whose members stand between tags that begin with `tag`; empty if neither."""
    try:
        value = _nested(text, tag, schema, root, 0)
    except ValueError:
        return ""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else ""


def _nested(text: str, tag: str, schema: schemas.Schema, root: schemas.Schema, depth: int) -> Any:
    schema = schemas.resolve(schema, root)
    kinds = schemas.types(schema, root)
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    if tag not in text:
        return _plain(text, kinds)
    members = _members(text, tag)
    if kinds == {"array"} or ("object" not in kinds and "array" in kinds) or {key for key, _ in members} == {"item"}:
        items = schema.get("items") if isinstance(schema, dict) else None
        return [_nested(inner, tag, items, root, depth + 1) for _, inner in members]
    parts = schemas.properties(schema) if isinstance(schema, dict) else {}
    return {key: _nested(inner, tag, parts.get(key), root, depth + 1) for key, inner in members}


def _plain(text: str, kinds: frozenset[str]) -> Any:
    if not text and kinds == schemas.TYPES:
        return None
    if not text and "object" in kinds and "string" not in kinds:
        return {}
    if not text and "array" in kinds and "string" not in kinds:
        return []
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if schemas.type_of(value) in kinds - {"string"} or "string" not in kinds else text


def _members(text: str, tag: str) -> list[tuple[str, str]]:
    """The members one level down: name and inner text."""
    mark = re.compile(rf"{re.escape(tag)}<(/?)([^<>]*)>")
    members: list[tuple[str, str]] = []
    depth, start, name = 0, 0, ""
    for found in mark.finditer(text):
        if not found[1]:
            if depth == 0:
                name, start = found[2], found.end()
            depth += 1
            continue
        depth -= 1
        if depth == 0 and found[2] == name:
            members.append((name, text[start : found.start()]))
        elif depth < 0:
            raise ValueError("a tag is closed that is not open")
    if depth:
        raise ValueError("a tag is open")
    return members


NOTATIONS = {
    "python": Notation(lambda: BracketScanner(("'''", '"""', "'", '"'), has_escapes=True), python_arguments),
    "gemma": Notation(lambda: BracketScanner((QUOTE,), has_escapes=False), gemma_arguments),
}
