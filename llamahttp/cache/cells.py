"""Cells: how many cells of a unified KV cache are in use, where sequences share what they have in common. Pure.

libllama does not tell, and asking by trying fails in the middle of a step. Positions of a sequence are a chain of
spans, of which a copy shares every one; a span is freed with its last user.

    sequence 0   [0 ........ 300)[300 .... 420)
    sequence 1   [0 ........ 300)              [300 .. 310)      a copy of 0, cut at 300 and continued
    in use        300             120           10
"""

from __future__ import annotations


class Span:
    """Cells of positions [start, stop), the same ones for all that stand on it."""

    __slots__ = ("n_users", "parent", "start", "stop")

    def __init__(self, parent: Span | None, start: int, stop: int) -> None:
        self.parent = parent
        self.start = start
        self.stop = stop
        self.n_users = 1
        """Spans that continue this one, and sequences that end in it."""


class CellLedger:
    """Counts cells. Every method mirrors what was done to the memory itself."""

    def __init__(self, n_cells: int) -> None:
        self.n_cells = n_cells
        self.n_used = 0
        self._last: dict[int, Span] = {}

    @property
    def n_free(self) -> int:
        return self.n_cells - self.n_used

    def grow(self, id_seq: int, n: int) -> None:
        """`n` tokens were computed at the end of a sequence."""
        span = self._last.get(id_seq)
        self.n_used += n
        if span is not None and span.n_users == 1:
            span.stop += n
            return
        # whoever else stands on the span stays there; the new one takes over this sequence's place in it
        start = span.stop if span is not None else 0
        self._last[id_seq] = Span(span, start, start + n)

    def copy(self, source: int, target: int) -> None:
        self.cut(target, 0)
        span = self._last.get(source)
        if span is not None:
            span.n_users += 1
            self._last[target] = span

    def cut(self, id_seq: int, n: int) -> None:
        """Positions [n, ...) of a sequence were removed."""
        span = self._last.pop(id_seq, None)
        while span is not None and span.start >= n:
            span = self._leave(span)
        if span is None:
            return
        if span.stop > n:
            span = self._shorten(span, n)
        self._last[id_seq] = span

    def _leave(self, span: Span) -> Span | None:
        """Give up one user's place in a span; returns where the user stands now."""
        span.n_users -= 1
        parent = span.parent
        if span.n_users == 0:
            self.n_used -= span.stop - span.start  # the user takes the span's own place in the parent
        elif parent is not None:
            parent.n_users += 1
        return parent

    def _shorten(self, span: Span, n: int) -> Span:
        """One user of a span ends at `n` within it; returns the span that ends there."""
        if span.n_users == 1:
            self.n_used -= span.stop - n
            span.stop = n
            return span
        # [start ........ stop)  ->  [start .. n)[n .. stop)       the user, and the rest, on the first
        first = Span(span.parent, span.start, n)
        first.n_users = 2
        span.parent, span.start = first, n
        span.n_users -= 1
        return first

    def is_private(self, id_seq: int, start: int) -> bool:
        """Whether nobody shares the cells of positions [start, ...) of a sequence."""
        span = self._last.get(id_seq)
        while span is not None and span.stop > start:
            if span.n_users > 1:
                return False
            span = span.parent
        return True
