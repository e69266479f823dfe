"""Patterns: what a model's calls and thoughts look like, as a tree. `reader` reads text by it, `lark` writes a grammar.

White space in literal text is a matter of taste: the grammar writes it as given, the parser takes any or none in its
place. Around raw values it counts.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

NAME_CHARS = r"[^\s\"'<>(){}\[\]:,=|]"
"""Characters of a tool's name, as a regular expression."""
KEY_CHARS = r"[^\s\"'<>(){}\[\]:,=|]"


class Role(enum.Enum):
    """What a text is."""

    REASONING = enum.auto()
    CONTENT = enum.auto()


class Kind(enum.Enum):
    """How a value of an argument is written."""

    SCHEMA = enum.auto()
    """As its schema has it: strings as they are, all others as JSON."""
    STRING = enum.auto()
    """As it is: it is a string."""
    JSON = enum.auto()
    """As JSON: it is no string."""


@dataclass(frozen=True, slots=True)
class Text:
    """Literal text, that of special tokens too."""

    text: str
    is_needed: bool = True
    """False: models leave it out at times, which does no harm."""
    is_exact: bool = False
    """Its white space is needed too."""


@dataclass(frozen=True, slots=True)
class Seq:
    """One after the other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several, which their first literals tell apart; the last may begin without one."""

    options: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Many:
    """Once or several times, `separator` in between."""

    item: Node
    separator: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """Some characters of a class, at least one, that say nothing."""

    chars: str
    grammar: str = ""
    """What of them the grammar allows, as a regular expression; empty for any."""


@dataclass(frozen=True, slots=True)
class Prose:
    """Free text, up to the first of `ends`, which are not part of it. The grammar ends it with the first of them."""

    role: Role
    ends: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool. Its name is in `body`, and then its arguments."""

    body: Node


@dataclass(frozen=True, slots=True)
class Name:
    """The tool's name."""


@dataclass(frozen=True, slots=True)
class Id:
    """The call's id: what `inner` reads."""

    inner: Node


@dataclass(frozen=True, slots=True)
class Arguments:
    """All arguments, as a JSON object."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the JSON object of a call: where it is, and what; a literal JSON text, or one of the three nodes."""

    path: tuple[str, ...]
    value: Name | Id | Arguments | Text


@dataclass(frozen=True, slots=True)
class CallObject:
    """A call as a JSON object. The parser takes members in any order, and passes over those it does not know."""

    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class NamedObject:
    """A call as a JSON object whose one member has the tool's name, and its arguments as value."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Arguments one by one, each as `item`, in which is a Key and a Value."""

    item: Node
    separator: str = ""
    end: str = ""
    """What follows the last, if it begins as an item does."""


@dataclass(frozen=True, slots=True)
class Key:
    """An argument's name."""


@dataclass(frozen=True, slots=True)
class Value:
    """An argument's value, from after `before` to before `after`; these count to the last space."""

    before: str
    after: str
    """May hold `{key}`, for the argument's name."""
    kind: Kind = Kind.SCHEMA
    cdata: bool = False
    """A string may be wrapped in `<![CDATA[` and `]]>`."""
    tag: str = ""
    """What tags begin with, where objects and arrays are tags within tags."""


@dataclass(frozen=True, slots=True)
class Notated:
    """Arguments, or one, in a notation of its own, by the name that `notation` has for it."""

    notation: str


Node = (
    Text
    | Seq
    | Choice
    | Many
    | Run
    | Prose
    | Call
    | Name
    | Id
    | Arguments
    | CallObject
    | NamedObject
    | Fields
    | Key
    | Value
    | Notated
)


def seq(*parts: Node | str) -> Node:
    """A sequence; strings are literal text. One part stands for itself, and what is empty is left out."""
    nodes = [Text(part) if isinstance(part, str) else part for part in parts if part != ""]
    return nodes[0] if len(nodes) == 1 else Seq(tuple(nodes))


def soft(text: str) -> Node:
    """Text that may be missing."""
    return Text(text, is_needed=False) if text.strip() else Seq(())


def words(text: str | Text) -> list[str]:
    """Literal text without its white space, unless that counts."""
    if isinstance(text, Text):
        return [text.text] if text.is_exact else text.text.split()
    return text.split()


def firsts(node: Node) -> tuple[str, ...]:
    """The literals that a node can begin with; empty where it can begin without one."""
    match node:
        case Text():
            return tuple(words(node)[:1])
        case Seq(parts):
            found: tuple[str, ...] = ()
            for part in parts:
                found += firsts(part)
                if not (isinstance(part, Text) and (not part.is_needed or not words(part))):
                    break
            return found
        case Choice(options):
            return tuple(word for option in options for word in firsts(option))
        case Many(item) | Call(item) | Id(item):
            return firsts(item)
        case CallObject() | NamedObject() | Arguments():
            return ("{",)
    return ()


def walk(node: Node) -> Iterator[Node]:
    """The node and all in it, in order."""
    yield node
    match node:
        case Seq(parts) | Choice(parts):
            for part in parts:
                yield from walk(part)
        case Many(inner) | Call(inner) | Id(inner) | Fields(inner):
            yield from walk(inner)


def literals(node: Node) -> Iterator[str]:
    """Every literal in a node."""
    for part in walk(node):
        match part:
            case Text(text):
                yield text
            case Prose(_, ends):
                yield from ends
            case Value(before, after):
                yield from (before, after)
            case Many(_, separator) | Fields(_, separator):
                yield separator


def without_calls(node: Node) -> Node | None:
    """What is left of a node where nothing can be called; None for nothing."""
    match node:
        case Call():
            return None
        case Seq(parts):
            left = [part for each in parts if (part := without_calls(each))]
            return Seq(tuple(left)) if len(left) == len(parts) else None
        case Choice(options):
            left = [option for each in options if (option := without_calls(each))]
            return Choice(tuple(left)) if left else None
        case Many(item):
            return node if without_calls(item) else None
    return node
