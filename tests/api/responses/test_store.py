from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamahttp.api.responses.store import OVERHEAD, ResponseStore, StoredResponse


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def stored(name: str, previous: StoredResponse | None = None, owner: str = "", size: int = 0) -> StoredResponse:
    return StoredResponse(name, owner, b"x" * size, b"", (f"item-{name}",), previous)


def size_of(size: int) -> int:
    """Bytes that `stored` takes."""
    return size + 2 * OVERHEAD


def test_what_was_put_is_found() -> None:
    store = ResponseStore()
    first = stored("a")
    store.put(first)
    assert store.find("", "a") is first
    assert store.find_item("", "item-a") is first
    assert store.find("", "b") is store.find_item("", "item-b") is None


def test_owners_have_their_own() -> None:
    store = ResponseStore()
    mine, yours = stored("a", owner="me"), stored("a", owner="you")
    store.put(mine)
    store.put(yours)
    assert (store.find("me", "a"), store.find("you", "a")) == (mine, yours)
    assert not store.delete("nobody", "a")
    assert store.delete("me", "a")
    assert (store.find("me", "a"), store.find("you", "a")) == (None, yours)


def test_the_least_recently_used_goes_first() -> None:
    store = ResponseStore(max_responses=2)
    for name in "ab":
        store.put(stored(name))
    store.find("", "a")
    store.put(stored("c"))
    assert [store.find("", name) is not None for name in "abc"] == [True, False, True]


def test_bytes_are_bounded() -> None:
    store = ResponseStore(max_bytes=3 * size_of(1000))
    for i in range(10):
        store.put(stored(str(i), size=1000))
    assert (len(store), store.n_bytes) == (3, 3 * size_of(1000))
    store.put(stored("huge", size=10**6))
    assert len(store) == 3, "what cannot be kept drives nothing out"


def test_who_has_the_most_loses_first() -> None:
    store = ResponseStore(max_bytes=4 * size_of(0))
    store.put(stored("mine", owner="me"))
    for i in range(10):
        store.put(stored(str(i), owner="you"))
    assert store.find("me", "mine") is not None
    assert (len(store), store.find("you", "9") is not None) == (4, True)


def test_what_nobody_uses_is_forgotten() -> None:
    clock = Clock()
    store = ResponseStore(kept_s=10, now=clock)
    store.put(stored("a"))
    store.put(stored("b"))
    clock.now = 9
    store.find("", "a")
    clock.now = 11
    assert (store.find("", "a") is not None, store.find("", "b")) == (True, None)
    assert store.n_bytes == size_of(0)


def test_a_conversation_lives_as_long_as_its_last_response() -> None:
    store = ResponseStore()
    first = stored("a")
    second, other = stored("b", first), stored("c", first)
    for each in (first, second, other):
        store.put(each)
    store.delete("", "a")
    assert (store.find("", "a"), store.n_bytes) == (None, 3 * size_of(0))
    assert second.chain() == [first, second]
    store.delete("", "b")
    assert store.n_bytes == 2 * size_of(0)
    store.delete("", "c")
    assert store.n_bytes == 0


def test_a_predecessor_that_was_dropped_meanwhile_is_kept_again() -> None:
    store = ResponseStore()
    first = stored("a")
    second = stored("b", first)
    store.put(first)
    store.put(second)
    store.delete("", "a")
    store.delete("", "b")
    store.put(stored("c", second))
    assert (len(store), store.n_bytes) == (1, 3 * size_of(0))
    store.delete("", "c")
    assert store.n_bytes == 0


@given(st.lists(st.tuples(st.integers(-1, 12), st.integers(0, 3000), st.sampled_from(["put", "delete", "find"]))))
def test_it_counts_what_it_keeps(steps: list[tuple[int, int, str]]) -> None:
    clock = Clock()
    store = ResponseStore(max_responses=6, max_bytes=20_000, kept_s=20, now=clock)
    known: list[StoredResponse] = []
    for i, (which, size, what) in enumerate(steps):
        clock.now += which + 1
        each = known[which] if 0 <= which < len(known) else None
        if what == "put":
            known.append(stored(str(i), each, size=size))
            store.put(known[-1])
        elif each is not None and what == "delete":
            store.delete("", each.id)
        elif each is not None:
            store.find("", each.id)
        alive = {id(part): part for one in known if one.id in store._of("") for part in one.chain()}
        assert store.n_bytes == sum(part.n_bytes for part in alive.values())
        assert len(store) <= 6
        assert store.n_bytes <= 20_000


def test_a_long_conversation_can_be_forgotten() -> None:
    store = ResponseStore(max_responses=50_000)
    last = None
    for i in range(20_000):
        last = stored(str(i), last)
        store.put(last)
    assert last is not None
    assert len(last.chain()) == 20_000
    for i in range(20_000):
        store.delete("", str(i))
    assert store.n_bytes == 0


@pytest.mark.parametrize("n", [0, 1])
def test_a_store_of_nothing(n: int) -> None:
    store = ResponseStore(max_responses=n)
    store.put(stored("a"))
    store.put(stored("b"))
    assert len(store) == n
