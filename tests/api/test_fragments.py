from __future__ import annotations

import pytest

from llamahttp.api.fragments import cost, timings
from llamahttp.task import CacheUse, Miss, Timings


@pytest.mark.parametrize(
    ("times", "per_token_ms", "per_second"),
    [
        (Timings(0, 4, 20.0, 11, 500.0), (5.0, 50.0), (200.0, 20.0)),
        (Timings(3, 1, 5.0, 1, 0.0), (5.0, 0.0), (200.0, 0.0)),
        (Timings(4, 0, 0.0, 0, 0.0), (0.0, 0.0), (0.0, 0.0)),
    ],
)
def test_speeds(times: Timings, per_token_ms: tuple[float, float], per_second: tuple[float, float]) -> None:
    shown = timings(times)
    assert (shown["prompt_per_token_ms"], shown["predicted_per_token_ms"]) == per_token_ms
    assert (shown["prompt_per_second"], shown["predicted_per_second"]) == per_second


def test_where_cached_tokens_came_from() -> None:
    shown = cost(Timings(12, 1, 5.0, 1, 0.0, CacheUse(5, 4, 3, Miss.CHECKPOINT)))
    assert shown["cache"] == {"resident": 5, "ram": 4, "disk": 3, "miss": "checkpoint"}
    assert shown["timings"]["cache_n"] == 12  # type: ignore[index]


def test_clients_may_take_every_member_of_timings_for_a_number() -> None:
    assert all(isinstance(value, int | float) for value in timings(Timings(12, 1, 5.0, 1, 0.0)).values())
