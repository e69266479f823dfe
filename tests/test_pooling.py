"""Pooling and normalisation, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from llamahttp.config import Pooling
from llamahttp.pooling import Pool, normalize, shorten

ROWS = np.arange(21, dtype=np.float32).reshape(7, 3)


@pytest.mark.parametrize("cuts", [[], [1], [6], [2, 3, 5]])
@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        (Pooling.NONE, ROWS),
        (Pooling.MEAN, ROWS.mean(axis=0, keepdims=True)),
        (Pooling.CLS, ROWS[:1]),
        (Pooling.LAST, ROWS[-1:]),
        (Pooling.RANK, ROWS[-1:]),
    ],
)
def test_parts_give_what_the_whole_gives(pooling: Pooling, expected: np.ndarray, cuts: list[int]) -> None:
    pool = Pool(pooling)
    for part in np.split(ROWS, cuts):
        pool.add(part)
    assert pool.result().dtype == np.float32
    np.testing.assert_allclose(pool.result(), expected)


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        (-1, [3, -4, 0]),
        (0, [24570, -32760, 0]),
        (1, [3 / 7, -4 / 7, 0]),
        (2, [0.6, -0.8, 0]),
        (3, [3 / 91 ** (1 / 3), -4 / 91 ** (1 / 3), 0]),
        (1000, [0.75, -1, 0]),
    ],
)
def test_norms(norm: int, expected: list[float]) -> None:
    vector = np.array([3, -4, 0], np.float32)
    result = normalize(vector, norm)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    np.testing.assert_array_equal(vector, [3, -4, 0])


@pytest.mark.parametrize("norm", [-1, 0, 1, 2, 3])
def test_zeros_stay_zeros(norm: int) -> None:
    np.testing.assert_array_equal(normalize(np.zeros((2, 4), np.float32), norm), np.zeros((2, 4)))


def test_each_vector_has_its_own_length() -> None:
    np.testing.assert_allclose(normalize(np.array([[3, 4], [0, 2]], np.float32), 2), [[0.6, 0.8], [0, 1]], rtol=1e-6)


def test_a_shorter_vector_is_its_beginning() -> None:
    np.testing.assert_array_equal(shorten(ROWS, 2), ROWS[:, :2])
