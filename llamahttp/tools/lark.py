"""Lark: the grammar of calls, written from the same tree that the parser reads by, for llguidance. Pure.

White space that holds a new line may be any, or none. A raw string ends with its closing tag: it holds anything else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InvalidRequest
from ..structured.answer import HEAD, JsonAnswer
from . import schema as schemas
from .format import ChatFormat, Island
from .notation import QUOTE
from .pattern import (
    KEY_CHARS,
    NAME_CHARS,
    Arguments,
    Call,
    CallObject,
    Choice,
    Fields,
    Id,
    Key,
    Kind,
    Many,
    Name,
    NamedObject,
    Node,
    Notated,
    Prose,
    Run,
    Seq,
    Text,
    Value,
    walk,
)

SPACE = "SPACE: /[ \\t\\r\\n]{1,32}/"
ANYTHING = "/(?s:.*)/"
BREAK = re.compile(r"[ \t]*\n\s*")
ANY_OBJECT: schemas.Schema = {"type": "object"}
EMPTY = '""'
MAX_RULES = 50_000
"""Of a grammar: schemas that refer to each other can make any number of them."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where an answer stands when its grammar begins to hold."""

    is_lazy: bool = False
    """At the first literal of a call; else at the beginning of the answer."""
    may_think: bool = False
    is_open: bool = False
    """In a thought."""


def to_lark(
    format: ChatFormat,
    tools: Mapping[str, schemas.Schema],
    beginning: Beginning,
    *,
    parallel: bool = True,
    ends: frozenset[str] = frozenset(),
    answer: str = "",
) -> str:
    """The grammar of one call of one of `tools`, or of several. `ends` are texts of tokens that end an answer, which
    no grammar holds; `answer` is a rule of what may come in place of calls. Raises InvalidRequest."""
    parallel = parallel and format.max_calls != 1
    return _Writer(format, tools, parallel=parallel, ends=ends).write(beginning, answer)


def answer_to_lark(rule: str, format: ChatFormat, beginning: Beginning) -> str:
    """The grammar of an answer without calls, whose content is what `rule` says."""
    return _Writer(format, {}, parallel=False, ends=frozenset()).write_answer(beginning, rule)


@dataclass(slots=True)
class _Tool:
    """The tool, and the argument, that is being written."""

    name: str
    schema: schemas.Schema
    key: str = ""
    value: schemas.Schema = field(default=None)

    def at(self, key: str, value: schemas.Schema) -> _Tool:
        return _Tool(self.name, self.schema, key, value)


