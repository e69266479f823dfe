"""RadixIndex against a dictionary that is searched from end to end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from numpy.typing import NDArray

from llamahttp.cache.radix import MOST_HOLDERS, RadixIndex, common_prefix

HOLDERS = st.integers(0, 7)
STEM = [1, 2, 1, 1, 2, 2, 1, 2, 1, 2, 2, 2]

token_lists = st.one_of(
    st.lists(st.integers(0, 2), max_size=6),
    # long shared prefixes: a part of one stem, then something else
    st.tuples(st.integers(0, len(STEM)), st.lists(st.integers(0, 2), max_size=3)).map(lambda t: STEM[: t[0]] + t[1]),
)


def array(tokens: Sequence[int]) -> NDArray[np.int32]:
    return np.array(tokens, np.int32)


def shared(left: Sequence[int], right: Sequence[int]) -> int:
    n = 0
    while n < min(len(left), len(right)) and left[n] == right[n]:
        n += 1
    return n


class Compared(RuleBasedStateMachine):
    """Whatever is done to the index is done to a dictionary too, and both answer alike."""

    def __init__(self) -> None:
        super().__init__()
        self.index: RadixIndex[int] = RadixIndex()
        self.known: dict[int, list[int]] = {}

    @rule(holder=HOLDERS, tokens=token_lists)
    def insert(self, holder: int, tokens: list[int]) -> None:
        self.index.insert(holder, array(tokens))
        self.known[holder] = tokens

    @rule(holder=HOLDERS)
    def remove(self, holder: int) -> None:
        self.index.remove(holder)
        self.known.pop(holder, None)

    @rule(tokens=token_lists)
    def deepest(self, tokens: list[int]) -> None:
        n = max((shared(known, tokens) for known in self.known.values()), default=0)
        holders = {holder for holder, known in self.known.items() if n > 0 and shared(known, tokens) == n}
        assert self.index.deepest(array(tokens)) == (n, holders)

    @rule(tokens=token_lists)
    def ending(self, tokens: list[int]) -> None:
        found = self.index.ending(array(tokens))
        assert [n for n, _ in found] == sorted((n for n, _ in found), reverse=True)
        expected = [(len(known), holder) for holder, known in self.known.items() if known == tokens[: len(known)]]
        assert sorted(found) == sorted(expected)

    @rule(tokens=token_lists)
    def common(self, tokens: list[int]) -> None:
        for holder, known in self.known.items():
            assert self.index.common(holder, array(tokens)) == shared(known, tokens)

    @invariant()
    def holds_what_was_put_in_and_no_more_nodes_than_that_needs(self) -> None:
        assert sorted(self.index) == sorted(self.known)
        for holder, known in self.known.items():
            assert (len(known), holder) in self.index.ending(array(known))
        n_nodes = sum(1 for _ in self.index._walk(self.index._root)) - 1
        assert n_nodes <= 2 * len(self.known)
        if not any(self.known.values()):
            assert n_nodes == 0


TestCompared = Compared.TestCase
TestCompared.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@given(st.lists(st.integers(0, 1), max_size=8), st.lists(st.integers(0, 1), max_size=8))
def test_common_prefix(left: list[int], right: list[int]) -> None:
    assert common_prefix(array(left), array(right)) == shared(left, right)


def test_an_empty_index_finds_nothing() -> None:
    index: RadixIndex[str] = RadixIndex()
    assert index.deepest(array([1, 2])) == (0, frozenset())
    assert index.ending(array([1, 2])) == []
    assert len(index) == 0 and list(index) == []


def test_tokens_are_copied() -> None:
    index: RadixIndex[str] = RadixIndex()
    tokens = array([1, 2, 3, 4])
    index.insert("a", tokens[:3])
    tokens[:] = 9
    assert index.ending(array([1, 2, 3, 4])) == [(3, "a")]


def test_of_many_holders_some_are_listed() -> None:
    index: RadixIndex[int] = RadixIndex()
    for holder in range(300):
        index.insert(holder, array([1, 2, 3, holder]))
    n, holders = index.deepest(array([1, 2, 3, 1000]))
    assert n == 3 and len(holders) == MOST_HOLDERS


def test_negative_ids_and_ids_beyond_a_byte_are_tokens_like_any_other() -> None:
    index: RadixIndex[str] = RadixIndex()
    index.insert("a", array([-1, 2**31 - 1, 300]))
    assert index.deepest(array([-1, 2**31 - 1, 44])) == (2, {"a"})


def test_an_unknown_holder_has_no_prefix() -> None:
    index: RadixIndex[str] = RadixIndex()
    index.remove("a")
    with pytest.raises(KeyError):
        index.common("a", array([1]))
