"""Chunks: what of an old text stands elsewhere in a new one."""

from __future__ import annotations

import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from llamahttp.cache.chunks import Chunk, equal_chunks


def ids(text: str) -> NDArray[np.int32]:
    return np.frombuffer(text.encode(), np.uint8).astype(np.int32)


texts = st.text("ab", max_size=40)


@given(texts, texts, st.integers(0, 5), st.integers(1, 4))
def test_moved_parts_are_equal_in_order_and_without_gaps(old: str, new: str, n: int, n_min: int) -> None:
    a, b = ids(old), ids(new)
    start, to = n, n
    for chunk in equal_chunks(a, b, n, n_min):
        assert chunk.length >= n_min
        assert chunk.start >= start
        assert chunk.to == to, "what is moved continues what is there"
        assert (a[chunk.start : chunk.start + chunk.length] == b[to : to + chunk.length]).all()
        start, to = chunk.start + chunk.length, to + chunk.length


@given(texts, texts, st.integers(0, 5), st.integers(1, 4))
def test_the_first_place_that_is_long_enough_is_taken(old: str, new: str, n: int, n_min: int) -> None:
    first = next(equal_chunks(ids(old), ids(new), n, n_min), None)
    start = old.find(new[n : n + n_min], n) if n + n_min <= len(new) else -1
    assert (-1 if first is None else first.start) == start


def test_what_is_skipped_and_what_is_new_between_parts() -> None:
    chunks = list(equal_chunks(ids("head AAAA one BBBB two"), ids("head BBBB two"), 5, 4))
    assert chunks == [Chunk(14, 5, 8)]
    assert list(equal_chunks(ids("head AAAA"), ids("head new AAAA"), 5, 4)) == [], "nothing continues what is there"


def test_long_texts_of_few_different_tokens_are_searched_quickly() -> None:
    old, new = np.ones((2, 100_000), np.int32)
    old[::200], new[201] = 2, 3
    began = time.thread_time()
    assert list(equal_chunks(old, new, 0, 256)) == []
    assert time.thread_time() - began < 1