class _Writer:
    """Rules by number, in the order in which they are needed."""

    def __init__(
        self, format: ChatFormat, tools: Mapping[str, schemas.Schema], *, parallel: bool, ends: frozenset[str]
    ) -> None:
        self._format = format
        self._tools = [_Tool(name, schemas.enforceable(schema)) for name, schema in tools.items()]
        self._parallel = parallel
        self._ends = sorted(ends, key=len, reverse=True)
        self._rules: list[str] = []

    def write(self, beginning: Beginning, answer: str) -> str:
        calls = self._calls(is_first_cut=bool(self._format.primer))
        before = "" if beginning.is_lazy else self._before(beginning, leads=not answer)
        other = f" | {self._rule(answer)}" if answer else ""
        return "\n".join([HEAD, f"start: {before} ({calls} SPACE?{other})", *self._rules, SPACE])

    def write_answer(self, beginning: Beginning, answer: str) -> str:
        before = self._before(beginning, leads=False)
        return "\n".join([HEAD, f"start: {before} {self._rule(answer)}", *self._rules, SPACE])

    def _rule(self, body: str, attribute: str = "") -> str:
        if len(self._rules) >= MAX_RULES:
            raise InvalidRequest(f"they need more than {MAX_RULES} rules, which is the limit")
        name = f"r{len(self._rules)}"
        self._rules.append(f"{name}{attribute}: {body}")
        return name

    # --- the answer

    def _before(self, beginning: Beginning, *, leads: bool = True) -> str:
        """A thought, and white space; with `leads` even where there is no thought."""
        space = "SPACE?" if leads else ""
        thought = self._format.thought
        if thought is None or not (beginning.may_think or beginning.is_open):
            return space
        text = self._rule(ANYTHING, f"[suffix={quoted(thought.end.strip())}]")
        after = f" SPACE? ({self._literal(thought.after)})?" if thought.after else ""
        if beginning.is_open:
            return f"{text}{after} SPACE?"
        return f"{space} ({quoted(thought.start.strip())} {text}{after} SPACE?)? {space}"

    def _calls(self, *, is_first_cut: bool) -> str:
        islands = self._format.calls
        first = self._islands(islands, cuts=is_first_cut)
        if not self._parallel or any(island.has_list for island in islands):
            return first
        following = self._islands(islands, cuts=False) if is_first_cut else first
        return f"{first} (SPACE? {self._literal(self._format.gap.strip())} {following})*"

    def _islands(self, islands: Sequence[Island], *, cuts: bool) -> str:
        """Any of `islands`; `cuts`: the primer that some begin with has come already."""
        nodes = [self._cut(island) if cuts or island.is_weak else island.node for island in islands]
        return self._rule(" | ".join(self._write(node, None) for node in nodes))

    def _cut(self, island: Island) -> Node:
        match island.node:
            case Seq((Text(text), *rest)) if text == self._format.primer:
                return Seq(tuple(rest))
            case Call(Seq((Text(is_needed=False), *rest))):
                return Call(Seq(tuple(rest)))
        return island.node

    # --- nodes

    def _write(self, node: Node, tool: _Tool | None) -> str:
        match node:
            case Text():
                return quoted(node.text) if node.is_exact else self._literal(node.text)
            case Seq(parts):
                return self._sequence(parts, tool) or EMPTY
            case Choice(options):
                return self._choice(options, tool)
            case Many(item, separator):
                once = self._write(item, tool)
                return f"{once} (SPACE? {self._literal(separator.strip())} SPACE? {once})*" if self._parallel else once
            case Run():
                return self._run(node)
            case Call(body):
                return self._rule(" | ".join(self._write(body, each) for each in self._tools))
            case Id(inner):
                return self._write(inner, tool)
        assert tool is not None, "all others stand in a call"
        return self._write_part(node, tool)

    def _sequence(self, parts: Sequence[Node], tool: _Tool | None) -> str:
        written = []
        for before, part in zip((None, *parts), parts):  # noqa: B905 (one is longer)
            text = self._write(part, tool)
            if isinstance(before, Name) and isinstance(part, Text) and _reads_on(part.text):
                text = f"SPACE {self._literal(part.text.lstrip())}"
            written.append(text)
        return " ".join(written)

    def _write_part(self, node: Node, tool: _Tool) -> str:
        match node:
            case Name():
                return quoted(tool.name)
            case Arguments():
                return self._json(tool.schema)
            case CallObject():
                return self._object(node, tool)
            case NamedObject():
                member = f'{quoted(json.dumps(tool.name))} SPACE? ":" SPACE? {self._json(tool.schema)}'
                return f'"{{" SPACE? {member} SPACE? "}}"'
            case Fields(item, separator):
                return self._fields(tool, separator, lambda each: self._write(item, each))
            case Key():
                return quoted(tool.key) if tool.key else self._rule(f"/{KEY_CHARS}{{1,64}}/")
            case Value():
                return self._value(node, tool)
            case Notated("gemma"):
                fields = self._fields(tool, ",", self._gemma_field)
                return f'"{{" {fields} "}}"'
            case Notated():
                fields = self._fields(tool, ", ", self._python_field)
                return f'"(" {fields} ")"'
        raise AssertionError(f"{node} has no grammar")

    def _literal(self, text: str) -> str:
        """Literal text, in which white space with a new line is as one likes."""
        for end in self._ends:
            text = text.replace(end, "")
        parts = [quoted(part) if part else "" for part in BREAK.split(text)]
        return " SPACE? ".join(parts) if any(parts) or len(parts) > 1 else ""

    def _choice(self, options: Sequence[Node], tool: _Tool | None) -> str:
        """The options that a call can be in; for a value, those of its type."""
        if tool is None:
            options = [option for option in options if any(isinstance(part, Call) for part in walk(option))]
        else:
            options = [option for option in options if _can_be(option, tool)]
        return self._rule(" | ".join(self._write(option, tool) for option in options))

    def _run(self, node: Run) -> str:
        return self._rule(f"/({node.grammar})/" if node.grammar else f"/{node.chars}{{1,64}}/")

    def _json(self, schema: schemas.Schema) -> str:
        return self._rule(JsonAnswer(ANY_OBJECT if schema in (None, {}) else schema).rule())

    # --- calls that are JSON

    def _object(self, node: CallObject, tool: _Tool) -> str:
        return self._members([(member.path, member.value) for member in node.members], tool)

    def _members(self, members: Sequence[tuple[tuple[str, ...], Any]], tool: _Tool) -> str:
        """The object with these members, of which those with longer paths are in objects of their own."""
        parts: dict[str, list[tuple[tuple[str, ...], Any]]] = {}
        for path, value in members:
            parts.setdefault(path[0], []).append((path[1:], value))
        written = []
        for key, inner in parts.items():
            value = self._members(inner, tool) if inner[0][0] else self._member(inner[0][1], tool)
            written.append(f'{quoted(json.dumps(key))} SPACE? ":" SPACE? {value}')
        between = ' SPACE? "," SPACE? '
        return f'"{{" SPACE? {between.join(written)} SPACE? "}}"'

    def _member(self, value: Name | Id | Arguments | Text, tool: _Tool) -> str:
        match value:
            case Name():
                return quoted(json.dumps(tool.name, ensure_ascii=False))
            case Text(text):
                return quoted(text)
            case Arguments():
                return self._json(tool.schema)
            case Id(inner):
                n_id = self._format.n_id
                chars = self._rule(f"/[A-Za-z0-9]{{{n_id}}}/") if n_id < 32 else self._write(inner, tool)
                return f'"\\"" {chars} "\\""'

    # --- arguments one by one

    def _fields(self, tool: _Tool, separator: str, write: Any) -> str:
        """Arguments in the order of the schema; what is not required may be missing, and others come last."""
        needed = schemas.required(tool.schema)
        known = schemas.properties(tool.schema)
        items = [(write(tool.at(key, value)), key in needed) for key, value in known.items()]
        more = write(tool.at("", True)) if schemas.is_open(tool.schema) else ""
        between = f"{self._literal(separator.strip())} SPACE?" if separator.strip() else ""
        some = self._rule(f"({between} {more})*") if more else ""
        none = self._rule(f"({more} {some})?") if more else ""
        for item, is_needed in reversed(items):
            rest_some, rest_none = some, none
            some = self._rule(f"{between} {item} {rest_some}" if is_needed else f"({between} {item})? {rest_some}")
            if is_needed:
                none = self._rule(f"{item} {rest_some}")
            else:
                none = self._rule(f"{item} {rest_some} | {rest_none or EMPTY}")
        return none

    def _value(self, node: Value, tool: _Tool) -> str:
        after = node.after.replace("{key}", tool.key)
        kinds = schemas.types(tool.value, tool.schema)
        lead = f"{quoted(node.before)} " if node.before else ""
        if node.kind is Kind.JSON or "string" not in kinds:
            return lead + self._nested(node, tool, after)
        if node.cdata and not self._values(tool):
            text = self._rule(ANYTHING, f"[suffix={quoted(after)}]")
            inner = self._rule(ANYTHING, f"[suffix={quoted(']]>')}]")
            return f'{lead}({text} | "<![CDATA[" {inner} {quoted(after)})'
        return lead + self._raw(tool, after)

    def _nested(self, node: Value, tool: _Tool, after: str) -> str:
        """A value that is no string."""
        if node.tag and schemas.types(tool.value, tool.schema) & {"object", "array"}:
            return self._rule(ANYTHING, f"[suffix={quoted(after)}]")
        return f"{self._json_value(tool)} {self._literal(after)}"

    def _json_value(self, tool: _Tool) -> str:
        schema = schemas.within(tool.value, tool.schema)
        if isinstance(schema, Mapping) and "string" in (kinds := schemas.types(schema, tool.schema)):
            schema = {**schema, "type": sorted(kinds - {"string"})}
        if not isinstance(schema, Mapping):
            schema = {"type": ["object", "array", "number", "boolean", "null"]}
        return self._rule(JsonAnswer(schema).rule())

    def _raw(self, tool: _Tool, after: str) -> str:
        """A string as it stands, up to its end."""
        schema = schemas.resolve(tool.value, tool.schema)
        schema = schema if isinstance(schema, Mapping) else {}
        values = self._values(tool)
        if values:
            texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
            return f"{self._rule(' | '.join(quoted(text) for text in texts))} {quoted(after)}"
        terms = []
        if "pattern" in schema:
            terms.append(f"/{_searched(str(schema['pattern']))}/")
        least, most = schema.get("minLength", 0), schema.get("maxLength", "")
        if (least, most) != (0, ""):
            terms.append(f"/(?s:.{{{least},{most}}})/")
        text = f"T{len(self._rules)}"  # a terminal: one text that obeys all
        self._rules.append(f"{text}: {' & '.join(terms) or ANYTHING}")
        return self._rule(text, f"[suffix={quoted(after)}]")

    def _values(self, tool: _Tool) -> list[Any]:
        """All that a value can be, if its schema lists that."""
        schema = schemas.resolve(tool.value, tool.schema)
        if not isinstance(schema, Mapping):
            return []
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        return values if isinstance(values, list) else []

    # --- notations

    def _gemma_field(self, tool: _Tool) -> str:
        key = quoted(tool.key) if tool.key else self._rule(f"/{KEY_CHARS}{{1,64}}/")
        return f'{key} ":" {self._gemma(tool.value, tool.schema, 0)}'

    def _gemma(self, schema: schemas.Schema, root: schemas.Schema, depth: int) -> str:
        """A value in Gemma's notation, by its types; objects and arrays as deep as the schema tells."""
        schema = schemas.resolve(schema, root)
        parts = schema if isinstance(schema, Mapping) else {}
        values = self._values(_Tool("", root, "", schema))
        if not values:
            _check_free(parts)
        if values:
            texts = [f"{QUOTE}{value}{QUOTE}" if isinstance(value, str) else json.dumps(value) for value in values]
            return self._rule(" | ".join(map(quoted, texts)))
        text = self._rule(ANYTHING, f"[suffix={quoted(QUOTE)}]")
        shapes = {
            "string": f"{quoted(QUOTE)} {text}",
            "boolean": '"true" | "false"',
            "null": '"null" | "None"',
        }
        kinds = schemas.types(schema, root)
        for number in kinds & {"integer", "number"}:
            shapes[number] = self._json({**parts, "type": number})
        if kinds & {"object", "array"}:
            inner = parts.get("items") if kinds & {"array"} else None
            item = self._gemma(inner, root, depth + 1) if depth < 3 else text
            shapes["array"] = f'"[" ({item} ("," {item})*)? "]"'
            known = _Tool("", {**parts, "type": "object"} if parts else ANY_OBJECT)
            fields = (
                self._fields(
                    known, ",", lambda each: f"{self._gemma_key(each.key)} {self._gemma(each.value, root, depth + 1)}"
                )
                if depth < 3
                else f"({self._gemma_key('')} {shapes['string']})?"
            )
            shapes["object"] = f'"{{" {fields} "}}"'
        return self._rule(" | ".join(shapes[kind] for kind in sorted(kinds)))

    def _gemma_key(self, key: str) -> str:
        name = quoted(key) if key else self._rule(f"/{KEY_CHARS}{{1,64}}/")
        return f'{name} ":"'

    def _python_field(self, tool: _Tool) -> str:
        key = quoted(tool.key) if tool.key else self._rule("/[A-Za-z_][A-Za-z0-9_]*/")
        kinds = schemas.types(tool.value, tool.schema)
        shapes = []
        if "string" in kinds:
            schema = schemas.resolve(tool.value, tool.schema)
            values = schema.get("enum") if isinstance(schema, Mapping) else None
            if isinstance(values, list):
                shapes += [quoted(repr(value)) for value in values]
            else:
                _check_free(schema)
                shapes += [r"""/'([^'\\]|\\.)*'/""", r"""/"([^"\\]|\\.)*"/"""]
        if "boolean" in kinds:
            shapes += ['"True"', '"False"']
        if "null" in kinds:
            shapes.append('"None"')
        if kinds - {"string"}:
            shapes.append(self._json_value(tool))
        return f'{key} "=" {self._rule(" | ".join(shapes))}'


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _reads_on(text: str) -> bool:
    """Only white space tells this literal from a name before it."""
    return text[:1].isspace() and bool(re.match(NAME_CHARS, text.lstrip()))


