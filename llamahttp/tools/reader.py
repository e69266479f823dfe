"""Reader: what an island holds, read by the format's tree: recursive descent, down to the arguments of calls. Pure."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence

from ..text import encodable
from . import notation, schema
from .events import CallBegin, CallEnd, CallText
from .format import ChatFormat
from .incoming import End, Incoming, Mismatch, Steps
from .json_text import JsonScanner, dump, escape, is_json, is_object, load
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
    words,
)
from .voice import Voice

CDATA, CDATA_END = "<![CDATA[", "]]>"


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


class NodeReader:
    """Reads the islands of one answer. Its readers raise Mismatch where the text does not fit, and End."""

    def __init__(
        self,
        text: Incoming,
        voice: Voice,
        format: ChatFormat,
        tools: Mapping[str, schema.Schema],
        make_id: Callable[[int], str],
    ) -> None:
        self.n_calls = 0
        """Calls that were shown."""
        self.n_whole = 0
        """Calls that are whole."""
        self.is_malformed = False
        """The arguments of one are no JSON object."""
        self._text = text
        self._voice = voice
        self._format = format
        self._tools = tools
        self._needs_known = any(island.is_weak for island in format.calls)
        self._make_id = make_id
        self._call = _OpenCall()

    @property
    def is_in_call(self) -> bool:
        """A call was shown whose end has not come."""
        return self._call.index >= 0 and not self._call.is_over

    def island(self, node: Node) -> Steps:
        self._call = _OpenCall()
        yield from self._node(node)

    # --- nodes

    def _node(self, node: Node) -> Steps:
        match node:
            case Text():
                yield from self._literal(node)
            case Seq(parts):
                for part in parts:
                    yield from self._node(part)
            case Choice(options):
                yield from self._choice(options)
            case Many(item, separator):
                yield from self._many(item, separator)
            case Run(chars):
                yield from self._text.run(chars)
            case Prose(role, ends):
                yield from self._island_prose(role, ends)
            case Call(body):
                yield from self._read_call(body)
            case Name():
                self._name((yield from self._text.name(tuple(self._tools), NAME_CHARS)))
            case Id(inner):
                yield from self._read_id(inner)
            case Arguments():
                yield from self._arguments()
            case CallObject() | NamedObject():
                yield from self._call_object(node)
            case Fields():
                yield from self._fields(node)
            case Key():
                known = tuple(schema.properties(self._call.schema))
                self._call.key = yield from self._text.name(known, KEY_CHARS)
            case Value():
                yield from self._value(node)
            case Notated(name):
                yield from self._notated(notation.NOTATIONS[name])

    def _literal(self, node: Text) -> Steps:
        for word in words(node):
            if node.is_needed:
                yield from self._text.needs(word)
            elif not (yield from self._text.takes(word)):
                rest = self._text.rest().strip()
                if self._text.is_cut and rest and word.startswith(rest):
                    self._text.at = self._text.end  # the answer was ended in the middle of it
                return

    def _choice(self, options: Sequence[Node]) -> Steps:
        by_word = {word: option for option in options for word in firsts(option)}
        word = yield from self._text.next_word(tuple(by_word))
        option = by_word.get(word) or next((option for option in options if not firsts(option)), None)
        if option is None:
            raise Mismatch
        yield from self._node(option)

    def _many(self, item: Node, separator: str) -> Steps:
        yield from self._node(item)
        begins, between = firsts(item), words(separator)
        while (yield from self._text.takes(*between)) if between else (yield from self._text.next_word(begins)):
            yield from self._node(item)

    def _island_prose(self, role: Role, ends: Sequence[str]) -> Steps:
        """Free text that an island holds, and its end: it is shown as it comes."""
        text, start = self._text, self._text.hold
        assert start is not None, "no call stands before it"
        opening, text.hold = text.since(start), None
        if role is Role.CONTENT:
            hit = yield from text.prose(ends, self._voice.say)
        else:
            hit = yield from self._voice.read_thought(text, opening, tuple(ends))
        yield from text.takes(hit)

    # --- calls

    def _read_call(self, body: Node) -> Steps:
        """One call. What follows its arguments is no part of it, should it be missing."""
        self._call = call = _OpenCall()
        if self._text.hold is None:
            self._text.keep()
        try:
            yield from self._node(body)
        except End:
            if self._text.is_cut or not call.has_fields or call.key:
                raise
        if not call.is_over:
            self._begin_arguments()
            self.say_argument("}" if call.text else "{}")
            self._end_arguments()
        self._text.hold = None

    def _name(self, name: str) -> None:
        if self._needs_known and self._tools and name not in self._tools:
            raise Mismatch
        self._call.name = encodable(name)
        self._call.schema = self._tools.get(name)

    def _read_id(self, inner: Node) -> Steps:
        yield from self._text.skip_space()
        assert self._text.hold is not None, "an id comes before the call is shown"
        start = self._text.at
        yield from self._node(inner)
        self._call.id = self._text.since(start).strip()

    def _begin_arguments(self) -> None:
        """The name is known: show the call."""
        call = self._call
        if call.index >= 0:
            return
        if not call.name:
            raise Mismatch
        call.index, self.n_calls = self.n_calls, self.n_calls + 1
        call.id = call.id or self._make_id(self._format.n_id)
        self._text.hold = None
        self._voice.show(CallBegin(call.index, call.id, call.name))

    def say_argument(self, text: str) -> None:
        if text:
            self._call.text.append(text)
            self._voice.show(CallText(self._call.index, text))

    def _end_arguments(self) -> None:
        call = self._call
        call.is_over = True
        if not call.text:
            self.say_argument("{}")
        if is_object("".join(call.text)):
            self.n_whole += 1
            self._voice.show(CallEnd(call.index))
        else:
            self.is_malformed = True

    def _arguments(self) -> Steps:
        """A JSON object, as it is written, or what stands for one."""
        yield from self._text.skip_space()
        if self._text.next() == "{":
            self._begin_arguments()
            yield from self._shown_json()
            self._end_arguments()
        else:
            self._whole_arguments((yield from self._json()))

    def _whole_arguments(self, text: str) -> None:
        """The JSON of an object, or of a text that holds it; `null` and an empty text are none. Raises Mismatch."""
        value = load(text)
        if isinstance(value, str):
            text = encodable(value)
        if value in (None, ""):
            text = "{}"
        if not is_object(text):
            raise Mismatch
        self._begin_arguments()
        self.say_argument(text)
        self._end_arguments()

    def _shown_json(self) -> Steps:
        """A JSON value, shown as it comes."""
        scanner = JsonScanner()
        while True:
            self.say_argument(self._text.take(scanner.feed))
            if scanner.is_done:
                return
            yield from self._text.more()

    def _json(self) -> Generator[None, None, str]:
        """The text of a JSON value."""
        yield from self._text.skip_space()
        scanner, parts = JsonScanner(), []
        while True:
            parts.append(self._text.take(scanner.feed))
            if scanner.is_done:
                break
            yield from self._text.more()
        text = "".join(parts)
        if not is_json(text):
            raise Mismatch
        return text

    # --- calls that are JSON

    def _call_object(self, node: CallObject | NamedObject) -> Steps:
        later: list[str] = []
        yield from self._members(node, (), later)
        if not self._call.name:
            raise Mismatch
        if not self._call.is_over and later:
            self._whole_arguments(later[-1])

    def _members(self, node: CallObject | NamedObject, path: tuple[str, ...], later: list[str]) -> Steps:
        """The members of the object at `path`. Arguments that come before the name go to `later`."""
        yield from self._text.needs("{")
        if (yield from self._text.takes("}")):
            return
        while True:
            yield from self._text.skip_space()
            if self._text.next() != '"':
                raise Mismatch
            key = load((yield from self._json()))
            yield from self._text.needs(":")
            yield from self._member(node, (*path, key), later)
            if not (yield from self._text.takes(",")):
                break
        yield from self._text.needs("}")

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
                    raise Mismatch
                self._name(name)
            case Arguments() if self._call.name:
                yield from self._arguments()
            case Arguments():
                later.append((yield from self._json()))
            case Id():
                id_call = load((yield from self._json()))
                if self._call.index < 0:
                    self._call.id = encodable(id_call) if isinstance(id_call, str) else dump(id_call)
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
        while (yield from self._text.next_word((*begins, *end))) in begins:
            yield from self._node(node.item)
            if between and not (yield from self._text.takes(*between)):
                break

    def _begin_field(self) -> None:
        call = self._call
        self.say_argument(f"{', ' if call.n_fields else '{'}{dump(call.key)}: ")
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
            before = yield from self._text.sees((node.before,))
            self._text.at += len(before)
        after = node.after.replace("{key}", call.key)
        if node.cdata and (yield from self._text.sees((CDATA,))):
            self._text.at += len(CDATA)
            yield from self._text_value((CDATA_END,))
            yield from self._literal(Text(after))
        elif node.kind is Kind.STRING or (node.kind is Kind.SCHEMA and kinds == {"string"}):
            yield from self._text_value(_ends(after))
        else:
            parts: list[str] = []
            end = yield from self._text.prose(_ends(after), parts.append, trims=False)
            if not end:
                raise End
            self._text.at += len(end)
            text = "".join(parts)
            nested = node.tag and notation.nested(text, node.tag, schema.properties(root).get(call.key), root)
            self.say_argument(nested or to_json(text, kinds))
        self._end_field()

    def _text_value(self, ends: Sequence[str]) -> Steps:
        self.say_argument('"')
        end = yield from self._text.prose(ends, lambda text: self.say_argument(escape(text)), trims=False)
        if not end:
            raise End
        self._text.at += len(end)
        self.say_argument('"')

    def _notated(self, how: notation.Notation) -> Steps:
        """Arguments in a notation of their own, shown when they are whole."""
        self._begin_arguments()
        scanner, parts = how.scanner(), []
        while not scanner.is_done:
            parts.append(self._text.take(scanner.feed))
            if not scanner.is_done:
                yield from self._text.more()
        text = "".join(parts)
        try:
            self.say_argument(encodable(dump(how.read(text, self._call.schema))))
        except ValueError:
            self.say_argument(text)
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
            return stripped if read is load else encodable(dump(value))
    return dump(text)
