"""DiskTier over real directories: restarts, damage, strangers, limits, full disks."""

from __future__ import annotations

import logging
import os
import resource
import stat
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from llamahttp.cache.disk import STALE_S, DiskTier
from llamahttp.cache.snapshot import Snapshot, file_size
from llamahttp.errors import StartupError

from .snapshots import MODEL, snapshot

ONE, TWO, THREE = (snapshot(ids) for ids in ([1, 2], [3, 4], [5, 6]))
SIZE = file_size(ONE, MODEL)
PLENTY = 1 << 30


def opened(directory: Path, limit: int = PLENTY, model: str = MODEL) -> DiskTier:
    tier = DiskTier(directory, limit)
    tier.scan(model)
    return tier


def keys(directory: Path, model: str = MODEL) -> list[str]:
    """What a server that starts now would find."""
    return [key for key, _ in DiskTier(directory, PLENTY).scan(model)]


def write_all(tier: DiskTier, snapshots: Sequence[Snapshot]) -> None:
    for each in snapshots:
        assert tier.write(each.key, each).is_stored


def only_file(directory: Path) -> Path:
    (path,) = directory.iterdir()
    return path


@contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    path = tmp_path / "mounted"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("may not mount here")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_what_was_written_is_found_and_read_after_a_restart(tmp_path: Path) -> None:
    write_all(opened(tmp_path), [ONE, TWO])
    tier = DiskTier(tmp_path, PLENTY)
    found = tier.scan(MODEL)
    assert [key for key, _ in found] == [ONE.key, TWO.key]
    assert found[0][1].tokens.tolist() == [1, 2]
    assert tier.used == 2 * SIZE == sum(path.stat().st_size for path in tmp_path.iterdir())
    back = tier.read(ONE.key)
    assert back is not None and back.state == ONE.state


def test_the_directory_is_made_for_its_owner_only(tmp_path: Path) -> None:
    DiskTier(tmp_path / "a" / "b", PLENTY)
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_place_that_cannot_be_a_directory_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match=rf"--cache-disk .*{name}: cannot be written to"):
        DiskTier(tmp_path / name, PLENTY)


def test_a_directory_that_takes_no_files_is_named() -> None:
    with pytest.raises(StartupError, match="--cache-disk /proc/self: cannot be written to"):
        DiskTier(Path("/proc/self"), PLENTY)


def test_the_longest_unused_goes_when_the_limit_is_reached(tmp_path: Path) -> None:
    tier = opened(tmp_path, 2 * SIZE)
    write_all(tier, [ONE, TWO])
    tier.touch([ONE.key])
    written = tier.write(THREE.key, THREE)
    assert written.is_stored and written.gone == (TWO.key,)
    assert tier.used == 2 * SIZE
    assert keys(tmp_path) == [ONE.key, THREE.key]


def test_the_order_of_use_survives_a_restart(tmp_path: Path) -> None:
    tier = opened(tmp_path)
    write_all(tier, [ONE, TWO, THREE])
    tier.touch([THREE.key, ONE.key])
    tier.note_uses()
    assert keys(tmp_path) == [TWO.key, THREE.key, ONE.key]


def test_the_times_of_a_file_are_set_rarely_but_the_order_is_exact(tmp_path: Path) -> None:
    tier = DiskTier(tmp_path, 2 * SIZE, rescan_s=0, noted_s=3600)
    tier.scan(MODEL)
    write_all(tier, [ONE, TWO])
    times = [path.stat().st_mtime_ns for path in sorted(tmp_path.iterdir())]
    for _ in range(100):
        tier.touch([ONE.key])
    assert [path.stat().st_mtime_ns for path in sorted(tmp_path.iterdir())] == times
    assert tier.write(THREE.key, THREE).gone == (TWO.key,), "although the list was made anew"


def test_other_processes_see_what_is_used_for_long(tmp_path: Path) -> None:
    tier = DiskTier(tmp_path, PLENTY, noted_s=0)
    tier.scan(MODEL)
    write_all(tier, [ONE, TWO])
    tier.touch([ONE.key])
    assert keys(tmp_path) == [TWO.key, ONE.key]


