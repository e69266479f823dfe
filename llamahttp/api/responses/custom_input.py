"""Custom input: the text that a custom tool is called with, out of a call's arguments while they come. Pure."""

from __future__ import annotations

import re

MEMBER = "input"
"""The only argument of the function that stands for a custom tool in a chat."""

_HEAD = f'{{"{MEMBER}":"'
_BEGINNING = re.compile(rf'\s*\{{\s*"{MEMBER}"\s*:\s*"')
_HEX = "[0-9a-fA-F]"
_CHARACTERS = re.compile(
    rf"""(?: [^"\\]+
          | \\[^u]
          | \\u[dD][89abAB]{_HEX}{{2}} (?: \\u{_HEX}{{4}} | (?=[^\\]|\\[^u]) )  # half a character
          | \\u(?![dD][89abAB]){_HEX}{{4}}
          | \\u(?={_HEX}{{0,3}}[^0-9a-fA-F])  # no escape
    )*""",
    re.VERBOSE,
)
_ESCAPE = re.compile(rf"\\(?:u({_HEX}{{4}})|(.))", re.DOTALL)
_SHORT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class CustomInput:
    """The text of one call. Arguments that are no object with an `input` of text are given as they stand."""

    def __init__(self) -> None:
        self._held = ""
        """What is not known the meaning of yet."""
        self._has_begun = False
        self._is_raw = False
        self._is_over = False

    def feed(self, text: str) -> str:
        """Take more of the arguments; the text that is new by it."""
        if self._is_over:
            return ""
        text = self._held + text
        if not self._has_begun:
            squeezed = "".join(text.split())
            if len(squeezed) < len(_HEAD) and _HEAD.startswith(squeezed):
                self._held = text
                return ""
            found = _BEGINNING.match(text)
            self._has_begun, self._is_raw, self._held = True, found is None, ""
            text = text[found.end() :] if found else text
        if self._is_raw:
            return text
        found = _CHARACTERS.match(text)
        assert found, "no character is a match too"
        self._held = text[found.end() :]
        self._is_over = self._held.startswith('"')
        return _unescaped(found.group())


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    text = _ESCAPE.sub(_meaning, text)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _meaning(escape: re.Match[str]) -> str:
    code, letter = escape.groups()
    return chr(int(code, 16)) if code else _SHORT.get(letter, letter)
