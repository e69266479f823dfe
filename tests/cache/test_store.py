"""Store: RAM and disk together, as the engine uses them."""

from __future__ import annotations

import logging
import os
import queue
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamahttp.cache.disk import DiskTier
from llamahttp.cache.snapshot import Namespace, Snapshot
from llamahttp.cache.store import STAGED, Entry, Store

from .snapshots import MODEL, NAMESPACE, chain, snapshot, tokens

PLENTY = 1 << 30
SIZE = snapshot([1, 2]).n_bytes

Open = Callable[..., "Opened"]


class Opened:
    """A store and what its worker has announced."""

    def __init__(
        self, directory: Path | None, ram_limit: int | None, limit: int, can_cut: bool = True, staged: int = STAGED
    ) -> None:
        self.loaded: queue.SimpleQueue[None] = queue.SimpleQueue()
        disk = DiskTier(directory, limit) if directory is not None else None
        self.store = Store(ram_limit, disk, MODEL, lambda: self.loaded.put(None), can_cut=can_cut, staged=staged)

    def has(self, snapshot: Snapshot) -> bool:
        return self.store.catalog.get(snapshot.key) is not None

    def entry(self, snapshot: Snapshot) -> Entry:
        entry = self.store.catalog.get(snapshot.key)
        assert entry is not None, "not stored"
        return entry

    def load(self, snapshot: Snapshot) -> Snapshot | None:
        """Bring it into RAM, waiting for the disk; None if that failed."""
        entry = self.entry(snapshot)
        if not self.store.load(entry):
            self.loaded.get(timeout=10)
        return entry.snapshot


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Open]:
    opened: list[Opened] = []

    def open_store(
        ram_limit: int | None = PLENTY,
        *,
        disk: bool = True,
        limit: int = PLENTY,
        can_cut: bool = True,
        staged: int = STAGED,
    ) -> Opened:
        opened.append(Opened(tmp_path / "cache" if disk else None, ram_limit, limit, can_cut, staged))
        return opened[-1]

    yield open_store
    for each in opened:
        each.store.close()


def put(opened: Opened, *snapshots: Snapshot) -> None:
    for each in snapshots:
        assert opened.store.reserve(each.n_bytes)
        opened.store.add(each)


def files(tmp_path: Path) -> int:
    return len(os.listdir(tmp_path / "cache"))


ONE, TWO, THREE = snapshot([1, 2]), snapshot([3, 4]), snapshot([5, 6])


# --- RAM alone


def test_what_was_added_is_there(open_store: Open) -> None:
    opened = open_store(disk=False)
    put(opened, ONE)
    assert opened.has(ONE) and not opened.has(TWO)
    assert opened.store.load(opened.entry(ONE)) and opened.entry(ONE).snapshot is ONE
    assert opened.store.catalog.deepest(NAMESPACE, tokens([1, 9])) == (1, [opened.entry(ONE)])
    assert opened.store.ram_bytes == SIZE and opened.store.disk_bytes == 0
    assert not opened.store.has_disk


def test_off_is_off(open_store: Open) -> None:
    opened = open_store(0, disk=False)
    assert opened.store.is_off and not opened.store.reserve(1)
    opened.store.add(ONE)
    assert not opened.has(ONE) and opened.store.ram_bytes == 0
    assert not open_store(0).store.is_off and not open_store(1, disk=False).store.is_off


def test_room_is_made_before_the_copy_and_the_longest_unused_goes(open_store: Open) -> None:
    opened = open_store(2 * SIZE, disk=False)
    put(opened, ONE, TWO)
    opened.store.touch(opened.entry(ONE))
    assert opened.store.reserve(SIZE)
    assert opened.store.ram_bytes == SIZE and opened.has(ONE) and not opened.has(TWO)