def _check_free(schema: schemas.Schema) -> None:
    """Raises InvalidRequest for a string that is not just any, in a notation where that cannot be seen to."""
    found = [name for name in ("pattern", "minLength", "maxLength") if isinstance(schema, Mapping) and name in schema]
    if found:
        raise InvalidRequest(f"the keyword {found[0]!r} is not supported in the notation of this model's calls")


def _can_be(option: Node, tool: _Tool) -> bool:
    """An option of a value is one that its schema allows."""
    kinds = schemas.types(tool.value, tool.schema)
    for part in walk(option):
        match part:
            case Value(kind=Kind.STRING):
                return "string" in kinds
            case Value(kind=Kind.JSON):
                return bool(kinds - {"string"})
    return True


def _searched(pattern: str) -> str:
    """A pattern as a whole text matches it that holds it, within slashes."""
    begins, ends = pattern.startswith("^"), pattern.endswith("$") and not pattern.endswith("\\$")
    core = pattern[begins : len(pattern) - ends if ends else None]
    whole = f"{'' if begins else '(?s:.*)'}({core}){'' if ends else '(?s:.*)'}"
    return re.sub(r"(?<!\\)/", r"\/", whole)


__all__ = ["Beginning", "Prose", "answer_to_lark", "to_lark"]
