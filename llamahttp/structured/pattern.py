r"""Pattern: ECMA-262's regular expressions, as JSON Schema has them, in Rust's notation, which llguidance reads. Pure.

The same text means different things to both: `[[a]` and `[a&&b]` are operations on sets in Rust, `\d` is any digit of
Unicode there. Where ECMA-262 and Python's `re` do not agree, what is left is what both match, so that either kind of
validator is content.
"""

from __future__ import annotations

import re
import sys

MAX_PATTERN = 8192
"""Characters."""
BLANKS = r"\t\n\x0b\x0c\r \u00a0"
LINE_ENDS = r"\n\r\u2028\u2029"
PLUS = {"d": "0-9", "w": "0-9A-Za-z_", "s": BLANKS}
"""Classes that stand for characters: as few as any dialect has."""
WIDE = {
    "d": r"\p{Nd}",
    "w": r"\p{L}\p{M}\p{N}\p{Pc}\u200c\u200d",
    "s": r"\t-\r\x1c-\x20\x85\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff",
}
"""The same, where they stand for all other characters: as many as in any dialect."""
SAME = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v"}
QUANTIFIER = re.compile(r"\{([0-9]+)(?:,([0-9]*))?\}")
MAX_TIMES = 999_999
"""Of a quantifier."""
HEX = re.compile(r"x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|u\{[0-9A-Fa-f]{1,6}\}")
PROPERTY = re.compile(r"[pP]\{[A-Za-z_=]+\}")
NAMED = re.compile(r"\?P?<[A-Za-z_]\w*>")
CONTROL = re.compile(r"c[A-Za-z]")
SPECIAL = frozenset(r"\.+*?()|[]{}^$#&-~/")
NEVER = r"\x00-\x07\x0b\x0e-\x1f\x7f"
"""Characters that no string of an answer holds, since the compiler writes them only as `\\u`, which keys may not have.
It leaves such a one out of a row of others, so that it must not stand alone."""
NEVER_IN_JSON = re.compile(f"[{NEVER}]")
LOOKING = {"?=": "lookahead", "?!": "lookahead", "?<=": "lookbehind", "?<!": "lookbehind"}


class PatternError(ValueError):
    """What of a pattern cannot be enforced, or read."""


def to_rust(pattern: str, *, in_json: bool = False) -> str:
    """`pattern` in Rust's notation; it can stand between slashes. With `in_json` it is for a string in JSON, which may
    hold fewer characters. Raises PatternError, not for all that Rust refuses, such as a missing bracket."""
    if len(pattern) > MAX_PATTERN:
        raise PatternError(f"it has {len(pattern)} characters, more than the limit of {MAX_PATTERN}")
    return _Reader(pattern, in_json=in_json).read()


def whole(pattern: str) -> str:
    """`pattern` without anchors at its ends, which say nothing where it has to match a whole text."""
    ends = pattern.endswith("$") and (len(pattern) - len(pattern[:-1].rstrip("\\"))) % 2 != 0
    return pattern[pattern.startswith("^") : len(pattern) - ends]


