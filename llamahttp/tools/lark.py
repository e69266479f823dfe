"""Lark: the grammar of calls, written from the same tree that the parser reads by, for llguidance. Pure."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .format import ChatFormat, Island
from .pattern import (
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
    Run,
    Seq,
    Text,
    Value,
    walk,
)
from .rules import EMPTY, Rules, quoted
from .schema import Schema
from .values import COMMA, ValueWriter

N_CACHED = 16
"""Grammars whose texts are kept; one has some hundred KiB, at most a few MiB."""


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
    tools: Mapping[str, Schema],
    beginning: Beginning,
    *,
    parallel: bool = True,
    ends: frozenset[str] = frozenset(),
    strict: frozenset[str] = frozenset(),
    answer: str = "",
) -> str:
    """The grammar of one call of one of `tools`, or of several. `ends` are texts of tokens that end an answer, which
    no grammar holds; `strict` are tools whose arguments have to be as their schemas say; `answer` is a rule of what may
    come in place of calls. Raises InvalidRequest."""
    parallel = parallel and format.max_calls != 1
    return _to_lark(format, json.dumps(tools), beginning, parallel, ends, strict, answer)


@functools.lru_cache(N_CACHED)
def _to_lark(
    format: ChatFormat,
    tools: str,
    beginning: Beginning,
    parallel: bool,
    ends: frozenset[str],
    strict: frozenset[str],
    answer: str,
) -> str:
    """The same of tools as JSON, since an agent has the same ones at every turn: forty of them take 10 ms to write."""
    return _Writer(format, parallel=parallel, ends=ends).write(json.loads(tools), strict, beginning, answer)


def answer_to_lark(rule: str, format: ChatFormat, beginning: Beginning) -> str:
    """The grammar of an answer without calls, whose content is what `rule` says."""
    return _Writer(format, parallel=False).write_answer(beginning, rule)


@dataclass(frozen=True, slots=True)
class _Tool:
    """The tool, and the argument, that is being written."""

    name: str
    values: ValueWriter
    key: str = ""
    value: Schema = None


class _Writer:
    """Writes one grammar."""

    def __init__(self, format: ChatFormat, *, parallel: bool, ends: frozenset[str] = frozenset()) -> None:
        self._format = format
        self._parallel = parallel
        self._rules = Rules(ends)
        self._tools: list[_Tool] = []

    def write(self, tools: Mapping[str, Schema], strict: frozenset[str], beginning: Beginning, answer: str) -> str:
        for name, schema in tools.items():
            self._tools.append(_Tool(name, ValueWriter(self._rules, schema, is_strict=name in strict)))
        calls = self._calls(is_first_cut=bool(self._format.primer))
        before = "" if beginning.is_lazy else self._before(beginning, leads=not answer)
        other = f" | {self._rules.rule(answer)}" if answer else ""
        return self._rules.text(f"{before} ({calls} SPACE?{other})")

    def write_answer(self, beginning: Beginning, answer: str) -> str:
        return self._rules.text(f"{self._before(beginning, leads=False)} {self._rules.rule(answer)}")

    # --- the answer

    def _before(self, beginning: Beginning, *, leads: bool = True) -> str:
        """A thought, and white space; with `leads` even where there is no thought."""
        space = "SPACE?" if leads else ""
        thought = self._format.thought
        if thought is None or not (beginning.may_think or beginning.is_open):
            return space
        text = self._rules.until(thought.end.strip())
        after = f" SPACE? ({self._rules.literal(thought.after)})?" if thought.after else ""
        if beginning.is_open:
            return f"{text}{after} SPACE?"
        return f"{space} ({quoted(thought.start.strip())} {text}{after} SPACE?)? {space}"

    def _calls(self, *, is_first_cut: bool) -> str:
        islands = self._format.calls
        first = self._islands(islands, cuts=is_first_cut)
        if not self._parallel or any(island.has_list for island in islands):
            return first
        following = self._islands(islands, cuts=False) if is_first_cut else first
        return f"{first} (SPACE? {self._rules.literal(self._format.gap.strip())} {following})*"

    def _islands(self, islands: Sequence[Island], *, cuts: bool) -> str:
        """Any of `islands`; `cuts`: the primer that some begin with has come already."""
        nodes = [self._cut(island) if cuts or island.is_weak else island.node for island in islands]
        return self._rules.rule(" | ".join(self._write(node, None) for node in nodes))

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
                return quoted(node.text) if node.is_exact else self._rules.literal(node.text)
            case Seq(parts):
                return self._sequence(parts, tool) or EMPTY
            case Choice(options):
                return self._choice(options, tool)
            case Many(item, separator):
                once = self._write(item, tool)
                return (
                    f"{once} (SPACE? {self._rules.literal(separator.strip())} SPACE? {once})*"
                    if self._parallel
                    else once
                )
            case Run():
                return self._run(node)
            case Call(body):
                return self._rules.rule(" | ".join(self._write(body, each) for each in self._tools))
            case Id(inner):
                return self._write(inner, tool)
        assert tool is not None, "all others stand in a call"
        return self._write_part(node, tool)

    def _sequence(self, parts: Sequence[Node], tool: _Tool | None) -> str:
        written = []
        for before, part in zip((None, *parts), parts):  # noqa: B905 (one is longer)
            text = self._write(part, tool)
            if isinstance(before, Name) and isinstance(part, Text) and _reads_on(part.text):
                text = f"SPACE {self._rules.literal(part.text.lstrip())}"
            written.append(text)
        return " ".join(written)

    def _write_part(self, node: Node, tool: _Tool) -> str:
        match node:
            case Name():
                return quoted(tool.name)
            case Arguments():
                return tool.values.arguments()
            case CallObject():
                return self._object(node, tool)
            case NamedObject():
                member = f'{quoted(json.dumps(tool.name))} SPACE? ":" SPACE? {tool.values.arguments()}'
                return f'"{{" SPACE? {member} SPACE? "}}"'
            case Fields(item, separator):
                return tool.values.fields(
                    f"{self._rules.literal(separator.strip())} SPACE?" if separator.strip() else "",
                    lambda key, value: self._write(item, replace(tool, key=key, value=value)),
                )
            case Key():
                return tool.values.key(tool.key)
            case Value():
                return tool.values.tagged(tool.value, node, tool.key)
            case Notated("gemma"):
                return f'"{{" {tool.values.fields(COMMA, tool.values.gemma_field)} "}}"'
            case Notated():
                return f'"(" {tool.values.fields(COMMA, tool.values.python_field)} ")"'
        raise AssertionError(f"{node} has no grammar")

    def _choice(self, options: Sequence[Node], tool: _Tool | None) -> str:
        """The options that a call can be in; for a value, those of its type."""
        if tool is None:
            options = [option for option in options if any(isinstance(part, Call) for part in walk(option))]
        else:
            options = [option for option in options if _can_be(option, tool)]
        return self._rules.rule(" | ".join(self._write(option, tool) for option in options))

    def _run(self, node: Run) -> str:
        return self._rules.rule(f"/({node.grammar})/" if node.grammar else f"/{node.chars}{{1,64}}/")

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
                return tool.values.arguments()
            case Id(inner):
                n_id = self._format.n_id
                chars = self._rules.rule(f"/[A-Za-z0-9]{{{n_id}}}/") if n_id < 32 else self._write(inner, tool)
                return f'"\\"" {chars} "\\""'


def _reads_on(text: str) -> bool:
    """Only white space tells this literal from a name before it."""
    return text[:1].isspace() and bool(re.match(NAME_CHARS, text.lstrip()))


def _can_be(option: Node, tool: _Tool) -> bool:
    """An option of a value is one that its schema allows."""
    kinds = tool.values.kinds(tool.value)
    for part in walk(option):
        match part:
            case Value(kind=Kind.STRING):
                return "string" in kinds
            case Value(kind=Kind.JSON):
                return bool(kinds - {"string"})
    return True
