"""Parser: from the text of an answer, in pieces as they come, to events. Pure; one parser an answer.

Recursive descent over the format's tree, in generators that wait where text is missing: nothing is read twice, and only
what may be the beginning of a literal is held back. Nothing that a model writes is an error: what does not fit is
content, if nothing of the call was shown yet, and else goes on as the text of its arguments; `is_malformed` tells.
"""

from __future__ import annotations

import enum
import re
import secrets
import string
from collections.abc import Callable, Generator, Mapping, Sequence

from ..text import find_first, open_tail
from . import notation, schema
from .events import CallBegin, CallEnd, CallText, Content, Event, Reasoning, append
from .format import ChatFormat, Island
from .json_text import JsonScanner, dump, escape, is_json, load
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
    Role,
    Run,
    Seq,
    Text,
    Value,
    firsts,
    literals,
    words,
)

Steps = Generator[None, None, None]
"""Reading that goes on when there is more text."""
MAX_RUN = 1024
"""Characters of a name, a key or an id."""
ALPHABET = string.ascii_letters + string.digits
CDATA, CDATA_END = "<![CDATA[", "]]>"


class ThoughtsIn(enum.Enum):
    """Where the thoughts go."""

    REASONING = enum.auto()
    CONTENT = enum.auto()
    """With the tags, as they came."""
    BOTH = enum.auto()


class _Mismatch(Exception):
    """The text does not go on as the pattern does."""


class _End(Exception):
    """There is no more text."""


def random_id(n: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(n))


class _OpenCall:
    """The call that is being read."""

    def __init__(self) -> None:
        self.index = -1
        """-1 until it has been announced."""
        self.id = ""
        self.name = ""
        self.key = ""
        self.has_fields = False
        self.n_fields = 0
        self.schema: schema.Schema = None
        self.text: list[str] = []
        self.is_over = False


