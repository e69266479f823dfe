"""Indentation: where an answer ends whose lines have to be indented (`n_indent`). Pure."""

from __future__ import annotations


class IndentRule:
    """Follows the text of one answer, given in parts. The first line is free, every other one has to begin with
    `n_indent` spaces or tabs; an empty line has none, as in llama-server."""

    def __init__(self, n_indent: int) -> None:
        self._n_indent = n_indent
        self._width: int | None = None  # of the indentation that the text stands in; None behind it

    def end(self, text: str) -> int | None:
        """How much of the next part may be shown, where the answer ends in it; None where it goes on."""
        for i, character in enumerate(text):
            if self._width is None:
                if character == "\n":
                    self._width = 0
            elif character in " \t":
                self._width += 1
            elif self._width < self._n_indent:
                return i
            else:
                self._width = 0 if character == "\n" else None
        return None
