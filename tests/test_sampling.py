"""Sampling: which tier a chain allows, what may be asked for, and what is remembered."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamahttp import sampling
from llamahttp.errors import InvalidRequest
from llamahttp.sampling import History, Tier
from llamahttp.task import SamplingParams

GREEDY = SamplingParams(temperature=0)

# --- tiers


def only(*names: str, **fields: Any) -> SamplingParams:
    """A chain of these samplers."""
    return replace(SamplingParams(samplers=names), **fields)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (GREEDY, Tier.GREEDY),
        (SamplingParams(top_k=1), Tier.GREEDY),
        (SamplingParams(mirostat=2, temperature=0), Tier.GREEDY),
        (SamplingParams(temperature=1e-38), Tier.GREEDY),
        (replace(GREEDY, logit_bias=((5, -math.inf),)), Tier.GREEDY),
        (replace(GREEDY, repeat_penalty=1.1, repeat_last_n=0), Tier.GREEDY),
        (replace(GREEDY, logit_bias=((5, 1.0),)), Tier.CANDIDATES),
        (replace(GREEDY, repeat_penalty=1.1), Tier.CANDIDATES),
        (replace(GREEDY, dry_multiplier=0.8), Tier.CANDIDATES),
        (replace(GREEDY, dry_multiplier=0.8, dry_base=0.5), Tier.GREEDY),
        (replace(GREEDY, xtc_probability=0.5), Tier.CANDIDATES),
        (replace(GREEDY, xtc_probability=0.5, xtc_threshold=0.6), Tier.GREEDY),
        (replace(GREEDY, typical_p=0.5, top_k=0), Tier.FULL),
        (replace(GREEDY, dynatemp_range=0.5), Tier.CANDIDATES),
        (only("top_k", temperature=0), Tier.CANDIDATES),
        (only("temperature", "xtc", temperature=0, xtc_probability=0.5), Tier.FULL),
        (SamplingParams(), Tier.CANDIDATES),
        (SamplingParams(top_k=1000), Tier.CANDIDATES),
        (SamplingParams(top_k=1001), Tier.FULL),
        (SamplingParams(top_n_sigma=1), Tier.FULL),
        (SamplingParams(mirostat=1), Tier.FULL),
        (only("temperature", "top_k"), Tier.CANDIDATES),
        (only("temperature", "top_k", dynatemp_range=0.5), Tier.FULL),
        (only("min_p", "top_k"), Tier.FLOOR),
        (only("dry", "temperature", "min_p", dry_multiplier=0.8), Tier.FLOOR),
        (only("min_p", min_keep=2), Tier.FULL),
        (SamplingParams(top_k=0), Tier.NUCLEUS),
        (SamplingParams(top_k=0, top_p=1), Tier.FLOOR),
        (SamplingParams(top_k=0, min_keep=2), Tier.FULL),
        (SamplingParams(top_k=0, presence_penalty=1.0), Tier.NUCLEUS),
        (SamplingParams(top_k=0, logit_bias=((5, -math.inf),)), Tier.NUCLEUS),
        (SamplingParams(top_k=0, logit_bias=((5, 1.0),)), Tier.NUCLEUS),
        (only("temperature", logit_bias=((5, 1.0),)), Tier.DRAW),
        (only("top_n_sigma", "dry", top_n_sigma=1, dry_multiplier=0.8), Tier.FULL),
        (only(), Tier.DRAW),
        (only("temperature"), Tier.DRAW),
        (SamplingParams(top_k=0, top_p=1, min_p=0), Tier.DRAW),
        (SamplingParams(top_k=0, top_p=1, min_p=0, n_post_probs=2), Tier.FULL),
        (only("temperature", "adaptive_p"), Tier.FULL),
        (only("top_k", "adaptive_p"), Tier.CANDIDATES),
    ],
)
def test_the_cheapest_exact_tier_is_taken(params: SamplingParams, expected: Tier) -> None:
    assert sampling.plan(params, 32_000).tier is expected


@pytest.mark.parametrize(
    ("params", "is_sorted"),
    [
        (SamplingParams(mirostat=1), True),
        (SamplingParams(mirostat=2, logit_bias=((5, 1.0),)), True),
        (only("typ_p", "temperature", typical_p=0.5), True),
        (only("penalties", "typ_p", typical_p=0.5, repeat_penalty=1.1), True),
        (only("temperature", dynatemp_range=0.5), False),  # nothing is cut: the order of equals would show
        (only("xtc", xtc_probability=0.5), False),
        (SamplingParams(top_n_sigma=1), False),
    ],
)
def test_chains_that_begin_by_sorting_get_what_is_sorted(params: SamplingParams, is_sorted: bool) -> None:
    plan = sampling.plan(params, 32_000)
    assert (plan.tier, plan.is_sorted) == (Tier.FULL, is_sorted)


BIAS = ((5, 1.0),)
PENALISED = {"repeat_penalty": 1.1, "temperature": 0.5}


@pytest.mark.parametrize(
    ("params", "n_before", "temperatures", "changes_later"),
    [
        (SamplingParams(), 0, (), False),
        (replace(SamplingParams(), logit_bias=BIAS, repeat_penalty=1.1, dry_multiplier=0.8), 3, (), False),
        (only("temperature", "penalties", "min_p", **PENALISED), 2, (0.5,), False),
        (only("temperature", "min_p", "penalties", **PENALISED), 1, (0.5,), True),
        (only("temperature", "penalties", "min_p", **{**PENALISED, "temperature": 0}), 0, (), True),
        (only("penalties", "temperature", "dry", "temperature", **PENALISED), 3, (0.5, 0.5), False),
        (only("temperature", dynatemp_range=1, logit_bias=BIAS), 1, (), False),
        (SamplingParams(mirostat=2, logit_bias=BIAS), 1, (), False),
    ],
)
def test_stages_before_the_first_cut_only_change_a_few_logits_or_scale_all(
    params: SamplingParams, n_before: int, temperatures: tuple[float, ...], changes_later: bool
) -> None:
    plan = sampling.plan(params, 32_000)
    assert (plan.n_before, plan.temperatures, plan.changes_later) == (n_before, temperatures, changes_later)


@pytest.mark.parametrize("n_vocab", [2, 63, 64, 300])
def test_a_tiny_vocabulary_is_read_whole(n_vocab: int) -> None:
    assert sampling.plan(SamplingParams(), n_vocab).tier is Tier.FULL


# --- history


@given(st.integers(1, 70), st.integers(0, 200), st.integers(0, 200))
def test_a_history_keeps_the_last_tokens(n_most: int, n_prompt: int, n_answer: int) -> None:
    tokens = np.arange(n_prompt + n_answer, dtype=np.int32)
    history = History(tokens[:n_prompt], n_most)
    for token in tokens[n_prompt:].tolist():
        history.append(token)
    for n in (1, n_most, n_most + 1):
        assert history.last(n).tolist() == tokens.tolist()[-min(n, n_most) :]


def test_only_what_has_followed_the_last_token_can_be_repeated_next() -> None:
    history = History(np.array([5, 1, 2, 5, 3, 9, 5], np.int32), 100)
    assert history.followers(100).tolist() == [1, 3]
    assert history.followers(4).tolist() == [3]
    assert History(np.zeros(0, np.int32), 4).followers(4).tolist() == []


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
        ({"repeat_penalty": 1e7}, "repeat_penalty must be between 1e-06 and 1e+06, but got 10000000.0"),
        ({"frequency_penalty": 1e31}, "frequency_penalty must be between -1e+30 and 1e+30"),
        ({"dry_multiplier": 1e31}, "dry_multiplier must be between"),
        ({"dry_multiplier": math.nan}, "dry_multiplier must be a finite number"),
        ({"dry_penalty_last_n": -1}, "dry_penalty_last_n must be between 0 and"),
        ({"mirostat": 3}, "mirostat must be between 0 and 2, but got 3"),
        ({"mirostat_eta": math.inf}, "mirostat_eta must be a finite number"),
        ({"samplers": ("topk",)}, "there is no sampler 'topk'"),
        ({"samplers": ("infill",)}, "infill needs top_k before it"),
        ({"samplers": ("infill", "top_k")}, "infill needs top_k before it"),
        ({"samplers": ("top_k", "infill"), "top_k": 200}, "infill needs top_k before it"),
        ({"logit_bias": ((100, 1.0),)}, "token 100 is not in the vocabulary of 100 tokens"),
        ({"logit_bias": ((-1, 1.0),)}, "token -1 is not in the vocabulary"),
        ({"logit_bias": ((5, math.nan),)}, "the bias of token 5 must be a number or -inf, but got nan"),
        ({"logit_bias": ((5, math.inf),)}, "must be a number or -inf, but got inf"),
        ({"logit_bias": ((5, 1e300),)}, "must be a number or -inf, but got 1e"),
    ],
    ids=str,
)
def test_what_libllama_would_turn_into_nonsense_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(message)):
        sampling.check(replace(SamplingParams(), **fields), 100)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(),
        SamplingParams(temperature=-1.0, top_p=2.0, min_p=-1.0, top_k=-1),
        SamplingParams(repeat_penalty=0.5, frequency_penalty=-2.0, presence_penalty=-2.0),
        SamplingParams(logit_bias=((0, -math.inf), (99, -100.0), (99, 100.0))),
        SamplingParams(top_k=2**31 - 1, min_keep=2**31 - 1, repeat_last_n=2**31 - 1),
        SamplingParams(top_n_sigma=-3, typical_p=7, mirostat=1, mirostat_tau=0, mirostat_eta=-1, dry_base=0),
        SamplingParams(samplers=("top_k", "infill", "top_k", "adaptive_p"), adaptive_decay=3),
    ],
    ids=repr,
)
def test_unusual_but_meaningful_parameters_pass(params: SamplingParams) -> None:
    sampling.check(params, 100)