class Parser:
    """`feed` the text of one answer, then `finish`."""

    def __init__(
        self,
        format: ChatFormat,
        tools: Mapping[str, schema.Schema] = {},
        *,
        is_open: bool = False,
        primer: str = "",
        thoughts: ThoughtsIn = ThoughtsIn.REASONING,
        make_id: Callable[[int], str] = random_id,
    ) -> None:
        """`tools`: the parameters of each, by name. `is_open`: the prompt has begun a thought already. `primer`:
        what of the prompt's end is the beginning of an island."""
        self.is_malformed = False
        """Something in it was to be a call and is none."""
        self.n_whole = 0
        """Calls that are whole."""
        self.is_plain = False
        """All that comes from now on is content."""
        self._format = format
        self._tools = tools
        self._thoughts = thoughts
        self._make_id = make_id
        self._n_calls = 0
        self._buffer = primer
        self._at = 0
        self._hold: int | None = None
        """From where on the text is kept, should it turn out to be content."""
        self._is_cut = self._is_over = False
        self._has_content = self._has_thought = False
        self._call = _OpenCall()
        self._events: list[Event] = []
        self._steps = self._answer(is_open)
        self._go_on()

    @property
    def has_whole_calls(self) -> bool:
        """There are calls, and nothing is wrong with any."""
        return self.n_whole == self._n_calls > 0 and not self.is_malformed

    def feed(self, text: str) -> list[Event]:
        """Take text; return what it shows, perhaps nothing."""
        keep = self._at if self._hold is None else self._hold
        self._buffer = self._buffer[keep:] + text
        self._at -= keep
        if self._hold is not None:
            self._hold = 0
        return self._go_on()

    def finish(self, *, is_cut: bool = False) -> list[Event]:
        """The rest, when no more text comes; `is_cut`: the answer was ended before the model did."""
        self._is_over, self._is_cut = True, is_cut
        return self._go_on()

    def _go_on(self) -> list[Event]:
        next(self._steps, None)
        events, self._events = self._events, []
        return events

    # --- the text

    def _more(self) -> Steps:
        """Wait for more text. Raises _End."""
        if self._is_over:
            raise _End
        yield

    def _rest(self) -> str:
        return self._buffer[self._at :]

    def _skip_space(self) -> Steps:
        """Pass over white space: something else follows then. Raises _End."""
        while True:
            rest = self._rest()
            stripped = rest.lstrip()
            self._at += len(rest) - len(stripped)
            if stripped:
                return
            yield from self._more()

    def _sees(self, found: Sequence[str]) -> Generator[None, None, str]:
        """Which of these literals comes next, the longest; empty if none does."""
        while True:
            begins = [word for word in found if self._buffer.startswith(word, self._at)]
            n_left = len(self._buffer) - self._at
            longest = max(begins, key=len, default="")
            if self._is_over or not any(
                len(word) > max(n_left, len(longest)) and word.startswith(self._rest()) for word in found
            ):
                return longest
            yield

    def _next_word(self, found: Sequence[str]) -> Generator[None, None, str]:
        """Which of these literals comes after white space, which then is passed over; empty if none does."""
        is_mine = self._hold is None
        start = self._at if self._hold is None else self._hold
        n_before, self._hold = self._at - start, start
        try:
            yield from self._skip_space()
            word = yield from self._sees(found)
        except _End:
            word = ""
        if not word:
            self._at = self._hold + n_before
        if is_mine:
            self._hold = None
        return word

    def _takes(self, *found: str) -> Generator[None, None, bool]:
        """Whether one of these literals comes after white space; both then are passed over."""
        word = yield from self._next_word(found)
        self._at += len(word)
        return bool(word)

    def _needs(self, word: str) -> Steps:
        """Pass over a literal, after white space. Raises _Mismatch, or _End where it may yet have come."""
        if not (yield from self._takes(word)):
            if self._is_over and word.startswith(self._rest().strip()):
                raise _End
            raise _Mismatch

    def _run(self, chars: str) -> Generator[None, None, str]:
        """Some characters of a class, at least one."""
        yield from self._skip_space()
        is_mine = self._hold is None
        start = self._at if self._hold is None else self._hold
        n_before, self._hold = self._at - start, start
        pattern = re.compile(f"{chars}{{0,{MAX_RUN}}}")
        while True:
            found = pattern.match(self._buffer, self._hold + n_before)
            assert found, "any text begins with none or several of them"
            if found.end() < len(self._buffer) or self._is_over:
                break
            yield
        self._at = found.end()
        if is_mine:
            self._hold = None
        if not found.group() or len(found.group()) == MAX_RUN:
            raise _Mismatch
        return found.group()

    # --- what is shown

    def _show(self, event: Event) -> None:
        append(self._events, event)

    def _say(self, text: str) -> None:
        if text:
            self._has_content = True
            self._show(Content(text))

    def _think(self, text: str) -> None:
        if not self._has_thought:
            text = text.lstrip()
        if text:
            self._has_thought = True
            self._show(Reasoning(text))

    # --- the answer

    def _answer(self, is_open: bool) -> Steps:
        yield
        thought = self._format.thought
        try:
            if thought and (is_open or (yield from self._takes(thought.start.strip()))):
                if not is_open or self._thoughts is ThoughtsIn.BOTH:
                    self._keep_tag(thought.start.strip())
                yield from self._thought(thought.end.strip(), ends_with_call=thought.ends_with_call)
        except _End:
            return  # with a thought
        while True:
            island = yield from self._content()
            if island is None:
                return
            yield from self._island(island)

    def _keep_tag(self, text: str) -> None:
        if self._thoughts is not ThoughtsIn.REASONING:
            self._say(text)

    def _thought(self, end: str, *, ends_with_call: bool) -> Steps:
        """Reasoning, up to its end or, where that is usual, the beginning of a call."""
        calls = tuple(word for island in self._format.calls for word in island.firsts) if ends_with_call else ()
        if self._thoughts is not ThoughtsIn.REASONING:
            yield from self._shown_thought(end)
            return
        hit = yield from self._prose((end, *calls), self._think)
        if hit == end:
            yield from self._takes(end)
        yield from self._skip_space()

    def _shown_thought(self, end: str) -> Steps:
        """Reasoning with its tag, and the white space around it, as content."""
        hit = yield from self._prose((end,), self._show_thought, trims=False)
        self._at += len(hit)
        self._say(hit)

    def _show_thought(self, text: str) -> None:
        """Reasoning that is content, or both."""
        self._say(text)
        if self._thoughts is ThoughtsIn.BOTH:
            self._think(text)

    def _prose(
        self, ends: Sequence[str], show: Callable[[str], None], *, trims: bool = True
    ) -> Generator[None, None, str]:
        """Show text up to one of `ends`, which comes next then; empty if the text has ended.

        `trims`: the white space before an end is not shown, and comes next.
        """
        while True:
            rest = self._rest()
            hit = find_first(rest, ends)
            n_ready = hit[0] if hit else len(rest) if self._is_over else open_tail(rest, ends)
            text = rest[:n_ready].rstrip() if trims else rest[:n_ready]
            show(text)
            self._at += len(text)
            if hit:
                return hit[1]
            if self._is_over:
                return ""
            yield

    def _content(self) -> Generator[None, None, Island | None]:
        """Show content up to an island."""
        islands = self._format.islands
        ends = {word: island for island in islands for word in island.firsts}
        if any(island.is_weak for island in islands):
            if not self._has_content:  # such an island begins the answer, or is none
                word = yield from self._next_word(tuple(ends))
                if word:
                    return ends[word]
            ends = {word: island for word, island in ends.items() if not island.is_weak}
        self.is_plain = not ends
        word = yield from self._prose(tuple(ends), self._say, trims=bool(ends))
        if not word and not self._n_calls:
            self._say(self._rest())
        return ends[word] if word else None

    def _island(self, island: Island) -> Steps:
        """Read an island. What turns out to be none is content, and what breaks off later goes on as arguments."""
        self._hold = self._at
        self._call = call = _OpenCall()
        try:
            yield from self._node(island.node)
            self._hold = None
        except (_Mismatch, _End) as error:
            if self._hold is None:
                call = self._call
                if call.index >= 0 and not call.is_over:
                    self.is_malformed |= not self._is_cut
                    yield from self._broken(island)
                return
            self._is_none(island, self._hold, has_ended=isinstance(error, _End))

    def _is_none(self, island: Island, start: int, *, has_ended: bool) -> None:
        """What began at `start` is content."""
        self._hold = None
        is_call = island.has_call and not island.is_weak
        if has_ended:
            self._at = len(self._buffer)
            if is_call and self._is_cut:  # half a call, of which nothing was shown
                return
        elif self._at == start:
            begins = self._buffer[start:].lstrip()
            word = next(word for word in island.firsts if begins.startswith(word))
            self._at = self._buffer.index(word, start) + len(word)
        self._say(self._buffer[start : self._at])
        self.is_malformed |= is_call

    def _broken(self, island: Island) -> Steps:
        """The rest of a call that has been shown in part, up to what ends it, as it is."""
        last = [word for text in literals(island.node) for word in words(text)][-1:]
        hit = yield from self._prose(tuple(last), self._say_argument)
        yield from self._takes(hit)

    # --- nodes

    def _node(self, node: Node) -> Steps:
        match node:
            case Text():
                yield from self._text(node)
            case Seq(parts):
                for part in parts:
                    yield from self._node(part)
            case Choice(options):
                yield from self._choice(options)
            case Many(item, separator):
                yield from self._many(item, separator)
            case Run(chars):
                yield from self._run(chars)
            case Prose(role, ends):
                yield from self._island_prose(role, ends)
            case Call(body):
                yield from self._read_call(body)
            case Name():
                self._name((yield from self._run(NAME_CHARS)))
            case Id(inner):
                yield from self._read_id(inner)
            case Arguments():
                yield from self._arguments()
            case CallObject() | NamedObject():
                yield from self._call_object(node)
            case Fields():
                yield from self._fields(node)
            case Key():
                self._call.key = yield from self._run(KEY_CHARS)
            case Value():
                yield from self._value(node)
            case Notated(name):
                yield from self._notated(notation.NOTATIONS[name])

    def _text(self, node: Text) -> Steps:
        for word in words(node):
            if node.is_needed:
                yield from self._needs(word)
            elif not (yield from self._takes(word)):
                rest = self._rest().strip()
                if self._is_cut and rest and word.startswith(rest):
                    self._at = len(self._buffer)  # the answer was ended in the middle of it
                return

    def _choice(self, options: Sequence[Node]) -> Steps:
        by_word = {word: option for option in options for word in firsts(option)}
        word = yield from self._next_word(tuple(by_word))
        option = by_word.get(word) or next((option for option in options if not firsts(option)), None)
        if option is None:
            raise _Mismatch
        yield from self._node(option)

    def _many(self, item: Node, separator: str) -> Steps:
        yield from self._node(item)
        begins, between = firsts(item), words(separator)
        while (yield from self._takes(*between)) if between else (yield from self._next_word(begins)):
            yield from self._node(item)

    def _island_prose(self, role: Role, ends: Sequence[str]) -> Steps:
        """Free text that an island holds, and its end: it is shown as it comes."""
        opening = self._buffer[self._hold : self._at]
        self._hold = None
        if role is Role.CONTENT:
            hit = yield from self._prose(ends, self._say)
        elif self._thoughts is ThoughtsIn.REASONING:
            self._has_thought = False
            hit = yield from self._prose(ends, self._think)
        else:
            self._say(opening)
            hit = yield from self._prose(ends, self._show_thought, trims=False)
            self._say(hit)
        yield from self._takes(hit)

    # --- calls

    def _read_call(self, body: Node) -> Steps:
        """One call. What follows its arguments is no part of it, should it be missing."""
        self._call = call = _OpenCall()
        if self._hold is None:
            self._hold = self._at
        try:
            yield from self._node(body)
        except _End:
            if self._is_cut or not call.has_fields or call.key:
                raise
        if not call.is_over:
            self._begin_arguments()
            self._say_argument("}" if call.text else "{}")
            self._end_arguments()
        self._hold = None

    def _name(self, name: str) -> None:
        if self._tools and name not in self._tools and any(island.is_weak for island in self._format.calls):
            raise _Mismatch
        self._call.name = name
        self._call.schema = self._tools.get(name)

    def _read_id(self, inner: Node) -> Steps:
        yield from self._skip_space()
        assert self._hold is not None, "an id comes before the call is shown"
        start = self._at - self._hold
        yield from self._node(inner)
        self._call.id = self._buffer[self._hold + start : self._at].strip()

    def _begin_arguments(self) -> None:
        """The name is known: show the call."""
        call = self._call
        if call.index >= 0:
            return
        if not call.name:
            raise _Mismatch
        call.index, self._n_calls = self._n_calls, self._n_calls + 1
        call.id = call.id or self._make_id(self._format.n_id)
        self._hold = None
        self._show(CallBegin(call.index, call.id, call.name))

    def _say_argument(self, text: str) -> None:
        if text:
            self._call.text.append(text)
            self._show(CallText(self._call.index, text))

    def _end_arguments(self) -> None:
        call = self._call
        call.is_over = True
        if not call.text:
            self._say_argument("{}")
        if is_json("".join(call.text)):
            self.n_whole += 1
            self._show(CallEnd(call.index))
        else:
            self.is_malformed = True

    def _arguments(self) -> Steps:
        """A JSON object, as it is written; or one in a JSON string."""
        yield from self._skip_space()
        if self._buffer[self._at] == '"':
            text = load((yield from self._json()))
            if not is_json(text):
                raise _Mismatch
            self._begin_arguments()
            self._say_argument(text)
        elif self._buffer[self._at] == "{":
            self._begin_arguments()
            yield from self._shown_json()
        else:
            raise _Mismatch
        self._end_arguments()

    def _shown_json(self) -> Steps:
        """A JSON value, shown as it comes."""
        scanner = JsonScanner()
        while True:
            start = self._at
            self._at = scanner.feed(self._buffer, start)
            self._say_argument(self._buffer[start : self._at])
            if scanner.is_done:
                return
            yield from self._more()

    def _json(self) -> Generator[None, None, str]:
        """The text of a JSON value."""
        yield from self._skip_space()
        scanner, parts = JsonScanner(), []
        while True:
            start = self._at
            self._at = scanner.feed(self._buffer, start)
            parts.append(self._buffer[start : self._at])
            if scanner.is_done:
                break
            if self._is_over:
                raise _End
            yield
        text = "".join(parts)
        if not is_json(text):
            raise _Mismatch
        return text

    # --- calls that are JSON

    def _call_object(self, node: CallObject | NamedObject) -> Steps:
        later: list[str] = []
        yield from self._members(node, (), later)
        if not self._call.name:
            raise _Mismatch
        if not self._call.is_over and later:
            self._begin_arguments()
            self._say_argument(later[-1])
            self._end_arguments()

    def _members(self, node: CallObject | NamedObject, path: tuple[str, ...], later: list[str]) -> Steps:
        """The members of the object at `path`. Arguments that come before the name go to `later`."""
        yield from self._needs("{")
        if (yield from self._takes("}")):
            return
        while True:
            yield from self._skip_space()
            if self._buffer[self._at] != '"':
                raise _Mismatch
            key = load((yield from self._json()))
            yield from self._needs(":")
            yield from self._member(node, (*path, key), later)
            if not (yield from self._takes(",")):
                break
        yield from self._needs("}")

    def _member(self, node: CallObject | NamedObject, path: tuple[str, ...], later: list[str]) -> Steps:
        if isinstance(node, NamedObject):
            self._name(path[0])
            yield from self._arguments()
            return
        found = next((member.value for member in node.members if member.path == path), None)
        match found:
            case Name():
                name = load((yield from self._json()))
                if not isinstance(name, str):
                    raise _Mismatch
                self._name(name)
            case Arguments() if self._call.name:
                yield from self._arguments()
            case Arguments():
                later.append((yield from self._json()))
            case Id():
                id_call = load((yield from self._json()))
                if self._call.index < 0:
                    self._call.id = id_call if isinstance(id_call, str) else dump(id_call)
            case _ if any(member.path[: len(path)] == path for member in node.members if len(member.path) > len(path)):
                yield from self._members(node, path, later)
            case _:
                yield from self._json()

    # --- calls whose arguments come one by one

    def _fields(self, node: Fields) -> Steps:
        """Arguments up to the last; the call closes their object when its own end has come."""
        self._begin_arguments()
        self._call.has_fields = True
        begins, between, end = firsts(node.item), words(node.separator), tuple(words(node.end))
        while (yield from self._next_word((*begins, *end))) in begins:
            yield from self._node(node.item)
            if between and not (yield from self._takes(*between)):
                break

    def _begin_field(self) -> None:
        call = self._call
        self._say_argument(f"{', ' if call.n_fields else '{'}{dump(call.key)}: ")
        call.n_fields += 1

    def _end_field(self) -> None:
        self._call.key = ""

    def _value(self, node: Value) -> Steps:
        """A value between its tags: text as it comes, others when they are whole."""
        call = self._call
        root = call.schema
        kinds = schema.types(schema.properties(root).get(call.key), root) if root is not None else schema.TYPES
        self._begin_field()
        if node.before:
            before = yield from self._sees((node.before,))
            self._at += len(before)
        after = node.after.replace("{key}", call.key)
        if node.cdata and (yield from self._sees((CDATA,))):
            self._at += len(CDATA)
            yield from self._text_value((CDATA_END,))
            yield from self._text(Text(after))
        elif node.kind is Kind.STRING or (node.kind is Kind.SCHEMA and kinds == {"string"}):
            yield from self._text_value(_ends(after))
        else:
            parts: list[str] = []
            end = yield from self._prose(_ends(after), parts.append, trims=False)
            if not end:
                raise _End
            self._at += len(end)
            text = "".join(parts)
            nested = node.tag and notation.nested(text, node.tag, schema.properties(root).get(call.key), root)
            self._say_argument(nested or to_json(text, kinds))
        self._end_field()

    def _text_value(self, ends: Sequence[str]) -> Steps:
        self._say_argument('"')
        end = yield from self._prose(ends, lambda text: self._say_argument(escape(text)), trims=False)
        if not end:
            raise _End
        self._at += len(end)
        self._say_argument('"')

    def _notated(self, how: notation.Notation) -> Steps:
        """Arguments in a notation of their own, shown when they are whole."""
        self._begin_arguments()
        scanner, parts = how.scanner(), []
        while not scanner.is_done:
            start = self._at
            self._at = scanner.feed(self._buffer, start)
            parts.append(self._buffer[start : self._at])
            if not scanner.is_done:
                yield from self._more()
        text = "".join(parts)
        try:
            self._say_argument(dump(how.read(text, self._call.schema)))
        except ValueError:
            self._say_argument(text)
        self._end_arguments()


def _ends(after: str) -> tuple[str, ...]:
    """`after` as given, and without its white space, should that be missing."""
    return tuple(dict.fromkeys((after, after.strip()))) if after.strip() else (after,)


def to_json(text: str, kinds: frozenset[str]) -> str:
    """The JSON of a raw value: as it is, if it is JSON of one of the `kinds`, else a string of it."""
    stripped = text.strip()
    for read in (load, notation.python_literal):
        try:
            value = read(stripped)
        except ValueError:
            continue
        kind = schema.type_of(value)
        if "string" not in kinds or kind in kinds - {"string"} or (kind == "integer" and "number" in kinds):
            return stripped if read is load else dump(value)
    return dump(text)
