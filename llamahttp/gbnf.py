"""GBNF: llama.cpp's grammar notation, read and rewritten in the Lark notation that llguidance takes. Pure.

Every terminal becomes exactly one character. A lexer takes the longest match, and with these it has nothing to choose:
the language is the one that llama-server's own matcher accepts, character for character. Left recursion, which that
one refuses, is allowed. What it crashes on, or never ends with, is an error here: deep nesting, `x{5,2}`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from .characters import ANY, Ranges, complement, regex, without_nul
from .errors import InvalidRequest

MAX_CHARACTERS = 64 << 10
"""Of a grammar's text: reading it takes some three microseconds each, and llguidance has room for 65,000 symbols."""
MAX_DEPTH = 100
"""Brackets in brackets."""
MAX_REFERENCES = 500
"""Rules that lead to other rules in a row: llguidance compiles them recursively, and some 1,500 end the process."""
MAX_REPETITION = 2000
"""As in llama-server: more of a minimum is an error, more of a maximum is none."""
MAX_OPTIONAL = 800
"""Parts in a row that may all be left out: llguidance would follow every way through them before it gives up."""
ROOT = "root"
BLANKS = " \t"
LINE_ENDS = "\r\n"
NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
DIGITS = frozenset("0123456789")
REPETITIONS = frozenset("*+?{")
BEGINNINGS = NAME | frozenset('"[<!(.')
HEX_DIGITS = {"x": 2, "u": 4, "U": 8}
ESCAPES = {"t": "\t", "r": "\r", "n": "\n", "\\": "\\", '"': '"', "[": "[", "]": "]", "-": "-"}

FindToken = Callable[[str], int | None]
"""The token that a text is, or None if it is none or several."""


class GrammarError(InvalidRequest):
    """A grammar that cannot be read; the message names the place."""


@dataclass(slots=True)
class _Item:
    """The last thing of a sequence, which a repetition may follow: Lark symbols, and how many rules they stand for."""

    symbols: list[str]
    n_rules: int = 1


@dataclass(slots=True)
class _Rule:
    """Alternatives of a rule, in Lark notation."""

    alternatives: list[str] = field(default_factory=list)

    def references(self) -> list[int]:
        """The rules that it names, in order."""
        symbols = (symbol for alternative in self.alternatives for symbol in alternative.split())
        return [_rule_of(symbol) for symbol in symbols if symbol.startswith("r")]


def to_lark(text: str, n_tokens: int, find_token: FindToken = lambda text: None) -> str:
    """The Lark grammar of a GBNF grammar; `n_tokens` bounds the ids that it may name. Raises GrammarError."""
    return _Reader(text, n_tokens, find_token).read()


