"""Detect: a chat template's format, found by rendering conversations that differ in one thing and comparing. Pure.

Done once for a template, in some twenty renderings. What cannot be found so is in `formats`.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol

from . import formats
from .format import ChatFormat, Island, Thought, mark
from .pattern import (
    Arguments,
    Call,
    CallObject,
    Choice,
    Fields,
    Id,
    Key,
    Kind,
    Many,
    Member,
    Name,
    NamedObject,
    Node,
    Notated,
    Run,
    Text,
    Value,
    seq,
    soft,
    walk,
    words,
)

Message = dict[str, Any]

N_KEPT = 16
"""Templates whose formats are kept; a server has one or two."""

NAMES = ("probe_alpha", "probe_bravo")
KEYS = ("key_charlie", "key_delta")
ARGUMENTS = ({KEYS[0]: "VALUE_ECHO", KEYS[1]: 7351862}, {KEYS[0]: "VALUE_FOXTROT", KEYS[1]: 2681537})
IDS = ("callGolf1", "callHotl2")
CONTENT, REASON = "CONTENT_INDIA", "REASON_JULIET"
SEGMENT = re.compile(r"<[^<>\s][^<>]*>?|\[/?[A-Z_]+\]|\s+|[\[\]{},]|(?:(?!<[^<>\s]|\[/?[A-Z_]+\])[^\s\[\]{},])+")
"""A tag, maybe cut off, white space, a bracket or a comma, or other text."""
ID_CHARS = "[A-Za-z0-9_.:-]"
TOOL = {
    "type": "function",
    "function": {
        "name": "probe_lima",
        "description": "Probes.",
        "parameters": {
            "type": "object",
            "properties": {"mike": {"type": "string", "description": "One."}},
            "required": ["mike"],
        },
    },
}
"""What templates are given, so that they show calls at all; not what is called: that is to stand in the calls alone."""
USER = {"role": "user", "content": "USER_KILO"}


class Template(Protocol):
    """What is needed of a chat template."""

    source: str

    def probe(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[dict[str, Any]] | None = ...,
        add_generation_prompt: bool = ...,
        kwargs: dict[str, Any] = ...,
    ) -> str: ...


@functools.lru_cache(N_KEPT)
def detect(template: Template) -> ChatFormat:
    """The format of a template, found when it is asked for first; without calls where none can be understood."""
    samples = _Samples(template)
    known = formats.find(template.source)
    thought = known.thought or _thought(samples)
    marks = known.islands
    found = known
    if not known.calls:
        found = _calls(samples, thought) or ChatFormat()
        marks = marks or tuple(mark(tag) for tag in _wrappers(samples, thought))
        found = replace(found, islands=found.islands + marks)
    if thought and any(isinstance(node, Fields) for island in found.islands for node in walk(island.node)):
        thought = replace(thought, ends_with_call=True)
    return replace(found, thought=thought, n_id=_id_length(template))


def call(i: int, id_call: str = "") -> dict[str, Any]:
    function = {"name": NAMES[i], "arguments": json.dumps(ARGUMENTS[i])}
    return {"id": id_call or IDS[i], "type": "function", "function": function}


class _Samples:
    """The renderings that are compared."""

    def __init__(self, template: Template) -> None:
        self._template = template
        self.prompt = self.render([USER], add_generation_prompt=True)
        self.plain = self.turn(CONTENT)
        self.one = self.turn("", calls=[call(0)])
        self.two = self.turn("", calls=[call(0), call(1)])

    @property
    def source(self) -> str:
        return self._template.source

    def turn(self, content: str, *, calls: Sequence[Any] = (), **more: Any) -> str:
        message: Message = {"role": "assistant", "content": content, **more}
        if calls:
            message["tool_calls"] = list(calls)
        return self.render([USER, message])

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False, **kwargs: Any) -> str:
        """Empty if the template refuses."""
        return self._template.probe(messages, tools=[TOOL], add_generation_prompt=add_generation_prompt, kwargs=kwargs)


# --- text in segments


def segments(text: str) -> list[str]:
    return SEGMENT.findall(text)


def is_tag(segment: str) -> bool:
    return len(segment) > 2 and segment[0] in "<[" and segment[-1] in ">]"


def common_prefix(one: str, other: str) -> str:
    """The segments that both begin with."""
    same = ""
    for a, b in zip(segments(one), segments(other)):  # noqa: B905 (they differ in length)
        if a != b:
            break
        same += a
    return same


def common_suffix(one: str, other: str) -> str:
    same = ""
    for a, b in zip(reversed(segments(one)), reversed(segments(other))):  # noqa: B905
        if a != b:
            break
        same = a + same
    return same


# --- calls


@dataclass(frozen=True, slots=True)
class _Core:
    """A call without what surrounds it: half-open in its rendering, and what it looks like."""

    start: int
    stop: int
    node: Node
    closing: str = ""
    """Text after it that surely is a part of it."""


def _calls(samples: _Samples, thought: Thought | None) -> ChatFormat | None:
    """The format of calls; None if there is none, or none that can be understood."""
    body = _without_thought(_cut(samples.two, samples.plain), thought)
    if NAMES[1] in body:
        second = body.index(NAMES[1])
        first_core = _core(body, 0, 1, samples.source)
        second_core = _core(body, 1, 0, samples.source)
        if first_core and second_core and first_core.stop <= second_core.start and second > first_core.start:
            return _surrounded(body, first_core, second_core, samples)
        return None
    body = _without_thought(_cut(samples.one, samples.plain), thought)
    core = _core(body, 0, 0, samples.source) if NAMES[0] in body else None
    if core is None:
        return None
    opening, closing = body[: core.start], body[core.stop :]
    node = Call(seq(opening.lstrip(), core.node, *_closings(closing, core)))
    return replace(_one_island(node, opening, samples), max_calls=1)


def _without_thought(body: str, thought: Thought | None) -> str:
    """`body` without an empty thought that it begins with."""
    if thought is None or not body.lstrip().startswith(thought.start.strip()):
        return body
    return body.partition(thought.end.strip())[2]


def _cut(text: str, plain: str) -> str:
    """What is in `text` and not in a message without calls: without the turn's beginning and end."""
    at = text.find(NAMES[0])
    if at < 0:
        return ""
    body = text[len(common_prefix(text[:at], plain)) :]
    tail = plain[plain.rfind(CONTENT) + len(CONTENT) :]
    ends = [segment for segment in segments(tail) if is_tag(segment)]
    last = max(body.rfind(str(value)) for arguments in ARGUMENTS for value in (*arguments.values(), *IDS))
    stops = [body.find(end, last) for end in ends if end in body[last:]]
    return body[: min(stops)] if stops else body[: len(body) - len(common_suffix(body[last:], plain))]


