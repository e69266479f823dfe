"""Candidates in numpy: whatever the logits, they hold every token that can still win."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from llamahttp import candidates
from llamahttp.candidates import BLOCK_DEPTH, Scratch

# few values, so that ties and -inf abound
LOGITS = st.one_of(
    st.sampled_from([-math.inf, -1.0, 0.0, 0.5, 7.25]),
    st.floats(min_value=-30, max_value=30, width=32),
)


@st.composite
def rows_and_n(draw: st.DrawFn) -> tuple[NDArray[np.float32], int]:
    """Rows of logits of any width from 64 on, and a number of tokens that `top_tokens` may be asked for."""
    n_vocab = draw(st.integers(BLOCK_DEPTH, 9 * BLOCK_DEPTH))
    n_rows = draw(st.integers(1, 3))
    logits = draw(hnp.arrays(np.float32, (n_rows, n_vocab), elements=LOGITS, fill=LOGITS))
    return logits, draw(st.integers(1, n_vocab // BLOCK_DEPTH))


@settings(deadline=None, max_examples=300)
@given(rows_and_n())
def test_candidates_hold_the_largest_logits_and_all_that_equal_them(case: tuple[NDArray[np.float32], int]) -> None:
    logits, n = case
    for row in logits:
        found = candidates.top_tokens(row, n)
        assert np.all(np.diff(found) > 0), "ascending, none twice"
        nth_largest = np.sort(row)[-n]
        assert set(np.flatnonzero(row >= nth_largest)) <= set(found.tolist())
        assert found.dtype == np.int32


@pytest.mark.parametrize("n_vocab", [64, 127, 128, 32_000, 32_063, 128_256])
def test_candidates_are_few_where_logits_are_spread_evenly(n_vocab: int) -> None:
    logits = np.random.default_rng(n_vocab).standard_normal((4, n_vocab)).astype(np.float32)
    n = min(40, n_vocab // BLOCK_DEPTH)
    for row in logits:
        found = candidates.top_tokens(row, n)
        assert set(np.argsort(row)[-n:]) <= set(found.tolist())
        assert len(found) <= max(2 * n, BLOCK_DEPTH * 2)


def test_the_largest_logits_may_all_share_a_block() -> None:
    n_vocab, n = 640, 10  # block 3 holds the logits 3, 13, 23, ...
    row = np.zeros(n_vocab, np.float32)
    row[3::10] = np.arange(64, dtype=np.float32) + 1
    found = candidates.top_tokens(row, n)
    assert set(np.argsort(row, kind="stable")[-n:]) <= set(found.tolist())


def test_the_last_tokens_of_a_vocabulary_that_fills_no_block_can_win() -> None:
    row = np.zeros(64 * 5 + 63, np.float32)
    row[-1], row[64 * 5] = 9.0, 8.0
    found = candidates.top_tokens(row, 2)
    assert {len(row) - 1, 64 * 5} <= set(found.tolist())


@given(st.lists(st.lists(st.integers(0, 20)), min_size=1, max_size=3))
def test_distinct_tokens_are_those_of_all_parts_ascending(parts: list[list[int]]) -> None:
    found = candidates.distinct(*(np.array(part, np.int32) for part in parts))
    assert found.tolist() == sorted(set().union(*parts))


# --- argmax


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(2, 40)), elements=LOGITS), st.data())
def test_the_first_of_the_largest_wins_among_those_allowed(logits: NDArray[np.float32], data: st.DataObject) -> None:
    n_vocab = logits.shape[1]
    assert candidates.argmax(logits) == [max(range(n_vocab), key=lambda i: (row[i], -i)) for row in logits]
    banned = data.draw(st.sets(st.integers(0, n_vocab - 1), max_size=n_vocab - 1))
    row, before = logits[0], logits.copy()
    finite = [i for i in range(n_vocab) if i not in banned and row[i] > -math.inf]
    if finite:
        chosen = candidates.argmax_without(row, np.array(sorted(banned), np.int32))
        assert chosen == max(finite, key=lambda i: (row[i], -i))
    assert np.array_equal(logits, before), "the logits are libllama's: nobody may write into them"


# --- log probabilities


@given(
    hnp.arrays(np.float32, st.integers(2, 500), elements=st.floats(min_value=-100, max_value=100, width=32)), st.data()
)
def test_log_probabilities_are_those_of_an_exact_softmax(row: NDArray[np.float32], data: st.DataObject) -> None:
    tokens = np.array(data.draw(st.lists(st.integers(0, len(row) - 1), min_size=1, max_size=5)), np.intp)
    exact = row.astype(np.float64)
    expected = exact[tokens] - (exact.max() + math.log(math.fsum(np.exp(exact - exact.max()))))
    assert np.allclose(candidates.log_softmax_at(row, tokens), expected, rtol=0, atol=1e-4)


def test_an_impossible_token_has_no_probability_and_spoils_no_other() -> None:
    row = np.array([0.0, -math.inf, 0.0], np.float32)
    assert candidates.log_softmax_at(row, np.array([0, 1, 2])).tolist() == [-math.log(2), -math.inf, -math.log(2)]


# --- weighed candidates


def probabilities(row: NDArray[np.float32]) -> NDArray[np.float64]:
    weights = np.exp(row.astype(np.float64) - row.max())
    return np.asarray(weights / weights.sum())


@pytest.mark.parametrize("spread", [0.01, 1.0, 5.0])
def test_tokens_near_the_largest_logit(spread: float) -> None:
    row = np.random.default_rng(1).normal(0, spread, 5000).astype(np.float32)
    found = candidates.at_least(row, 3.0)
    assert found.tolist() == np.flatnonzero(row >= row.max() - 3).tolist()


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10_000), st.sampled_from([2.0, 4.0, 8.0]), st.sampled_from([0.1, 0.5, 0.95]))
def test_a_nucleus_is_sorted_holds_top_p_and_weighs_as_much_as_all(seed: int, spread: float, top_p: float) -> None:
    row = np.random.default_rng(seed).normal(0, spread / 1.5, 20_000).astype(np.float32)
    found = candidates.nucleus(row, top_p, 0.0, Scratch(20_000))
    if found is None:
        return
    tokens, logits = found
    assert tokens[-2:].tolist() == [-1, -1]
    assert np.all(np.diff(logits[:-2]) <= 0)
    assert probabilities(row)[tokens[:-2]].sum() > top_p
    total = np.exp(row.astype(np.float64)).sum()
    assert np.exp(logits.astype(np.float64)).sum() == pytest.approx(total, rel=3e-3)


def test_a_nucleus_whose_border_is_too_near_to_tell_is_left_to_libllama() -> None:
    row = np.full(4096, -90, np.float32)
    row[:3] = 20, 20, 19  # 0.42, 0.42, 0.16
    first = float(probabilities(row)[0])
    assert candidates.nucleus(row, first, 0.0, Scratch(4096)) is None
    assert candidates.nucleus(row, first + 0.01, 0.0, Scratch(4096)) is not None


def test_a_nucleus_of_too_many_tokens_is_left_to_libllama_unless_min_p_makes_it_few() -> None:
    row = np.random.default_rng(1).normal(0, 1, 100_000).astype(np.float32)
    assert candidates.nucleus(row, 0.95, 0.0, Scratch(100_000)) is None
    found = candidates.nucleus(row, 0.95, 0.5, Scratch(100_000))
    assert found is not None
    assert set(np.flatnonzero(row >= row.max() + math.log(0.5))) <= set(found[0].tolist())


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 2000), st.integers(0, 1000), st.floats(0, 1, exclude_max=True))
def test_a_draw_falls_where_the_probabilities_add_up_to_it(n_vocab: int, seed: int, position: float) -> None:
    row = np.random.default_rng(seed).normal(0, 2, n_vocab).astype(np.float32)
    token = candidates.draw(row, position, Scratch(n_vocab))
    if token is not None:
        ends = probabilities(row).cumsum()
        assert (ends[token - 1] if token else 0.0) < position <= ends[token]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_left_to_others(value: float) -> None:
    row = np.full(1000, value, np.float32)
    assert candidates.draw(row, 0.5, Scratch(1000)) is None
    assert candidates.nucleus(row, 0.5, 0.0, Scratch(1000)) is None


def test_all_tokens_by_logit() -> None:
    row = np.array([1, 9, -math.inf, 5, 7], np.float32)
    tokens, logits = candidates.by_logit(row, Scratch(5))
    assert tokens.tolist() == [1, 4, 3, 0, 2]
    assert logits.tolist() == [9, 7, 5, 1, -math.inf]
