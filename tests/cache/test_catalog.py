"""Catalog: what is found for a prompt."""

from __future__ import annotations

from llamahttp.cache.catalog import Catalog, Entry
from llamahttp.cache.snapshot import Namespace

from .snapshots import tokens

HERE = Namespace()


def entry(catalog: Catalog, ids: str, start: int = 0, checkpoints: tuple[int, ...] = (), salt: str = "") -> Entry:
    """Add an entry; its letters are its tokens."""
    made = Entry(f"{salt}/{start}/{ids}", Namespace(salt), start, len(ids), checkpoints, 100)
    catalog.add(made, tokens(ids.encode()))
    return made


def of(catalog: Catalog, ids: str, salt: str = "") -> list[tuple[int, Entry]]:
    return catalog.prefixes(Namespace(salt), tokens(ids.encode()))


def test_prefixes_are_ends_and_checkpoints() -> None:
    catalog = Catalog()
    long = entry(catalog, "abcdef", checkpoints=(1, 4))
    short = entry(catalog, "abc")
    assert of(catalog, "abcdexyz") == [(4, long), (3, short), (1, long)]
    assert of(catalog, "xbc") == []


def test_the_longest_may_go_on_differently_but_starts_at_the_beginning() -> None:
    catalog = Catalog()
    whole = entry(catalog, "abcxyz")
    piece = entry(catalog, "abcdef", start=3)
    assert catalog.longest(HERE, tokens(b"abcdef")) == (whole, 3)
    assert of(catalog, "abcdef") == [(6, piece)]
    assert catalog.longest(HERE, tokens(b"b")) is None


def test_salts_and_adapters_share_nothing() -> None:
    catalog = Catalog()
    entry(catalog, "abc", salt="one")
    for namespace in (HERE, Namespace("two"), Namespace("one", ((0, 1.0),))):
        assert catalog.longest(namespace, tokens(b"abc")) is None
        assert catalog.prefixes(namespace, tokens(b"abc")) == []
        assert catalog.exact(namespace, tokens(b"abc"), 0) is None


def test_exact_is_tokens_and_start() -> None:
    catalog = Catalog()
    made = entry(catalog, "abcdef", start=3)
    entry(catalog, "abcd", start=3)
    entry(catalog, "abcdefg", start=3, checkpoints=(6,))
    assert catalog.exact(HERE, tokens(b"abcdef"), 3) is made
    assert catalog.exact(HERE, tokens(b"abcdef"), 2) is None
    assert catalog.exact(HERE, tokens(b"abcde"), 3) is None


def test_a_piece_builds_on_those_before_it() -> None:
    catalog = Catalog()
    first, second = entry(catalog, "ab"), entry(catalog, "abcd", start=2)
    entry(catalog, "abX", start=2)
    third = entry(catalog, "abcdef", start=4)
    orphan = entry(catalog, "abcdefghij", start=8)
    assert catalog.chain(third) == [third, second, first]
    assert catalog.chain(first) == [first]
    assert catalog.chain(orphan) == [orphan, third, second, first]


def test_what_was_removed_is_not_found_and_other_removals_do_nothing() -> None:
    catalog = Catalog()
    old = entry(catalog, "abc", checkpoints=(2,))
    catalog.remove(old)
    assert len(catalog) == 0 and of(catalog, "abc") == []
    new = entry(catalog, "abc")
    catalog.remove(old)
    assert list(catalog) == [new] and of(catalog, "abc") == [(3, new)]
