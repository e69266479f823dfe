"""Spans: which tokens the parts of an answer's text came from. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from .logprobs import Pieces, Utf8Decoder


class TokenSpans:
    """The tokens of one answer, by where their text ends; `locate` its parts in their order."""

    # text     [0 .... part) gap [part ........)
    # tokens   [0][1][2][3][4   ][5][6   ][7][8 ]     gaps, as tags are, belong to nobody; a token to one part at most

    def __init__(self, pieces: Pieces, n_before: int) -> None:
        """`n_before`: characters of the text that were not generated."""
        self._pieces = pieces
        self._decoder = Utf8Decoder("replace")
        self._starts: list[int] = []
        self._ends: list[int] = []
        """Of each token the characters that it has a byte of, half-open."""
        self._n_chars = self._at = n_before
        self._n_located = 0

    def locate(self, ids: Sequence[int], text: str, part: str) -> slice:
        """The tokens among `ids`, all so far, that the next `part` of the `text` so far came from."""
        for id_token in ids[len(self._ends) :]:
            self._starts.append(self._n_chars)
            self._n_chars += len(self._decoder.decode(self._pieces[id_token]))
            has_half = bool(self._decoder.getstate()[0])
            self._ends.append(self._n_chars + has_half)
        start = max(text.find(part, self._at), self._at)
        self._at = start + len(part)
        first = max(bisect_right(self._ends, start), self._n_located)
        self._n_located = max(first, bisect_left(self._starts, self._at))
        return slice(first, self._n_located)
