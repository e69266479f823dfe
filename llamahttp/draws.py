"""Draws: the random numbers of libllama's `dist`, to know where it will cut before it does. Pure."""

from __future__ import annotations

import numpy as np


class Draws:
    """std::uniform_real_distribution<double> over std::mt19937, as GCC and Clang compute it."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.MT19937()
        np.random.RandomState(self._bits).seed(seed)  # the generator's original seeding, which C++ prescribes

    def next(self) -> float:
        """The next number within [0, 1)."""
        low, high = self._bits.random_raw(2).tolist()
        return float((low + high * 2.0**32) / 2.0**64)
