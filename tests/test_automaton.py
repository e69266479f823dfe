"""Which sequences end at each symbol, against looking at all of them each time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llamahttp.automaton import START, Automaton

SYMBOLS = st.integers(0, 2)
SEQUENCES = st.lists(st.lists(SYMBOLS, min_size=1, max_size=4), max_size=6)


@given(SEQUENCES, st.lists(SYMBOLS, max_size=40))
def test_every_sequence_is_found_where_it_ends(sequences: list[list[int]], stream: list[int]) -> None:
    automaton, state = Automaton(sequences), START
    for end, symbol in enumerate(stream, 1):
        state = automaton.step(state, symbol)
        seen = stream[:end]
        expected = {i for i, sequence in enumerate(sequences) if seen[-len(sequence) :] == sequence}
        assert set(automaton.ends(state)) == expected
        lengths = [len(sequences[i]) for i in automaton.ends(state)]
        assert lengths == sorted(lengths, reverse=True)


def test_a_long_stream_without_a_match_stays_at_the_start() -> None:
    automaton, state = Automaton([[1, 2, 3]]), START
    for _ in range(1000):
        state = automaton.step(state, 7)
        assert (state, automaton.ends(state)) == (START, ())
