"""Catalog: what is found for a prompt."""

from __future__ import annotations

from llamahttp.cache.catalog import Catalog, Entry
from llamahttp.cache.snapshot import Namespace

from .snapshots import tokens

HERE = Namespace()


def entry(
    catalog: Catalog, ids: str, after: Entry | None = None, checkpoints: tuple[int, ...] = (), salt: str = ""
) -> Entry:
    """Add an entry; its letters are its tokens."""
    parent, start = ("", 0) if after is None else (after.key, after.n_tokens)
    made = Entry(f"{salt}/{parent}/{ids}", Namespace(salt), parent, start, start + len(ids), checkpoints, 100)
    catalog.add(made, tokens(ids.encode()))
    return made


def of(catalog: Catalog, ids: str, after: str = "") -> list[tuple[int, Entry]]:
    return catalog.prefixes(HERE, tokens(ids.encode()), after)


def test_prefixes_are_ends_and_checkpoints() -> None:
    catalog = Catalog()
    long = entry(catalog, "abcdef", checkpoints=(1, 4))
    short = entry(catalog, "abc")
    assert of(catalog, "abcdexyz") == [(4, long), (3, short), (1, long)]
    assert of(catalog, "xbc") == []


def test_the_deepest_may_go_on_differently() -> None:
    catalog = Catalog()
    whole = entry(catalog, "abcxyz", checkpoints=(2, 5))
    assert catalog.deepest(HERE, tokens(b"abcdef")) == (3, [whole])
    assert catalog.deepest(HERE, tokens(b"b")) == (0, [])


def test_what_continues_another_is_found_there_only() -> None:
    catalog = Catalog()
    first = entry(catalog, "abc")
    second, third = entry(catalog, "defg", first), entry(catalog, "dXY", first)
    assert of(catalog, "defgh", first.key) == [(7, second)]
    assert of(catalog, "defgh") == of(catalog, "defgh", second.key) == []
    assert catalog.deepest(HERE, tokens(b"dX?"), first.key) == (2, [third])


def test_salts_and_adapters_share_nothing() -> None:
    catalog = Catalog()
    entry(catalog, "abc", salt="one")
    for namespace in (HERE, Namespace("two"), Namespace("one", ((0, 1.0),)), Namespace("one", is_moved=True)):
        assert catalog.deepest(namespace, tokens(b"abc")) == (0, [])
        assert catalog.prefixes(namespace, tokens(b"abc")) == []
        assert catalog.exact(namespace, tokens(b"abc")) is None


def test_exact_is_all_tokens_and_the_parent() -> None:
    catalog = Catalog()
    first = entry(catalog, "abc")
    made = entry(catalog, "def", first)
    entry(catalog, "d", first)
    entry(catalog, "defg", first, checkpoints=(6,))
    assert catalog.exact(HERE, tokens(b"def"), first.key) is made
    assert catalog.exact(HERE, tokens(b"def")) is None
    assert catalog.exact(HERE, tokens(b"de"), first.key) is None


def test_a_piece_builds_on_those_before_it_as_far_as_they_are_there() -> None:
    catalog = Catalog()
    first = entry(catalog, "ab")
    second = entry(catalog, "cd", first)
    entry(catalog, "X", first)
    third = entry(catalog, "ef", second)
    assert catalog.chain(third) == [third, second, first]
    assert catalog.chain(first) == [first]
    catalog.remove(second)
    assert catalog.chain(third) == [third]
    assert of(catalog, "ef", second.key) == [(6, third)], "it is found by those who know what comes before"


def test_what_was_removed_is_not_found_and_other_removals_do_nothing() -> None:
    catalog = Catalog()
    old = entry(catalog, "abc", checkpoints=(2,))
    catalog.remove(old)
    assert len(catalog) == 0 and of(catalog, "abc") == []
    new = entry(catalog, "abc")
    catalog.remove(old)
    assert list(catalog) == [new] and of(catalog, "abc") == [(3, new)]