def test_what_never_fits_costs_nobody_his_place(open_store: Open) -> None:
    opened = open_store(2 * SIZE, disk=False)
    put(opened, ONE, TWO)
    assert not opened.store.reserve(2 * SIZE + 1)
    opened.store.add(snapshot([7], size=3 * SIZE))
    assert opened.has(ONE) and opened.has(TWO) and opened.store.ram_bytes == 2 * SIZE


def test_what_a_slot_is_about_to_use_stays(open_store: Open) -> None:
    opened = open_store(2 * SIZE, disk=False)
    put(opened, ONE, TWO)
    entry = opened.entry(ONE)
    assert opened.store.load(entry)
    put(opened, THREE)
    assert opened.has(ONE) and not opened.has(TWO)
    opened.store.load(opened.entry(THREE))
    assert not opened.store.reserve(SIZE)
    opened.store.touch(entry)
    assert opened.store.reserve(SIZE) and entry.is_gone and entry.snapshot is None


def test_no_limit(open_store: Open) -> None:
    opened = open_store(None, disk=False)
    assert opened.store.reserve(1 << 60)


def test_a_longer_snapshot_takes_the_place_of_a_shorter_one(open_store: Open) -> None:
    opened = open_store(disk=False)
    first, longer, other = snapshot([1, 2]), snapshot([1, 2, 3]), snapshot([1, 2, 4])
    put(opened, first, longer, other)
    assert not opened.has(first) and opened.has(longer) and opened.has(other)
    assert opened.store.ram_bytes == longer.n_bytes + other.n_bytes


def test_another_start_salt_or_adapter_takes_no_ones_place(open_store: Open) -> None:
    opened = open_store(disk=False)
    all_of_them = [
        snapshot([1, 2]),
        snapshot([1, 2, 3], after=ONE),
        snapshot([1, 2, 3], namespace=Namespace("salt")),
        snapshot([1, 2, 3, 4], namespace=Namespace("", ((0, 1.0),))),
    ]
    put(opened, *all_of_them)
    assert all(opened.has(each) for each in all_of_them)


def test_where_memory_cannot_be_cut_only_a_checkpoint_stands_for_a_shorter_state(open_store: Open) -> None:
    opened = open_store(disk=False, can_cut=False)
    put(opened, snapshot([1, 2]), snapshot([1, 2, 3]), snapshot([1, 2, 3, 4], checkpoints=[2]))
    assert not opened.has(snapshot([1, 2]))
    assert opened.has(snapshot([1, 2, 3]))
    positions = [position for position, _ in opened.store.catalog.prefixes(NAMESPACE, tokens([1, 2, 3, 4]))]
    assert positions == [4, 3, 2]


def test_the_same_again_is_a_use_and_with_other_checkpoints_it_is_new(open_store: Open) -> None:
    opened = open_store(disk=False)
    put(opened, ONE, TWO, snapshot([1, 2]))
    assert opened.entry(ONE).snapshot is ONE
    put(opened, snapshot([1, 2], checkpoints=[1]))
    assert opened.entry(ONE).checkpoints == (1,)
    assert opened.store.ram_bytes == 2 * SIZE + len(b"part")


def test_of_a_chain_of_pieces_the_last_goes_first(open_store: Open) -> None:
    pieces = chain(10)
    opened = open_store(sum(piece.n_bytes for piece in pieces[:5]) + 50, disk=False)
    for piece in pieces:
        opened.store.reserve(piece.n_bytes)
        opened.store.add(piece)
    assert all(opened.has(piece) for piece in pieces[:4])
    assert not any(opened.has(piece) for piece in pieces[5:]), "nobody would find them"


class Reference:
    """What a store over RAM alone should hold."""

    def __init__(self, limit: int) -> None:
        self.limit, self.held = limit, dict[tuple[int, ...], int]()

    def add(self, ids: tuple[int, ...], n_bytes: int) -> None:
        if ids in self.held:
            self.held[ids] = self.held.pop(ids)
            return
        if n_bytes > self.limit:
            return
        while sum(self.held.values()) + n_bytes > self.limit:
            del self.held[next(iter(self.held))]
        for other in [other for other in self.held if other == ids[: len(other)]]:
            del self.held[other]
        self.held[ids] = n_bytes