def _surrounded(body: str, first: _Core, second: _Core, samples: _Samples) -> ChatFormat:
    """Two calls in what surrounds them: the markers of each, of both together, and what is in between."""
    before, between, after = body[: first.start], body[first.stop : second.start], body[second.stop :]
    opening = common_suffix(before, between)
    opening = opening if words(opening) else ""
    between = between[: len(between) - len(opening)]
    closing = common_prefix(between, after)
    closing = closing if words(closing) else ""
    gap = between[len(closing) :]
    section = before[: len(before) - len(opening)]
    end = after[len(closing) :]
    one = Call(seq(opening if words(section) else opening.lstrip(), first.node, *_closings(closing, first)))
    if not words(section):
        return replace(_one_island(one, opening, samples), gap=gap)
    island = Island(seq(section.lstrip(), Many(one, gap), *_softened(end)))
    return ChatFormat("detected", islands=(island,))


def _closings(closing: str, core: _Core) -> list[Node]:
    """What ends a call: needed where its arguments come one by one, and else harmless if missing."""
    if isinstance(core.node, CallObject | NamedObject) or not any(isinstance(node, Fields) for node in walk(core.node)):
        return _softened(closing)
    parts = segments(closing)
    n_needed = next((i + 1 for i, part in enumerate(parts) if words(part)), 0)
    return [Text("".join(parts[:n_needed])), *_softened("".join(parts[n_needed:]))] if n_needed else []


def _softened(closing: str) -> list[Node]:
    return [soft(closing)] if words(closing) else []


def _one_island(node: Call, opening: str, samples: _Samples) -> ChatFormat:
    if words(opening):
        return ChatFormat("detected", islands=(Island(node),))
    tag = "<|python_tag|>"
    if tag in samples.source:
        node = Call(seq(soft(tag), node.body))
    trigger = r'^\s*(\{\s*"name"\s*:\s*"(?:NAMES)")'
    return ChatFormat("detected", islands=(Island(node, is_weak=True),), triggers=(trigger,))