def test_what_is_larger_than_the_limit_costs_nobody_his_place(tmp_path: Path) -> None:
    tier = opened(tmp_path, 2 * SIZE)
    write_all(tier, [ONE, TWO])
    large = snapshot([7], size=3000)
    written = tier.write(large.key, large)
    assert not written.is_stored and written.gone == ()
    assert keys(tmp_path) == [ONE.key, TWO.key]


def test_a_lower_limit_after_a_restart_is_kept_with_the_next_write(tmp_path: Path) -> None:
    write_all(opened(tmp_path), [ONE, TWO])
    tier = opened(tmp_path, SIZE)
    assert tier.write(THREE.key, THREE).is_stored
    assert tier.used == SIZE and keys(tmp_path) == [THREE.key]


def test_what_is_replaced_goes_after_the_write_but_first_where_room_is_needed(tmp_path: Path) -> None:
    tier = opened(tmp_path, 2 * SIZE)
    write_all(tier, [ONE, TWO])
    assert tier.write(THREE.key, THREE, [TWO.key]).gone == (TWO.key,)
    assert keys(tmp_path) == [ONE.key, THREE.key]
    roomy = opened(tmp_path)
    assert roomy.write(TWO.key, TWO, [ONE.key, "0" * 32]).gone == (ONE.key,)
    assert keys(tmp_path) == [THREE.key, TWO.key]


def test_another_models_files_count_and_go_but_are_not_found(tmp_path: Path) -> None:
    write_all(opened(tmp_path, model="another"), [ONE])
    tier = opened(tmp_path, 2 * SIZE)
    assert keys(tmp_path) == [] and tier.used == file_size(ONE, "another")
    write_all(tier, [TWO, THREE])
    assert keys(tmp_path, "another") == []
    assert keys(tmp_path) == [TWO.key, THREE.key]


def test_two_models_keep_the_same_prompt(tmp_path: Path) -> None:
    write_all(opened(tmp_path, model="another"), [ONE])
    write_all(opened(tmp_path), [ONE])
    assert keys(tmp_path) == keys(tmp_path, "another") == [ONE.key]


def test_files_that_are_not_ours_are_left_alone_and_do_not_count(tmp_path: Path) -> None:
    names = ["notes.txt", "model.gguf", f"{ONE.key}.kv1", f"{ONE.key}-zzzzzzzz.kv1", ".hidden.tmp"]
    for name in names:
        (tmp_path / name).write_bytes(b"x" * 5000)
    (tmp_path / "folder").mkdir()
    tier = opened(tmp_path, SIZE)
    assert tier.used == 0
    write_all(tier, [ONE, TWO])
    assert sorted(path.name for path in tmp_path.iterdir() if ONE.key not in path.name) == sorted(
        [*(name for name in names if ONE.key not in name), "folder", next(tmp_path.glob(f"{TWO.key}*")).name]
    )
    assert (tmp_path / f"{ONE.key}.kv1").exists()


def test_a_file_of_a_later_format_is_left_for_those_who_can_read_it(tmp_path: Path) -> None:
    write_all(opened(tmp_path), [ONE])
    later = only_file(tmp_path).rename(only_file(tmp_path).with_suffix(".kv99"))
    tier = opened(tmp_path)
    assert tier.used == SIZE and keys(tmp_path) == [] and later.exists()


@pytest.mark.parametrize("n_left", [0, 7, 30, 150, SIZE - 1])
def test_a_truncated_file_is_removed_at_the_start(tmp_path: Path, n_left: int) -> None:
    write_all(opened(tmp_path), [ONE, TWO])
    path = next(tmp_path.glob(f"{ONE.key}*"))
    os.truncate(path, n_left)
    tier = DiskTier(tmp_path, PLENTY)
    assert [key for key, _ in tier.scan(MODEL)] == [TWO.key]
    assert tier.used == SIZE and not path.exists()


