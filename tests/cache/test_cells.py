"""The ledger of cells against sets of cells."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from llamahttp.cache.cells import CellLedger

N_SEQUENCES = 4

operations = st.lists(
    st.one_of(
        st.tuples(st.just("grow"), st.integers(0, N_SEQUENCES - 1), st.integers(1, 5)),
        st.tuples(st.just("cut"), st.integers(0, N_SEQUENCES - 1), st.integers(0, 12)),
        st.tuples(st.just("copy"), st.integers(0, N_SEQUENCES - 1), st.integers(0, N_SEQUENCES - 1)),
    ),
    max_size=40,
)


class Cells:
    """The same by brute force: each sequence a list of cells, a cell a number."""

    def __init__(self) -> None:
        self.sequences: list[list[int]] = [[] for _ in range(N_SEQUENCES)]
        self.numbers = itertools.count()

    def grow(self, id_seq: int, n: int) -> None:
        self.sequences[id_seq] += [next(self.numbers) for _ in range(n)]

    def cut(self, id_seq: int, n: int) -> None:
        del self.sequences[id_seq][n:]

    def copy(self, source: int, target: int) -> None:
        self.sequences[target] = list(self.sequences[source])

    def n_used(self) -> int:
        return len(set().union(*self.sequences))

    def is_private(self, id_seq: int, start: int) -> bool:
        others = set().union(*(cells for i, cells in enumerate(self.sequences) if i != id_seq))
        return not others & set(self.sequences[id_seq][start:])


@given(operations)
def test_the_ledger_counts_what_sets_of_cells_count(steps: list[tuple[str, int, int]]) -> None:
    ledger, cells = CellLedger(1000), Cells()
    for name, a, b in steps:
        if name == "copy" and a == b:
            continue
        getattr(ledger, name)(a, b)
        getattr(cells, name)(a, b)
        assert ledger.n_used == cells.n_used()
        assert ledger.n_free == 1000 - cells.n_used()
        for id_seq, sequence in enumerate(cells.sequences):
            for start in (0, 3, len(sequence) // 2):
                assert ledger.is_private(id_seq, start) == cells.is_private(id_seq, start)


def test_freeing_every_sequence_leaves_nothing_in_use() -> None:
    ledger = CellLedger(100)
    ledger.grow(0, 30)
    ledger.copy(0, 1)
    ledger.cut(1, 20)
    ledger.grow(1, 5)
    assert ledger.n_used == 35
    ledger.cut(0, 0)
    assert ledger.n_used == 25
    ledger.cut(1, 0)
    assert ledger.n_used == 0
