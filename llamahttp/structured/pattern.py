r"""Pattern: ECMA-262's regular expressions, as JSON Schema has them, in Rust's notation, which llguidance reads. Pure.

The same text means different things to both: `[[a]` and `[a&&b]` are operations on sets in Rust, `\d` is any digit of
Unicode there. Where ECMA-262 and Python's `re` do not agree, what is left is what both match, so that either kind of
validator is content.
"""

from __future__ import annotations

import re

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
SAME = frozenset("tnrfv")
QUANTIFIER = re.compile(r"\{([0-9]+)(?:,([0-9]*))?\}")
MAX_TIMES = 999_999
"""Of a quantifier."""
HEX = re.compile(r"x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|u\{[0-9A-Fa-f]{1,6}\}")
PROPERTY = re.compile(r"[pP]\{[A-Za-z_=]+\}")
NAMED = re.compile(r"\?P?<[A-Za-z_]\w*>")
CONTROL = re.compile(r"c[A-Za-z]")
SPECIAL = frozenset(r"\.+*?()|[]{}^$#&-~/")
LOOKING = {"?=": "lookahead", "?!": "lookahead", "?<=": "lookbehind", "?<!": "lookbehind"}


class PatternError(ValueError):
    """What of a pattern cannot be enforced, or read."""


def to_rust(pattern: str) -> str:
    """`pattern` in Rust's notation; it can stand between slashes. Raises PatternError, not for all that Rust refuses,
    such as a missing bracket."""
    if len(pattern) > MAX_PATTERN:
        raise PatternError(f"it has {len(pattern)} characters, more than the limit of {MAX_PATTERN}")
    return _Reader(pattern).read()


def whole(pattern: str) -> str:
    """`pattern` without anchors at its ends, which say nothing where it has to match a whole text."""
    ends = pattern.endswith("$") and (len(pattern) - len(pattern[:-1].rstrip("\\"))) % 2 != 0
    return pattern[pattern.startswith("^") : len(pattern) - ends]


class _Reader:
    """One pass over the text."""

    def __init__(self, text: str) -> None:
        self._text = text
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
        return char

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
        return self._read_character()

    def _read_character(self) -> str:
        """One escaped character, after the backslash."""
        found = self._take(HEX)
        if found:
            if found[0] == "u" and 0xD800 <= int(found[1:].strip("{}"), 16) < 0xE000:
                raise PatternError(f"'\\{found}' is half a character")
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
        parts = []
        while (char := self._next()) != "]":
            parts.append(self._read_member(char, is_negated=is_negated))
        if not parts:
            if is_negated:
                return "(?s:.)"
            raise PatternError("'[]' matches nothing")
        return f"[{'^' if is_negated else ''}{''.join(parts)}]"

    def _read_member(self, char: str, *, is_negated: bool) -> str:
        """A character, a range of two, or a class."""
        low = self._read_atom(char, is_negated=is_negated)
        following = self._text[self._at : self._at + 2]
        if not following.startswith("-") or following in ("-", "-]") or low.is_class:
            return low.text
        self._at += 1
        high = self._read_atom(self._next(), is_negated=is_negated)
        if high.is_class:
            return f"{low.text}\\-{high.text}"
        return f"{low.text}-{high.text}"

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
    """A part of a class."""

    def __init__(self, text: str, *, is_class: bool = False) -> None:
        self.text = text
        self.is_class = is_class


def _literal(char: str) -> str:
    return f"\\{char}" if char in SPECIAL else char