def test_a_file_under_anothers_name_is_removed_at_the_start(tmp_path: Path) -> None:
    write_all(opened(tmp_path), [ONE])
    path = only_file(tmp_path)
    path.rename(path.with_name(path.name.replace(ONE.key, TWO.key)))
    assert keys(tmp_path) == [] and list(tmp_path.iterdir()) == []


def test_a_changed_state_is_noticed_when_it_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tier = opened(tmp_path)
    write_all(tier, [ONE])
    path = only_file(tmp_path)
    content = bytearray(path.read_bytes())
    content[-500] ^= 1
    path.write_bytes(content)
    assert keys(tmp_path) == [ONE.key]
    assert tier.read(ONE.key) is None
    assert "checksum" in caplog.text and tier.used == 0 and not path.exists()


def test_files_may_vanish_at_any_time(tmp_path: Path) -> None:
    tier = opened(tmp_path, 2 * SIZE)
    write_all(tier, [ONE, TWO])
    for path in tmp_path.iterdir():
        path.unlink()
    tier.touch([ONE.key])
    assert tier.read(ONE.key) is None
    tier.remove(TWO.key)
    assert tier.write(THREE.key, THREE).is_stored
    assert keys(tmp_path) == [THREE.key]


def test_the_directory_may_vanish_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tier = opened(tmp_path / "cache")
    (tmp_path / "cache").rmdir()
    assert not tier.write(ONE.key, ONE).is_stored
    assert "No such file" in caplog.text


def test_two_processes_share_a_directory(tmp_path: Path) -> None:
    first, second = opened(tmp_path, 2 * SIZE), opened(tmp_path, 2 * SIZE)
    write_all(first, [ONE])
    write_all(second, [ONE, TWO])
    assert second.write(THREE.key, THREE).gone == (ONE.key,)
    assert first.read(ONE.key) is None
    assert first.read(TWO.key) is not None  # it never saw it come


def test_what_other_processes_did_is_seen_before_room_is_made(tmp_path: Path) -> None:
    tier = DiskTier(tmp_path, 2 * SIZE, rescan_s=0)
    tier.scan(MODEL)
    write_all(tier, [ONE])
    for path in tmp_path.iterdir():
        path.unlink()
    write_all(opened(tmp_path), [TWO, THREE])
    four = snapshot([7, 8])
    assert tier.write(four.key, four).gone == (ONE.key, TWO.key)
    assert keys(tmp_path) == [THREE.key, four.key]


def test_unfinished_files_are_removed_when_nobody_can_be_writing_them(tmp_path: Path) -> None:
    names = [f".{ONE.key}-{'a' * 8}.kv1.{digit * 8}.tmp" for digit in "12"]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    long_ago = time.time() - STALE_S - 60
    os.utime(tmp_path / names[0], (long_ago, long_ago))
    opened(tmp_path)
    assert os.listdir(tmp_path) == [names[1]]


def test_a_failing_disk_is_logged_once_until_it_is_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tier = opened(tmp_path)
    write_all(tier, [ONE])
    for _ in range(2):
        with largest_file(100):
            assert not tier.write(TWO.key, TWO).is_stored
            assert not tier.write(THREE.key, THREE).is_stored
        assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1
        assert keys(tmp_path) == [ONE.key] and len(os.listdir(tmp_path)) == 1
        write_all(tier, [TWO])
        tier.remove(TWO.key)
        caplog.clear()


def test_on_a_small_disk_the_oldest_of_ours_make_room(small_disk: Path) -> None:
    tier = opened(small_disk)
    snapshots = [snapshot([n], size=10_000) for n in range(10)]
    write_all(tier, snapshots)
    kept = keys(small_disk)
    assert 3 <= len(kept) <= 5 and kept == [each.key for each in snapshots[-len(kept) :]]


def test_on_a_disk_full_of_other_things_nothing_is_written_or_removed(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tier = opened(small_disk)
    write_all(tier, [ONE])
    (small_disk / "other").write_bytes(bytes(40_000))
    large = snapshot([9], size=30_000)
    assert tier.write(large.key, large).gone == ()
    assert keys(small_disk) == [ONE.key] and "no room" in caplog.text
