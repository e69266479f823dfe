"""Values: the arguments of a call, as rules for each of the ways in which models write them. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import InvalidRequest
from ..structured.answer import JsonAnswer
from ..structured.keywords import FORMAT_PATTERNS, says_nothing
from ..structured.pattern import PatternError, to_rust, whole
from . import schema as schemas
from .notation import QUOTE
from .pattern import KEY_CHARS, Kind, Value
from .rules import ANYTHING, EMPTY, Rules, quoted, several
from .schema import Schema

ANY_OBJECT: Schema = {"type": "object"}
COMMA = '"," SPACE?'
CDATA, CDATA_END = "<![CDATA[", "]]>"
SEEN_TO = {
    "string": frozenset({"type", "enum", "const", "pattern", "format", "minLength", "maxLength"}),
    "array": frozenset({"type", "items", "minItems", "maxItems"}),
    "object": frozenset({"type", "properties", "required", "additionalProperties"}),
}
"""Keywords that rules can be made of for what is not JSON. All other types are JSON everywhere."""

Write = Callable[[str, Schema], str]
"""The rule of an argument, by its name and schema; the name is empty for one of any name."""


class ValueWriter:
    """Writes the values of one tool's arguments."""

    def __init__(self, rules: Rules, tool: Schema, *, is_strict: bool) -> None:
        """`is_strict`: what cannot be seen to is an error, and not left to the model."""
        self._rules = rules
        self._tool = tool
        self._is_strict = is_strict
        self._known: dict[tuple[int, str], tuple[str, Schema]] = {}
        """Rules of values in notations of their own, by schema and end: schemas may refer to themselves."""

    # --- all arguments

    def arguments(self) -> str:
        """As a JSON object."""
        return self._json(ANY_OBJECT if self._tool in (None, {}) else self._tool)

    def fields(self, separator: str, write: Write) -> str:
        """One by one."""
        return self._fields(schemas.resolve(self._tool, self._tool), separator, write)

    def _fields(self, schema: Schema, separator: str, write: Write) -> str:
        """In the order of the schema; what is not required may be missing, and others come last."""
        rule = self._rules.rule
        self._check(schema, "object")
        needed = schemas.required(schema)
        items = [(write(key, value), key in needed) for key, value in schemas.properties(schema).items()]
        more = write("", self._unnamed(schema)) if schemas.is_open(schema) else ""
        some = rule(f"({separator} {more})*") if more else ""
        none = rule(f"({more} {some})?") if more else ""
        for item, is_needed in reversed(items):
            rest_some, rest_none = some, none
            some = rule(f"{separator} {item} {rest_some}" if is_needed else f"({separator} {item})? {rest_some}")
            none = rule(f"{item} {rest_some}" + ("" if is_needed else f" | {rest_none or EMPTY}"))
        return none

    def _unnamed(self, schema: Schema) -> Schema:
        more = schema.get("additionalProperties", True) if isinstance(schema, Mapping) else True
        return True if isinstance(more, bool) else more

    def key(self, name: str) -> str:
        """A name, or any."""
        return quoted(name) if name else self._rules.rule(f"/{KEY_CHARS}{{1,64}}/")

    # --- JSON

    def _json(self, schema: Schema) -> str:
        return self._rules.rule(JsonAnswer(schema, self._is_strict).rule())

    def _other(self, *values: Schema) -> str:
        """The JSON of a value that is no string."""
        parts = []
        for value in values:
            kinds = self.kinds(value)
            part = dict(value) if isinstance(value, Mapping) else {}
            if "string" in kinds or not part:
                part["type"] = sorted(kinds - {"string"})
            parts.append(part)
        return self._json(schemas.within(parts[0] if len(parts) == 1 else {"anyOf": parts}, self._tool))

    # --- as it stands, up to a tag

    def tagged(self, value: Schema, node: Value, key: str) -> str:
        """A value between its tags, and the second of them."""
        lead = f"{quoted(node.before)} " if node.before else ""
        after = node.after.replace("{key}", key)
        if "{key}" in node.after and not key:
            before, _, rest = node.after.partition("{key}")
            return f"{lead}{self._rules.until(before)} {self.key('')} {quoted(rest)}"
        if node.tag:
            return lead + self._nested(value, node.tag, after)
        return lead + self._plain(value, after, node)

    def _plain(self, value: Schema, after: str, node: Value) -> str:
        options = schemas.alternatives(value, self._tool)
        texts = [each for each in options if "string" in self.kinds(each)]
        others = [each for each in options if "string" not in self.kinds(each)]
        if node.kind is Kind.JSON:
            texts, others = [], [each for each in options if self.kinds(each) != {"string"}]
        if node.kind is Kind.STRING:
            others = []
        written = [self._text(each, after, has_cdata=node.cdata, is_text=node.kind is Kind.STRING) for each in texts]
        if others and not any(map(self._is_free, texts)):  # else they can be written as text is
            written.append(f"{self._other(*others)} {self._rules.literal(after)}")
        return written[0] if len(written) == 1 else self._rules.one_of(written)

    def _text(self, value: Schema, after: str, *, has_cdata: bool = False, is_text: bool = False) -> str:
        """A string as it stands, up to its end. With `is_text` values of other types cannot be meant."""
        schema = value if isinstance(value, Mapping) else {}
        listed = self._listed(schema)
        if listed:
            texts = [each if isinstance(each, str) else json.dumps(each) for each in listed]
            texts = [text for text, each in zip(texts, listed, strict=True) if isinstance(each, str) or not is_text]
            return f"{self._rules.one_of(map(quoted, texts))} {quoted(after)}"
        self._check(schema, "string")
        if self._is_free(value):
            text = self._rules.until(after)
            return f'({text} | "{CDATA}" {self._rules.until(CDATA_END)} {quoted(after)})' if has_cdata else text
        return self._rules.until(after, self._rules.terminal(" & ".join(self._terms(schema)) or ANYTHING))

    def _terms(self, schema: Mapping[str, Any]) -> list[str]:
        """What all holds for a string, as regular expressions of a whole one."""
        terms = []
        if "pattern" in schema:
            try:
                terms.append(f"/{_searched(str(schema['pattern']))}/")
            except PatternError as error:
                if self._is_strict:
                    raise InvalidRequest(f"the pattern {str(schema['pattern'])[:64]!r}: {error}") from None
        if _format(schema):
            terms.append(f"/{_format(schema)}/")
        least, most = schema.get("minLength", 0), schema.get("maxLength", "")
        if (least, most) != (0, ""):
            terms.append(f"/(?s:.{{{least},{most}}})/")
        return terms

    def _is_free(self, value: Schema) -> bool:
        """Any text obeys it."""
        if not isinstance(value, Mapping):
            return True
        return not _format(value) and not value.keys() & (SEEN_TO["string"] - {"type", "format"})

    # --- values that hold others in a notation of their own

    def _recursive(self, value: Schema, end: str, write: Callable[[Schema], str]) -> str:
        """The rule of a value and its end, `write` giving that of each alternative."""
        target = schemas.resolve(value, self._tool)
        place = id(target), end
        if place not in self._known:
            name = self._rules.reserve()
            self._known[place] = name, target  # kept, so that no other schema has its id
            self._rules.define(name, " | ".join(map(write, schemas.alternatives(target, self._tool))))
        return self._known[place][0]

    # --- tags within tags: MiniMax M3

    def _nested(self, value: Schema, tag: str, after: str) -> str:
        """A value and its end; the members of objects and arrays stand between tags that begin with `tag`."""
        return self._recursive(value, after, lambda each: self._nested_option(each, tag, after))

    def _nested_option(self, value: Schema, tag: str, after: str) -> str:
        kinds = self.kinds(value)
        if kinds.isdisjoint(("object", "array")):
            return (
                self._text(value, after) if "string" in kinds else f"{self._other(value)} {self._rules.literal(after)}"
            )
        if kinds == {"object"} and (schemas.properties(value) or not schemas.is_open(value)):
            members = self._fields(value, "SPACE?", lambda key, inner: self._nested_member(key, inner, tag))
            return f"{members} SPACE? {quoted(after)}"
        if kinds == {"array"}:
            self._check(value, "array")
            item = self._rules.rule(f"{quoted(f'{tag}<item>')} {self._nested(_items(value), tag, f'{tag}</item>')}")
            return f"{several(item, 'SPACE?', *_counts(value))} SPACE? {quoted(after)}"
        self._check(value, "object", frozenset({"type"}))
        return self._rules.until(after)

    def _nested_member(self, key: str, value: Schema, tag: str) -> str:
        if key:
            return f"{quoted(f'{tag}<{key}>')} {self._nested(value, tag, f'{tag}</{key}>')}"
        return f'{quoted(f"{tag}<")} {self.key("")} ">" {self._rules.until(f"{tag}</")} {self.key("")} ">"'

    # --- Gemma: {path:<|"|>a<|"|>,count:3}

    def gemma(self, value: Schema) -> str:
        return self._recursive(value, "", self._gemma_option)

    def _gemma_option(self, value: Schema) -> str:
        schema = value if isinstance(value, Mapping) else {}
        if listed := self._listed(schema):
            texts = [f"{QUOTE}{each}{QUOTE}" if isinstance(each, str) else json.dumps(each) for each in listed]
            return self._rules.one_of(map(quoted, texts))
        write: dict[str, Callable[[], str]] = {
            "string": lambda: f"{quoted(QUOTE)} {self._text(schema, QUOTE)}",
            "boolean": lambda: '"true" | "false"',
            "null": lambda: '"null" | "None"',
            "integer": lambda: self._number(schema, "integer"),
            "number": lambda: self._number(schema, "number"),
            "array": lambda: self._gemma_array(schema),
            "object": lambda: f'"{{" {self._fields(schema, COMMA, self.gemma_field)} "}}"',
        }
        return self._rules.one_of(write[kind]() for kind in sorted(self.kinds(schema)))

    def _number(self, schema: Mapping[str, Any], kind: str) -> str:
        return self._json(schemas.within({**schema, "type": kind}, self._tool))

    def _gemma_array(self, schema: Mapping[str, Any]) -> str:
        self._check(schema, "array")
        return f'"[" {several(self.gemma(_items(schema)), COMMA, *_counts(schema))} "]"'

    def gemma_field(self, key: str, value: Schema) -> str:
        return f'{self.key(key)} ":" {self.gemma(value)}'

    # --- Python: (path='a', count=3)

    def python_field(self, key: str, value: Schema) -> str:
        name = quoted(key) if key else self._rules.rule("/[A-Za-z_][A-Za-z0-9_]*/")
        options = map(self._python_option, schemas.alternatives(value, self._tool))
        return f'{name} "=" {self._rules.one_of(options)}'

    def _python_option(self, value: Schema) -> str:
        schema = value if isinstance(value, Mapping) else {}
        if listed := self._listed(schema):
            return self._rules.one_of(quoted(repr(each)) for each in listed)
        kinds = self.kinds(schema)
        shapes = []
        if "string" in kinds:
            self._check(schema, "string", frozenset({"type"}))
            shapes += [r"""/'([^'\\]|\\.)*'/""", r"""/"([^"\\]|\\.)*"/"""]
        if "boolean" in kinds:
            shapes += ['"True"', '"False"']
        if "null" in kinds:
            shapes.append('"None"')
        if kinds - {"string"}:
            shapes.append(self._other(schema))
        return self._rules.one_of(shapes)

    # --- schemas

    def kinds(self, value: Schema) -> frozenset[str]:
        return schemas.types(value, self._tool)

    def _listed(self, schema: Schema) -> list[Any]:
        """All that a value can be, if its schema lists that."""
        if not isinstance(schema, Mapping):
            return []
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        return values if isinstance(values, list) else []

    def _check(self, schema: Schema, kind: str, seen_to: frozenset[str] | None = None) -> None:
        """Raises InvalidRequest for a keyword that cannot be seen to here, of a tool that is strict."""
        if not self._is_strict or not isinstance(schema, Mapping):
            return
        seen_to = SEEN_TO[kind] if seen_to is None else seen_to
        left = {name for name, value in schema.items() if name not in seen_to and not says_nothing(name, value)}
        if left:
            raise InvalidRequest(f"the keyword {min(left)!r} is not supported in the notation of this model's calls")


def _counts(schema: Mapping[str, Any]) -> tuple[int, int | None]:
    """The least and the most items of an array."""
    return int(schema.get("minItems", 0)), int(schema["maxItems"]) if "maxItems" in schema else None


def _format(schema: Mapping[str, Any]) -> str:
    """The regular expression of a string's format; empty for one that says nothing."""
    return FORMAT_PATTERNS.get(str(schema.get("format")), "")


def _items(schema: Mapping[str, Any]) -> Schema:
    return schema.get("items", True)


def _searched(pattern: str) -> str:
    """A pattern as a whole text matches it that holds it."""
    core = whole(pattern)
    before = "" if pattern.startswith("^") else "(?s:.*)"
    after = "" if len(core) + pattern.startswith("^") < len(pattern) else "(?s:.*)"
    return f"{before}({to_rust(core)}){after}"