class _Reader:
    """One pass over the text, one function a construct; groups and repetitions become rules of their own."""

    def __init__(self, text: str, n_tokens: int, find_token: FindToken) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._n_tokens = n_tokens
        self._find_token = find_token
        self._ids: dict[str, int] = {}
        self._used: dict[str, int] = {}  # rule names that are referred to, and where first
        self._rules: dict[int, _Rule] = {}
        self._n_rules = 0
        self._terminals: dict[Ranges, str] = {}

    def read(self) -> str:
        if len(self._text) > MAX_CHARACTERS:
            raise GrammarError(
                f"failed to parse grammar: it has {len(self._text)} characters, more than the limit of {MAX_CHARACTERS}"
            )
        nul = self._text.find("\0")
        if nul >= 0:
            raise self._error("a NUL character", nul)
        self._skip(newlines=True)
        while self._at < len(self._text):
            self._read_rule()
        self._check_names()
        return self._lark()

    def _check_names(self) -> None:
        for name, at in self._used.items():
            if self._ids[name] not in self._rules:
                raise self._error(f"undefined rule identifier '{name}'", at)
        if ROOT not in self._ids:
            raise GrammarError(f"failed to parse grammar: grammar does not contain a '{ROOT}' symbol")
        n_optional = _most_optional(self._rules)
        if n_optional > MAX_OPTIONAL:
            raise GrammarError(
                f"failed to parse grammar: {n_optional} optional parts in a row "
                f"are more than the limit of {MAX_OPTIONAL}"
            )
        depth = reference_depth(self._ids[ROOT], {number: rule.references() for number, rule in self._rules.items()})
        if depth > MAX_REFERENCES:
            raise GrammarError(
                f"failed to parse grammar: more than {MAX_REFERENCES} rules lead from one to the next, the limit"
            )

    def _lark(self) -> str:
        # no forcing: a text that must come may come in any tokens, not only in those that it would be tokenised to
        lines = ['%llguidance {"no_forcing": true}', f"start: r{self._ids[ROOT]}"]
        lines += [f"r{number}: {' | '.join(rule.alternatives)}" for number, rule in self._rules.items()]
        lines += [f"{name}: {regex(ranges)}" for ranges, name in self._terminals.items()]
        return "\n".join(lines)

    # --- rules

    def _read_rule(self) -> None:
        name = self._read_name()
        self._skip()
        self._expect("::=")
        self._skip(newlines=True)
        rule = self._rules[self._id(name)] = _Rule()  # a second definition replaces the first, as in llama-server
        self._read_alternatives(rule, nested=False)
        if self._at < len(self._text):
            if self._peek() not in LINE_ENDS:
                raise self._error("expecting newline or end")
            self._skip(newlines=True)

    def _read_alternatives(self, rule: _Rule, *, nested: bool) -> None:
        rule.alternatives.append(self._read_sequence(nested=nested))
        while self._peek() == "|":
            self._at += 1
            self._skip(newlines=True)
            rule.alternatives.append(self._read_sequence(nested=nested))

    def _read_sequence(self, *, nested: bool) -> str:
        symbols: list[str] = []
        last = _Item([])
        while char := self._peek():
            if char in REPETITIONS:
                last = self._repeat(last, *self._read_repetition(nested=nested))
            elif char in BEGINNINGS:
                symbols += last.symbols
                last = self._read_item(char)
            else:
                break
            self._skip(newlines=nested)
        return " ".join([*symbols, *last.symbols])

    def _read_item(self, char: str) -> _Item:
        if char == '"':
            return self._read_literal()
        if char == "[":
            return self._read_class()
        if char in "<!":
            return self._read_token()
        if char in NAME:
            at = self._at
            name = self._read_name()
            self._used.setdefault(name, at)
            return _Item([f"r{self._id(name)}"])
        if char == "(":
            return self._read_group()
        self._at += 1
        return _Item([self._terminal(ANY)])  # a dot

    def _read_group(self) -> _Item:
        if self._depth == MAX_DEPTH:
            raise self._error(f"brackets are nested more than {MAX_DEPTH} deep")
        self._depth += 1
        self._at += 1
        self._skip(newlines=True)
        before = self._n_rules
        number = self._new_id()
        rule = self._rules[number] = _Rule()
        self._read_alternatives(rule, nested=True)
        self._expect(")")
        self._depth -= 1
        return _Item([f"r{number}"], self._n_rules - before)

    # --- repetitions

    def _read_repetition(self, *, nested: bool) -> tuple[int, int | None]:
        """Least and most times; None is no limit."""
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        char = self._peek()
        self._at += 1
        if char in simple:
            return simple[char]
        self._skip(newlines=nested)
        at = self._at
        least = self._read_int()
        most: int | None = least
        self._skip(newlines=nested)
        if self._peek() == ",":
            self._at += 1
            self._skip(newlines=nested)
            most = self._read_int() if self._peek() in DIGITS else None
            self._skip(newlines=nested)
        self._expect("}")
        if least > MAX_REPETITION:
            raise self._error(f"{least} repetitions are more than the limit of {MAX_REPETITION}", at)
        if most is not None and most < least:
            raise self._error(f"at least {least} and at most {most} repetitions", at)
        return least, None if most is not None and most > MAX_REPETITION else most

    def _repeat(self, item: _Item, least: int, most: int | None) -> _Item:
        if not item.symbols:
            raise self._error("expecting preceding item to */+/?/{")
        times = max(1, most or least)
        if item.n_rules * times > MAX_REPETITION:
            raise self._error(f"repetitions of repetitions are more than the limit of {MAX_REPETITION}")
        if most == 0:
            return _Item([])
        symbol = item.symbols[0]
        if len(item.symbols) > 1 or "{" in symbol:
            number = self._new_id()
            self._rules[number] = _Rule([" ".join(item.symbols)])
            symbol = f"r{number}"
        self._n_rules += 1 if most is None else most - least  # as many rules as llama-server makes of it
        limits = f"{least}," if most is None else f"{least},{most}"
        return _Item([f"{symbol}{{{limits}}}"], item.n_rules * times)

    # --- terminals

    def _read_literal(self) -> _Item:
        self._at += 1
        symbols = []
        while self._peek() != '"':
            code = self._read_char()
            symbols.append(self._terminal(without_nul([(code, code)])))
        self._at += 1
        return _Item(symbols)

    def _read_class(self) -> _Item:
        self._at += 1
        inverse = self._peek() == "^"
        self._at += inverse
        ranges: list[tuple[int, int]] = []
        while self._peek() != "]":
            low = high = self._read_char()
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] != "]":
                self._at += 1
                high = self._read_char()
            ranges.append((low, high))
        self._at += 1
        if not ranges:
            return _Item([])  # llama-server takes `[]` and `[^]` for nothing at all
        return _Item([self._terminal(complement(ranges) if inverse else without_nul(ranges))])

    def _read_char(self) -> int:
        """The code point of a character, escaped or not."""
        char = self._peek()
        if not char:
            raise self._error("unexpected end of input")
        self._at += 1
        if char != "\\":
            return ord(char)
        kind = self._peek()
        if kind in ESCAPES:
            self._at += 1
            return ord(ESCAPES[kind])
        if kind not in HEX_DIGITS:
            raise self._error("unknown escape", self._at - 1)
        n = HEX_DIGITS[kind]
        digits = self._text[self._at + 1 : self._at + 1 + n]
        if len(digits) < n or not all(digit in "0123456789abcdefABCDEF" for digit in digits):
            raise self._error(f"expecting {n} hex chars", self._at + 1)
        self._at += 1 + n
        return int(digits, 16)

    def _terminal(self, ranges: Ranges) -> str:
        return self._terminals.setdefault(ranges, f"T{len(self._terminals)}")

    def _read_token(self) -> _Item:
        """`<[id]>`, `<text>`, or `!` and one of these for every other token."""
        at = self._at
        inverse = self._peek() == "!"
        self._at += inverse
        begin = self._at
        self._expect("<")
        if self._peek() == "[":
            self._at += 1
            token: int | None = self._read_int()
            self._expect("]>")
        else:
            end = self._text.find(">", self._at)
            if end < 0:
                raise self._error("expecting '>'", len(self._text))
            self._at = end + 1
            token = self._find_token(self._text[begin : self._at])
        if token is None:
            raise self._error(f"invalid token '{self._text[begin : self._at]}', which is not one token", at)
        if token >= self._n_tokens:
            raise self._error(f"token {token} is not in the vocabulary of {self._n_tokens} tokens", at)
        return _Item([f"<[{self._others(token) if inverse else token}]>"])

    def _others(self, token: int) -> str:
        """All tokens but one, as ranges of ids."""
        ranges = ((0, token - 1), (token + 1, self._n_tokens - 1))
        return ",".join(f"{low}-{high}" for low, high in ranges if low <= high)

    # --- characters

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _expect(self, word: str) -> None:
        if not self._text.startswith(word, self._at):
            raise self._error(f"expecting '{word}'")
        self._at += len(word)

    def _skip(self, *, newlines: bool = False) -> None:
        """Blanks and comments; also ends of lines where these mean nothing."""
        text, n = self._text, len(self._text)
        while self._at < n:
            char = text[self._at]
            if char == "#":
                while self._at < n and text[self._at] not in LINE_ENDS:
                    self._at += 1
            elif char in BLANKS or (newlines and char in LINE_ENDS):
                self._at += 1
            else:
                return

    def _read_name(self) -> str:
        return self._read_while(NAME, "a name")

    def _read_int(self) -> int:
        at = self._at
        digits = self._read_while(DIGITS, "an integer")
        if len(digits) > 18:
            raise self._error(f"the number {digits[:18]}... is too large", at)
        return int(digits)

    def _read_while(self, allowed: frozenset[str], what: str) -> str:
        begin = self._at
        while self._peek() in allowed:
            self._at += 1
        if self._at == begin:
            raise self._error(f"expecting {what}")
        return self._text[begin : self._at]

    # --- names and errors

    def _id(self, name: str) -> int:
        if name not in self._ids:
            self._ids[name] = self._new_id()
        return self._ids[name]

    def _new_id(self) -> int:
        self._n_rules += 1
        return self._n_rules

    def _error(self, reason: str, at: int | None = None) -> GrammarError:
        at = self._at if at is None else at
        line = self._text.count("\n", 0, at) + 1
        column = at - self._text.rfind("\n", 0, at)
        return GrammarError(f"failed to parse grammar: line {line}, column {column}: {reason}")