def _core(body: str, i: int, other: int, source: str) -> _Core | None:
    """The `i`-th call in `body`; the `other` one helps to tell what varies."""
    objects = list(_objects(body))
    shown = next((o for o in objects if o[2] == ARGUMENTS[i]), None)
    whole = [o for o in objects if _holds(o[2], NAMES[i], ARGUMENTS[i])]
    if whole:
        start, stop, value = min(whole, key=lambda o: o[1] - o[0])
        rival = next((o[2] for o in objects if _holds(o[2], NAMES[other], ARGUMENTS[other])), value)
        return _Core(start, stop, _object_node(value, rival, i))
    if shown is not None:
        return _tagged_json(body, i, shown[0], shown[1])
    name = body.find(NAMES[i])
    if name < 0:
        return None
    if body[name + len(NAMES[i]) :].startswith(f"({KEYS[0]}="):
        stop = body.index(")", name) + 1
        return _Core(name, stop, seq(Name(), Notated("python")))
    return _tagged_fields(body, i, source)


def _objects(text: str) -> Iterator[tuple[int, int, Any]]:
    """Every JSON object in a text: half-open, and its value."""
    decoder = json.JSONDecoder()
    for found in re.finditer("{", text):
        try:
            value, stop = decoder.raw_decode(text, found.start())
        except ValueError:
            continue
        yield found.start(), stop, value


def _holds(value: Any, name: str, arguments: dict[str, Any]) -> bool:
    """An object has these somewhere in it."""
    paths = dict(_paths(value))
    return any(v == name or path[-1] == name for path, v in paths.items()) and arguments in paths.values()


def _paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict):
        for key, member in value.items():
            yield (*path, key), member
            yield from _paths(member, (*path, key))


def _object_node(value: dict[str, Any], rival: dict[str, Any], i: int) -> Node:
    if list(value) == [NAMES[i]]:
        return NamedObject()
    rivals = dict(_paths(rival))
    members = []
    for path, member in _paths(value):
        found: Any
        if member == NAMES[i]:
            found = Name()
        elif member == ARGUMENTS[i]:
            found = Arguments()
        elif KEYS[0] in path or KEYS[1] in path or isinstance(member, dict):
            continue
        elif member == IDS[i]:
            found = Id(Run(ID_CHARS))
        elif rivals.get(path) != member:
            found = Id(Run("[0-9]"))
        else:
            found = Text(json.dumps(member))
        members.append(Member(path, found))
    return CallObject(tuple(members))


def _tagged_json(body: str, i: int, start: int, stop: int) -> _Core | None:
    """Name, id and arguments in the order in which they stand, and the text in between."""
    places = [(start, stop, Arguments())]
    name = body.rfind(NAMES[i], 0, start)
    if name < 0:
        return None  # arguments of who knows what
    id_call = body.find(IDS[i])
    places.append((name, name + len(NAMES[i]), Name()))  # type: ignore[arg-type]
    if 0 <= id_call < start:
        places.append((id_call, id_call + len(IDS[i]), Id(Run(ID_CHARS))))  # type: ignore[arg-type]
    return _joined(body, places)


def _joined(body: str, places: Sequence[tuple[int, int, Any]]) -> _Core:
    parts: list[Node | str] = []
    places = sorted(places, key=lambda place: place[0])
    for (start, stop, node), following in zip(places, [*places[1:], None], strict=True):
        parts.append(node)
        if following is not None:
            parts.append(body[stop : following[0]])
        assert start < stop
    return _Core(places[0][0], places[-1][1], seq(*parts))


def _tagged_fields(body: str, i: int, source: str) -> _Core | None:
    """Arguments each between tags of its own."""
    name = body.index(NAMES[i])
    values = [str(value) for value in ARGUMENTS[i].values()]
    at, spans = name, []
    for text in (NAMES[i], KEYS[0], values[0], KEYS[1], values[1]):
        at = body.find(text, at)
        if at < 0:
            return None
        spans.append((at, at + len(text)))
        at += len(text)
    to_key, to_text, to_next, to_number = (body[a[1] : b[0]] for a, b in pairwise(spans))
    opening = common_suffix(to_key, to_next)
    rest = to_next[: len(to_next) - len(opening)]
    ending = common_prefix(rest, body[spans[-1][1] :])
    item = seq(opening, Key(), _value(to_text, to_number, ending, has_cdata="<![CDATA[" in source))
    head: list[Node | str] = [Name(), to_key[: len(to_key) - len(opening)]]
    id_call = body.find(IDS[i])
    if 0 <= id_call < name:
        head = [Id(Run(ID_CHARS)), body[id_call + len(IDS[i]) : name], *head]
    start = id_call if 0 <= id_call < name else name
    return _Core(start, spans[-1][1] + len(ending), seq(*head, Fields(item, rest[len(ending) :])))


