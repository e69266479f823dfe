"""The context that memory has room for."""

from __future__ import annotations

import pytest

from llamahttp.fit import Room, fitted

HALVES = [Room(1000 * 100, 0.5), Room(2000 * 100, 0.5)]


@pytest.mark.parametrize(
    ("whole", "least", "n_streams", "rooms", "expected"),
    [
        (8192, 4096, 1, [Room(8192 * 100, 1.0)], 8192),
        (8192, 4096, 1, [Room(8191 * 100, 1.0)], 7936),
        (8192, 4096, 1, [Room(0, 1.0)], 4096),
        (2048, 4096, 1, [Room(0, 1.0)], 2048),
        (8192, 1024, 3, [Room(5000 * 100, 1.0)], 4608),
        (8192, 256, 1, HALVES, 1792),
        (8192, 256, 1, [Room(0, 0.0), Room(3000 * 100, 1.0)], 2816),
        (8192, 256, 1, [Room(10**9, 1.0), Room(0, 0.0)], 8192),
    ],
)
def test_a_context_is_as_large_as_the_smallest_room_allows(
    whole: int, least: int, n_streams: int, rooms: list[Room], expected: int
) -> None:
    assert fitted(whole, least, n_streams, 100.0, rooms) == expected


def test_a_context_of_unknown_cost_is_whole() -> None:
    assert fitted(8192, 256, 1, 0.0, [Room(0, 1.0)]) == 8192
