"""Sampling in numpy: whatever the logits, the candidates hold every token that can still win."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from llamahttp import sampling
from llamahttp.errors import InvalidRequest
from llamahttp.sampling import BLOCK_DEPTH, MAX_CANDIDATES, Tier
from llamahttp.task import SamplingParams

GREEDY = SamplingParams(temperature=0)

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
    for row, found in zip(logits, sampling.top_tokens(logits, n), strict=True):
        assert np.all(np.diff(found) > 0), "ascending, none twice"
        nth_largest = np.sort(row)[-n]
        assert set(np.flatnonzero(row >= nth_largest)) <= set(found.tolist())
        assert found.dtype == np.int32


@pytest.mark.parametrize("n_vocab", [64, 127, 128, 32_000, 32_063, 128_256])
def test_candidates_are_few_where_logits_are_spread_evenly(n_vocab: int) -> None:
    logits = np.random.default_rng(n_vocab).standard_normal((4, n_vocab)).astype(np.float32)
    n = min(40, n_vocab // BLOCK_DEPTH)
    for row, found in zip(logits, sampling.top_tokens(logits, n), strict=True):
        assert set(np.argsort(row)[-n:]) <= set(found.tolist())
        assert len(found) <= max(2 * n, BLOCK_DEPTH * 2)


def test_the_largest_logits_may_all_share_a_block() -> None:
    n_vocab, n = 640, 10  # block 3 holds the logits 3, 13, 23, ...
    row = np.zeros(n_vocab, np.float32)
    row[3::10] = np.arange(64, dtype=np.float32) + 1
    (found,) = sampling.top_tokens(row[np.newaxis], n)
    assert set(np.argsort(row, kind="stable")[-n:]) <= set(found.tolist())


def test_the_last_tokens_of_a_vocabulary_that_fills_no_block_can_win() -> None:
    row = np.zeros(64 * 5 + 63, np.float32)
    row[-1], row[64 * 5] = 9.0, 8.0
    (found,) = sampling.top_tokens(row[np.newaxis], 2)
    assert {len(row) - 1, 64 * 5} <= set(found.tolist())


# --- tiers


@pytest.mark.parametrize(
    ("params", "n_special", "expected"),
    [
        (GREEDY, 0, Tier.GREEDY),
        (SamplingParams(top_k=1), 0, Tier.GREEDY),
        (replace(GREEDY, logit_bias=((5, -math.inf),)), 1, Tier.GREEDY),
        (replace(GREEDY, logit_bias=((5, 1.0),)), 1, Tier.CANDIDATES),
        (replace(GREEDY, logit_bias=((5, 1.0), (5, 1.0))), 2, Tier.FULL),
        (replace(GREEDY, logit_bias=((5, -math.inf), (5, -math.inf))), 2, Tier.GREEDY),
        (replace(GREEDY, repeat_penalty=1.1), 64, Tier.CANDIDATES),
        (replace(GREEDY, repeat_penalty=1.1, repeat_last_n=0), 0, Tier.GREEDY),
        (SamplingParams(), 0, Tier.CANDIDATES),
        (SamplingParams(repeat_penalty=1.1), 64, Tier.CANDIDATES),
        (SamplingParams(top_k=0), 0, Tier.FULL),
        (SamplingParams(top_k=501), 0, Tier.FULL),
        (SamplingParams(top_k=500), 0, Tier.CANDIDATES),
        (SamplingParams(top_k=500), 1, Tier.FULL),
    ],
)
def test_the_cheapest_exact_tier_is_taken(params: SamplingParams, n_special: int, expected: Tier) -> None:
    assert sampling.choose_tier(params, n_special, 32_000) is expected


@given(st.integers(0, 2000), st.integers(0, 200), st.sampled_from([0.0, 0.8]), st.integers(1, 300_000))
def test_candidates_are_never_asked_for_more_than_can_be_found(
    top_k: int, n_special: int, temperature: float, n_vocab: int
) -> None:
    params = SamplingParams(top_k=top_k, temperature=temperature, repeat_penalty=1.1)
    if sampling.choose_tier(params, n_special, n_vocab) is Tier.CANDIDATES:
        assert sampling.n_candidates(params, n_special) <= min(MAX_CANDIDATES, n_vocab // BLOCK_DEPTH)


@pytest.mark.parametrize("n_vocab", [2, 63, 64, 300])
def test_a_tiny_vocabulary_is_read_whole(n_vocab: int) -> None:
    assert sampling.choose_tier(SamplingParams(), 0, n_vocab) is Tier.FULL


# --- argmax


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(2, 40)), elements=LOGITS), st.data())
def test_the_first_of_the_largest_wins_among_those_allowed(logits: NDArray[np.float32], data: st.DataObject) -> None:
    n_vocab = logits.shape[1]
    assert sampling.argmax(logits) == [max(range(n_vocab), key=lambda i: (row[i], -i)) for row in logits]
    banned = data.draw(st.sets(st.integers(0, n_vocab - 1), max_size=n_vocab - 1))
    row, before = logits[0], logits.copy()
    finite = [i for i in range(n_vocab) if i not in banned and row[i] > -math.inf]
    if finite:
        chosen = sampling.argmax_without(row, np.array(sorted(banned), np.int32))
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
    assert np.allclose(sampling.log_softmax_at(row, tokens), expected, rtol=0, atol=1e-4)


def test_an_impossible_token_has_no_probability_and_spoils_no_other() -> None:
    row = np.array([0.0, -math.inf, 0.0], np.float32)
    assert sampling.log_softmax_at(row, np.array([0, 1, 2])).tolist() == [-math.log(2), -math.inf, -math.log(2)]


# --- checks


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": math.nan}, "temperature must be a finite number, but got nan"),
        ({"top_p": math.inf}, "top_p must be a finite number, but got inf"),
        ({"min_p": -math.inf}, "min_p must be a finite number, but got -inf"),
        ({"frequency_penalty": math.nan}, "frequency_penalty must be"),
        ({"presence_penalty": 1e300}, "presence_penalty must be"),
        ({"repeat_penalty": 0.0}, "repeat_penalty must be greater than 0, but got 0.0"),
        ({"repeat_penalty": -1.0}, "repeat_penalty must be greater than 0, but got -1.0"),
        ({"repeat_penalty": 1e-60}, "repeat_penalty must be"),
        ({"repeat_penalty": 1e-40}, "repeat_penalty must be"),
        ({"repeat_last_n": -1}, "repeat_last_n must be between 0 and"),
        ({"top_k": 1 << 32}, "top_k must be between"),
        ({"min_keep": -1}, "min_keep must be between 0 and"),
        ({"seed": -1}, "seed must be between 0 and 4294967295, but got -1"),
        ({"logit_bias": ((100, 1.0),)}, "token 100 is not in the vocabulary of 100 tokens"),
        ({"logit_bias": ((-1, 1.0),)}, "token -1 is not in the vocabulary"),
        ({"logit_bias": ((5, math.nan),)}, "the bias of token 5 must be a number or -inf, but got nan"),
        ({"logit_bias": ((5, math.inf),)}, "must be a number or -inf, but got inf"),
        ({"logit_bias": ((5, 1e300),)}, "must be a number or -inf, but got 1e"),
    ],
    ids=str,
)
def test_what_libllama_would_turn_into_nonsense_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message.replace("(", r"\(")):
        sampling.check(replace(SamplingParams(), **fields), 100)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(),
        SamplingParams(temperature=-1.0, top_p=2.0, min_p=-1.0, top_k=-1),
        SamplingParams(repeat_penalty=0.5, frequency_penalty=-2.0, presence_penalty=-2.0),
        SamplingParams(logit_bias=((0, -math.inf), (99, -100.0), (99, 100.0))),
        SamplingParams(top_k=2**31 - 1, min_keep=2**31 - 1, repeat_last_n=2**31 - 1),
    ],
    ids=repr,
)
def test_unusual_but_meaningful_parameters_pass(params: SamplingParams) -> None:
    sampling.check(params, 100)