def _value(to_text: str, to_number: str, ending: str, *, has_cdata: bool) -> Node:
    """A value: what stands before a string and before a number may tell which of them it is."""
    before = to_text[len(to_text.rstrip()) :]
    if to_text == to_number:
        return seq(to_text.rstrip(), Value(before, ending, cdata=has_cdata))
    same = 0
    while to_text[same : same + 1] == to_number[same : same + 1]:
        same += 1
    while to_text[same - 1 : same].isalpha():
        same -= 1
    ends = (i for i in range(same, len(to_text) + 1) if not to_text[i : i + 1].isalpha())
    rest = next(i for i in ends if to_number.endswith(to_text[i:]))
    kinds = "false|true" if to_text[same:rest] in ("true", "false") else "object|array|number|integer|boolean|null"
    other = to_number[same : len(to_number) - len(to_text) + rest]
    tail = to_text[rest:].rstrip()
    is_flag = other in ("true", "false")
    return seq(
        to_text[:same],
        Choice(
            (
                seq(to_text[same:rest] + tail, Value(before, ending, Kind.STRING)),
                seq(Run("[a-z]", other if is_flag else kinds), tail, Value(before, ending, Kind.JSON)),
            )
        ),
    )


def _id_length(template: Template) -> int:
    """9 for templates that refuse any other length, as Mistral's do."""
    return 9 if not _takes_id(template, "a" * 32) and _takes_id(template, "a" * 9) else 32


def _takes_id(template: Template, id_call: str) -> bool:
    message = {"role": "assistant", "content": "", "tool_calls": [call(0, id_call)]}
    return bool(template.probe([USER, message], tools=[TOOL], add_generation_prompt=True))


# --- reasoning, and what surrounds content


def _thought(samples: _Samples) -> Thought | None:
    """The tags of reasoning, as a message shows them, or else the usual ones if the template has them."""
    for text in _with_reasoning(samples):
        at = text.find(REASON)
        if at < 0:
            continue
        start, end = _last_tag(text[:at]), _first_tag(text[at + len(REASON) :])
        if words(start) and words(end):
            return Thought(start, end)
    if "</think>" in samples.source:
        return Thought("<think>\n", "\n</think>\n\n")
    return None


def _with_reasoning(samples: _Samples) -> Iterator[str]:
    for name in ("reasoning_content", "reasoning", "thinking"):
        yield samples.turn(CONTENT, **{name: REASON})
        yield samples.turn("", calls=[call(0)], **{name: REASON})


def _last_tag(text: str) -> str:
    """The last tag of a text, with what follows it."""
    parts = segments(text)
    at = next((i for i in reversed(range(len(parts))) if is_tag(parts[i])), None)
    return "" if at is None else "".join(parts[at:])


def _first_tag(text: str) -> str:
    """The first tag of a text, with the white space around it."""
    parts = segments(text)
    at = next((i for i, part in enumerate(parts) if is_tag(part)), None)
    if at is None or words("".join(parts[:at])):
        return ""
    after = parts[at + 1] if at + 1 < len(parts) and not words(parts[at + 1]) else ""
    return "".join(parts[: at + 1]) + after


def _wrappers(samples: _Samples, thought: Thought | None) -> list[str]:
    """Tags right before content that the prompt does not end with, and the one that ends it then."""
    at = samples.plain.find(CONTENT)
    if at < 0:
        return []
    before = samples.plain[:at]
    before = before[len(common_prefix(before, samples.prompt)) :]
    tags = [segment for segment in segments(before) if is_tag(segment)]
    if thought:
        tags = [tag for tag in tags if tag not in thought.start + thought.end]
    if not tags:
        return []
    after = [segment for segment in segments(samples.plain[at + len(CONTENT) :]) if is_tag(segment)]
    return list(dict.fromkeys(tags + after[:1]))