def _rule_of(symbol: str) -> int:
    """The number of a rule's symbol, repeated or not."""
    return int(symbol[1:].partition("{")[0])


def _most_optional(rules: dict[int, _Rule]) -> int:
    """The most parts in a row, of any alternative, each of which may be left out."""
    sequences = [(number, text.split()) for number, rule in rules.items() for text in rule.alternatives]
    empty = _empty_rules(sequences)
    most = n = 0
    for _, symbols in sequences:
        for symbol in (*symbols, ""):
            n = n + 1 if "{0," in symbol or (symbol.startswith("r") and _rule_of(symbol) in empty) else 0
            most = max(most, n)
    return most


def _empty_rules(sequences: list[tuple[int, list[str]]]) -> set[int]:
    """The rules that match the empty text, of pairs of a rule and one of its alternatives."""
    n_needed: list[int] = []  # of each alternative: symbols that are not known to match the empty text
    users: defaultdict[int, list[int]] = defaultdict(list)
    for i, (_, symbols) in enumerate(sequences):
        needed = [symbol for symbol in symbols if "{0," not in symbol]
        n_needed.append(len(needed))
        for symbol in needed:
            if symbol.startswith("r"):
                users[_rule_of(symbol)].append(i)
    empty: set[int] = set()
    found = [number for (number, _), n in zip(sequences, n_needed, strict=True) if n == 0]
    while found:
        number = found.pop()
        if number in empty:
            continue
        empty.add(number)
        for i in users[number]:
            n_needed[i] -= 1
            if n_needed[i] == 0:
                found.append(sequences[i][0])
    return empty


def reference_depth(root: int, references: dict[int, list[int]]) -> int:
    """How deep a walk from `root` gets that visits each rule once, the first reference first."""
    seen, deepest = {root}, 1
    path = [iter(references[root])]
    while path:
        number = next((number for number in path[-1] if number not in seen), None)
        if number is None:
            path.pop()
        else:
            seen.add(number)
            path.append(iter(references[number]))
            deepest = max(deepest, len(path))
    return deepest
