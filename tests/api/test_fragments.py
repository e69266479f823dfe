from __future__ import annotations

import pytest

from llamahttp.api.fragments import timings
from llamahttp.task import CacheUse, Miss, Timings


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