@given(st.lists(st.tuples(st.lists(st.integers(0, 1), min_size=1, max_size=4), st.integers(0, 300))))
@settings(max_examples=200, deadline=None)
def test_the_limit_and_the_order_are_kept_whatever_is_added(added: list[tuple[list[int], int]]) -> None:
    opened, reference = Opened(None, 600, 0), Reference(600)
    for ids, size in added:
        each = snapshot(ids, size=size)
        opened.store.add(each)
        reference.add(tuple(ids), each.n_bytes)
        assert opened.store.ram_bytes == sum(reference.held.values()) <= 600
        for held in reference.held:
            assert opened.has(snapshot(held))


# --- RAM and disk


def test_a_restart_keeps_what_is_on_disk(open_store: Open) -> None:
    first = open_store()
    put(first, ONE, snapshot([3, 4], checkpoints=[1]))
    first.store.close()
    second = open_store()
    assert second.has(ONE) and second.entry(TWO).checkpoints == (1,)
    assert second.store.ram_bytes == 0 and second.store.disk_bytes > 2 * SIZE
    back = second.load(ONE)
    assert back is not None and back.state == ONE.state and second.entry(ONE).from_disk
    assert second.store.load(second.entry(ONE)) and second.store.ram_bytes == SIZE
    second.store.touch(second.entry(ONE))
    assert not second.entry(ONE).from_disk


def test_what_ram_gives_up_comes_back_from_disk(open_store: Open) -> None:
    opened = open_store(SIZE)
    put(opened, ONE, TWO, THREE)
    opened.store.close()
    assert opened.store.ram_bytes <= SIZE
    again = open_store(SIZE)
    for each in (ONE, TWO, THREE):
        back = again.load(each)
        assert back is not None and back.state == each.state
        again.store.touch(again.entry(each))
        assert again.store.ram_bytes <= SIZE


def test_without_ram_everything_passes_through_to_disk(open_store: Open) -> None:
    opened = open_store(0)
    put(opened, ONE, TWO)
    opened.store.close()
    assert opened.store.ram_bytes == 0
    again = open_store(0)
    back = again.load(ONE)
    assert back is not None and back.state == ONE.state
    entry = again.entry(ONE)
    again.store.touch(entry)
    assert again.store.ram_bytes == 0 and entry.snapshot is None and not entry.is_gone


def test_what_is_larger_than_ram_passes_through_too(open_store: Open) -> None:
    large = snapshot([1, 2, 3], size=5 * SIZE)
    opened = open_store(SIZE, staged=2 * SIZE)
    put(opened, large)
    assert not opened.store.reserve(large.n_bytes)  # not beside the other one
    opened.store.close()
    assert opened.store.ram_bytes == 0 and opened.has(large) and opened.store.reserve(large.n_bytes)


def test_several_pieces_can_be_wanted_at_once_without_ram(open_store: Open) -> None:
    pieces = chain(6)
    first = open_store()
    put(first, *pieces)
    first.store.close()
    opened = open_store(0)
    entries = [opened.entry(piece) for piece in pieces]
    assert not any([opened.store.load(entry) for entry in entries])
    for _ in entries:
        opened.loaded.get(timeout=10)
    assert all([opened.store.load(entry) for entry in entries])
    opened.store.touch(*entries)
    assert opened.store.ram_bytes == 0


def test_a_longer_snapshot_takes_the_file_of_the_shorter_one_too(open_store: Open, tmp_path: Path) -> None:
    opened = open_store()
    for n in range(1, 60):  # some are written, some being written, some waiting when they are replaced
        put(opened, snapshot(range(n)))
    opened.store.close()
    assert files(tmp_path) == 1
    assert open_store().has(snapshot(range(59)))


