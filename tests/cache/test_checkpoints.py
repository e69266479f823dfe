"""Checkpoints: which are kept."""

from __future__ import annotations

import numpy as np
from fakes import FakeDecoder
from hypothesis import given
from hypothesis import strategies as st

from llamahttp.cache.checkpoints import Checkpoints, closest
from llamahttp.cache.sequence import Sequence
from llamahttp.cache.snapshot import Checkpoint


def holding(id_seq: int, *checkpoints: Checkpoint) -> Sequence:
    sequence = Sequence(id_seq)
    sequence.last_used = float(id_seq)
    sequence.tokens, sequence.n_past = np.zeros(1000, np.int32), 1000
    sequence.checkpoints = list(checkpoints)
    return sequence


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=10, unique=True).map(sorted))
def test_the_checkpoint_that_is_missed_least_is_dropped_and_never_the_last(places: list[int]) -> None:
    index = closest([Checkpoint(n_tokens, b"") for n_tokens in places])
    gaps = [b - a for a, b in zip([0, *places], places, strict=False)]
    assert index < len(places) - 1
    assert gaps[index] == min(gaps[:-1])


def test_what_several_sequences_share_counts_once() -> None:
    shared = [Checkpoint(100, bytes(50)), Checkpoint(200, bytes(50))]
    sequences = [holding(i, *shared) for i in range(3)]
    Checkpoints(FakeDecoder(), 4, 100).limit(sequences)
    assert [len(sequence.checkpoints) for sequence in sequences] == [2, 2, 2]


def test_dropping_what_others_still_have_frees_nothing() -> None:
    shared = Checkpoint(100, bytes(50))
    sequences = [holding(0, shared), holding(1, shared, Checkpoint(200, bytes(50)))]
    Checkpoints(FakeDecoder(), 4, 50).limit(sequences)
    assert [[c.n_tokens for c in sequence.checkpoints] for sequence in sequences] == [[], [200]]


def test_the_number_is_limited_whatever_came_from_a_file() -> None:
    sequence = holding(0, *(Checkpoint(n, b"x") for n in (100, 200, 205, 300)))
    Checkpoints(FakeDecoder(), 3, None).limit([sequence])
    assert [checkpoint.n_tokens for checkpoint in sequence.checkpoints] == [100, 200, 300]
