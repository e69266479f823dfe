from __future__ import annotations

import math

import pytest

from llamahttp.api.fragments import timings, token_probs
from llamahttp.task import CacheUse, Miss, Timings, TokenProbs


@pytest.mark.parametrize(
    ("cost", "per_token_ms", "per_second"),
    [
        (Timings(0, 4, 20.0, 11, 500.0), (5.0, 50.0), (200.0, 20.0)),
        (Timings(3, 1, 5.0, 1, 0.0), (5.0, 0.0), (200.0, 0.0)),
        (Timings(4, 0, 0.0, 0, 0.0), (0.0, 0.0), (0.0, 0.0)),
    ],
)
def test_speeds(cost: Timings, per_token_ms: tuple[float, float], per_second: tuple[float, float]) -> None:
    shown = timings(cost)
    assert (shown["prompt_per_token_ms"], shown["predicted_per_token_ms"]) == per_token_ms
    assert (shown["prompt_per_second"], shown["predicted_per_second"]) == per_second


def test_timings_tell_where_cached_tokens_came_from() -> None:
    shown = timings(Timings(12, 1, 5.0, 1, 0.0, CacheUse(5, 4, 3, Miss.CHECKPOINT)))
    assert (shown["cache_n"], shown["cache"]) == (12, {"resident": 5, "ram": 4, "disk": 3, "miss": "checkpoint"})


def test_a_token_that_is_no_text_shows_its_bytes() -> None:
    pieces = [b"a", b"\xc3", b"\xc3\xa9", b"x\xc3"]
    probs = [TokenProbs(-0.5, ((2, -1.0), (1, -math.inf))), TokenProbs(-1.0, ())]
    first, second = token_probs([1, 3], probs, 5, pieces)
    assert (first["token"], first["bytes"], first["logprob"]) == ("", [0xC3], -0.5)
    assert first["top_logprobs"] == [
        {"id": 2, "token": "é", "bytes": [0xC3, 0xA9], "logprob": -1.0},
        {"id": 1, "token": "", "bytes": [0xC3], "logprob": -3.4028234663852886e38},
    ]
    assert (second["token"], second["top_logprobs"]) == ("x", [])


def test_probabilities_after_sampling_have_other_names() -> None:
    probs = [TokenProbs(0.0, ((0, 0.0), (1, -math.inf)))]
    (entry,) = token_probs([0], probs, 5, [b"a", b"b"], post=True)
    assert entry == {
        "id": 0,
        "token": "a",
        "bytes": [97],
        "prob": 1.0,
        "top_probs": [
            {"id": 0, "token": "a", "bytes": [97], "prob": 1.0},
            {"id": 1, "token": "b", "bytes": [98], "prob": 0.0},
        ],
    }