def test_new_checkpoints_replace_the_file(open_store: Open, tmp_path: Path) -> None:
    opened = open_store(can_cut=False)
    put(opened, ONE, snapshot([1, 2], checkpoints=[1]))
    opened.store.close()
    assert files(tmp_path) == 1
    assert open_store(can_cut=False).entry(ONE).checkpoints == (1,)


def test_a_damaged_file_costs_that_entry_and_nothing_else(
    open_store: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = open_store()
    put(first, ONE, TWO)
    first.store.close()
    (path,) = (tmp_path / "cache").glob(f"{ONE.key}*")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    opened = open_store()
    entry = opened.entry(ONE)
    assert opened.load(ONE) is None and entry.is_gone
    assert not opened.has(ONE) and opened.load(TWO) is not None
    assert opened.store.ram_bytes == SIZE and "checksum" in caplog.text
    assert not opened.store.load(entry)


def test_a_file_that_vanished_is_a_miss(open_store: Open, tmp_path: Path) -> None:
    first = open_store()
    put(first, ONE)
    first.store.close()
    opened = open_store()
    for path in (tmp_path / "cache").iterdir():
        path.unlink()
    assert opened.load(ONE) is None
    assert not opened.has(ONE) and opened.store.ram_bytes == 0
    put(opened, ONE)
    opened.store.close()
    assert files(tmp_path) == 1


def test_what_the_disk_gives_up_stays_in_ram(open_store: Open, tmp_path: Path) -> None:
    opened = open_store(limit=2 * SIZE)  # room for one file
    put(opened, ONE, TWO)
    opened.store.close()
    assert files(tmp_path) == 1 and opened.store.disk_bytes <= 2 * SIZE
    assert opened.has(ONE) and not opened.entry(ONE).on_disk and opened.entry(TWO).on_disk


def test_two_stores_share_a_directory(open_store: Open) -> None:
    first, second = open_store(limit=2 * SIZE), open_store(limit=2 * SIZE)
    put(first, ONE)
    put(second, TWO)
    first.store.close()
    second.store.close()
    third = open_store(limit=2 * SIZE)
    assert third.has(ONE) and third.has(TWO)
    put(third, THREE)
    third.store.close()
    assert not third.has(ONE) and third.has(THREE)


def test_on_a_full_disk_ram_goes_on(open_store: Open, caplog: pytest.LogCaptureFixture) -> None:
    opened = open_store()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        put(opened, ONE, TWO)
        opened.store.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert opened.has(ONE) and opened.has(TWO) and not opened.entry(ONE).on_disk
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_an_entry_replaced_while_it_is_read_leaves_nothing_behind(open_store: Open, tmp_path: Path) -> None:
    first = open_store()
    put(first, ONE)
    first.store.close()
    opened = open_store()
    entry = opened.entry(ONE)
    assert not opened.store.load(entry)
    longer = snapshot([1, 2, 3])
    put(opened, longer)
    opened.loaded.get(timeout=10)
    assert not opened.store.load(entry) and entry.is_gone and entry.snapshot is None
    assert opened.store.ram_bytes == longer.n_bytes
    opened.store.close()
    assert files(tmp_path) == 1


def test_the_same_prompt_with_another_salt_is_another_file(open_store: Open) -> None:
    first = open_store()
    put(first, ONE, snapshot([1, 2], namespace=Namespace("salt")))
    first.store.close()
    second = open_store()
    assert second.has(ONE) and second.has(snapshot([1, 2], namespace=Namespace("salt")))
    assert second.store.catalog.deepest(Namespace("other"), ONE.tokens) == (0, [])


def test_a_short_prompt_among_long_ones_is_compared_token_by_token(open_store: Open) -> None:
    opened = open_store(disk=False)
    ids = np.random.default_rng(1).integers(0, 1000, 5000).tolist()
    put(opened, snapshot(ids))
    changed = [*ids[:4000], -1, *ids[4001:]]
    assert opened.store.catalog.deepest(NAMESPACE, tokens(changed))[0] == 4000
    assert opened.store.catalog.prefixes(NAMESPACE, tokens(changed)) == []