class _Reader:
    """One pass over the text."""

    def __init__(self, text: str, *, in_json: bool) -> None:
        self._text = text
        self._in_json = in_json
        self._at = 0

    def read(self) -> str:
        parts = []
        while self._at < len(self._text):
            parts.append(self._read_part())
        return "".join(parts)

    def _read_part(self) -> str:
        char = self._next()
        match char:
            case "\\":
                return self._read_escape()
            case "[":
                return self._read_class()
            case "(":
                return self._read_group()
            case ".":
                return f"[^{LINE_ENDS}]"
            case "{":
                return self._read_quantifier()
            case "}" | "]" | "/":
                return f"\\{char}"
            case "\n":
                return r"\n"
        return self._writable(char)

    def _next(self) -> str:
        char = self._text[self._at : self._at + 1]
        if not char:
            raise PatternError("it ends too early")
        self._at += 1
        return char

    def _take(self, what: re.Pattern[str]) -> str:
        found = what.match(self._text, self._at)
        if found:
            self._at = found.end()
            return found.group()
        return ""

    def _read_quantifier(self) -> str:
        found = QUANTIFIER.match(self._text, self._at - 1)
        if not found:
            return r"\{"
        if any(len(times.lstrip("0")) > len(str(MAX_TIMES)) for times in found.groups(default="")):
            raise PatternError(f"the repetition '{found.group()}' is beyond the limit of {MAX_TIMES} times")
        self._at = found.end()
        return found.group()

    def _read_group(self) -> str:
        if not self._text.startswith("?", self._at):
            return "("
        if self._text.startswith("?:", self._at):
            self._at += 2
            return "(?:"
        if self._take(NAMED):
            return "(?:"
        kinds = [kind for mark, kind in LOOKING.items() if self._text.startswith(mark, self._at)]
        raise PatternError(f"a {kinds[-1]} cannot be enforced" if kinds else "'(?' begins a group of an unknown kind")

    def _read_escape(self) -> str:
        char = self._text[self._at : self._at + 1]
        if char in PLUS and char:
            self._at += 1
            return f"[{PLUS[char]}]"
        if char.lower() in WIDE and char:
            self._at += 1
            return f"[^{WIDE[char.lower()]}]"
        if char in ("b", "B"):
            raise PatternError(f"the word boundary '\\{char}' cannot be enforced")
        return self._writable(self._read_character())

    def _writable(self, text: str) -> str:
        """`text`, which stands for one character."""
        char = _character(text)
        if self._in_json and NEVER_IN_JSON.fullmatch(char):
            raise PatternError(f"the control character {char!r} cannot be enforced")
        return text

    def _read_character(self) -> str:
        """One escaped character, after the backslash."""
        found = self._take(HEX)
        if found:
            code = int(found[1:].strip("{}"), 16)
            if 0xD800 <= code < 0xE000:
                raise PatternError(f"'\\{found}' is half a character")
            if code > sys.maxunicode:
                raise PatternError(f"'\\{found}' is no character")
            return f"\\{found}"
        found = self._take(PROPERTY)
        if found:
            return f"\\{found}"
        found = self._take(CONTROL)
        if found:
            return f"\\x{ord(found[1]) & 31:02x}"
        char = self._next()
        if char in SAME:
            return f"\\{char}"
        if char == "0" and not self._text[self._at : self._at + 1].isdigit():
            return r"\x00"
        if char.isdigit() or char == "k":
            raise PatternError(f"the backreference '\\{char}' cannot be enforced")
        if char.isascii() and char.isalnum():
            raise PatternError(f"'\\{char}' is not known")
        return _literal(char)

    # --- classes

    def _read_class(self) -> str:
        is_negated = self._text.startswith("^", self._at)
        self._at += is_negated
        parts, is_none_in_json = [], True
        while (char := self._next()) != "]":
            member = self._read_member(char, is_negated=is_negated)
            parts.append(member.text)
            is_none_in_json &= member.is_none_in_json
        if not parts:
            if is_negated:
                return "(?s:.)"
            raise PatternError("'[]' matches nothing")
        if self._in_json and is_negated:
            parts.append(NEVER)  # so that it is not one of them that is left
        elif self._in_json and is_none_in_json:
            raise PatternError("control characters cannot be enforced, and one of its '[]' holds nothing else")
        return f"[{'^' if is_negated else ''}{''.join(parts)}]"

    def _read_member(self, char: str, *, is_negated: bool) -> _Atom:
        """A character, a range of two, or a class."""
        low = self._read_atom(char, is_negated=is_negated)
        following = self._text[self._at : self._at + 2]
        if not following.startswith("-") or following in ("-", "-]") or low.is_class:
            return low
        self._at += 1
        high = self._read_atom(self._next(), is_negated=is_negated)
        if high.is_class:
            return _Atom(f"{low.text}\\-{high.text}", is_class=True)
        return _Atom(f"{low.text}-{high.text}", last=high.last, first=low.first)

    def _read_atom(self, char: str, *, is_negated: bool) -> _Atom:
        if char != "\\":
            return _Atom(_literal(char))
        kind = self._text[self._at : self._at + 1]
        if kind and kind in PLUS:
            self._at += 1
            return _Atom(WIDE[kind] if is_negated else PLUS[kind], is_class=True)
        if kind and kind.lower() in WIDE:
            self._at += 1
            few, many = PLUS[kind.lower()], WIDE[kind.lower()]
            return _Atom(f"[^{few if is_negated else many}]", is_class=True)
        if kind == "b":
            self._at += 1
            return _Atom(r"\x08")
        if kind in ("p", "P"):
            return _Atom(self._read_character(), is_class=True)
        return _Atom(self._read_character())


class _Atom:
    """A part of a class: characters from the first to the last, or a class."""

    def __init__(self, text: str, *, is_class: bool = False, first: str = "", last: str = "") -> None:
        self.text = text
        self.is_class = is_class
        self.first = first or _character(text)
        self.last = last or self.first

    @property
    def is_none_in_json(self) -> bool:
        if self.is_class or not self.first <= self.last <= "\x7f":
            return False
        return all(NEVER_IN_JSON.fullmatch(chr(code)) for code in range(ord(self.first), ord(self.last) + 1))


def _character(text: str) -> str:
    """What stands for one character in Rust's notation, as itself; longer, if it is a class."""
    kind, code = text[1:2], text[2:]
    if kind in ("x", "u") and code:
        return chr(int(code.strip("{}"), 16))
    if kind in SAME:
        return SAME[kind]
    return text[1:] or text


def _literal(char: str) -> str:
    return f"\\{char}" if char in SPECIAL else char
