"""Files of snapshots: what was written comes back, and whatever happened to a file is noticed."""

from __future__ import annotations

import json
import os
import resource
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llamahttp.cache.snapshot import (
    CHECKSUM,
    FORMAT,
    MAGIC,
    PREAMBLE,
    Checkpoint,
    Namespace,
    Snapshot,
    file_size,
    read_header,
    read_snapshot,
    snapshot_key,
    write_snapshot,
)
from llamahttp.errors import SnapshotError

NAMESPACE = Namespace("tenant", ((0, 0.5), (2, -1.25)))
MODEL = "0123456789abcdef of a model"


def make(n_tokens: int = 20, start: int = 0, state: bytes = bytes(range(256)) * 4) -> Snapshot:
    tokens = np.arange(100, 100 + n_tokens, dtype=np.int32)
    return Snapshot(NAMESPACE, tokens, start, state, (Checkpoint(5, b"five"), Checkpoint(12, b"")))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with a snapshot."""
    path = tmp_path / "conversation.bin"
    write_snapshot(path, make(), MODEL)
    return path


@contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    """No file may grow beyond `n_bytes` meanwhile, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    snapshot = replace(make(start=7), parent=make(7).key)
    path = tmp_path / "a"
    assert write_snapshot(path, snapshot, MODEL) == path.stat().st_size == file_size(snapshot, MODEL)
    back = read_snapshot(path, MODEL)
    assert (back.namespace, back.start, back.parent) == (NAMESPACE, 7, make(7).key)
    assert back.state == snapshot.state
    assert back.checkpoints == snapshot.checkpoints
    assert back.tokens.dtype == np.int32 and back.tokens.tolist() == snapshot.tokens.tolist()
    assert (back.key, back.n_bytes) == (snapshot.key, snapshot.n_bytes)


def test_a_header_says_all_but_the_states(path: Path) -> None:
    header = read_header(path)
    assert (header.fingerprint, header.namespace, header.start) == (MODEL, NAMESPACE, 0)
    assert header.tokens.tolist() == make().tokens.tolist()
    assert header.checkpoints == ((5, 4), (12, 0))
    assert header.n_bytes == make().n_bytes


def test_nothing_at_all_can_be_kept_too(tmp_path: Path) -> None:
    empty = Snapshot(Namespace(), np.empty(0, np.int32), 0, b"")
    write_snapshot(tmp_path / "a", empty, "")
    assert read_snapshot(tmp_path / "a", "").n_bytes == 0


def test_a_state_of_several_chunks_comes_back(tmp_path: Path) -> None:
    state = np.random.default_rng(1).bytes(3_500_001)
    write_snapshot(tmp_path / "a", make(state=state), MODEL)
    assert read_snapshot(tmp_path / "a", MODEL).state == state


def test_a_snapshot_keeps_its_own_tokens() -> None:
    tokens = np.arange(4, dtype=np.int32)
    snapshot = Snapshot(Namespace(), tokens, 0, b"")
    tokens[:] = 9
    assert snapshot.tokens.tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="read-only"):
        snapshot.tokens[0] = 1


def test_keys_tell_apart_what_differs() -> None:
    tokens = make().tokens
    keys = {
        snapshot_key(NAMESPACE, tokens, 0),
        snapshot_key(NAMESPACE, tokens, 1),
        snapshot_key(NAMESPACE, tokens[:-1], 0),
        snapshot_key(NAMESPACE, tokens[::-1], 0),
        snapshot_key(Namespace("tenant"), tokens, 0),
        snapshot_key(Namespace("other", NAMESPACE.adapters), tokens, 0),
        snapshot_key(Namespace("tenant", NAMESPACE.adapters, is_moved=True), tokens, 0),
        snapshot_key(NAMESPACE, tokens, 0, make().key),
    }
    assert len(keys) == 8
    assert make().key == snapshot_key(NAMESPACE, tokens.copy(), 0)


def test_files_are_for_their_owner_only(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_is_replaced_whole(path: Path) -> None:
    write_snapshot(path, make(n_tokens=15), MODEL)
    assert len(read_snapshot(path, MODEL).tokens) == 15
    assert os.listdir(path.parent) == [path.name]


def test_a_file_cut_anywhere_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        with pytest.raises(SnapshotError, match=r"conversation\.bin: (truncated|damaged|not a file)"):
            read_snapshot(path, MODEL)
        with pytest.raises(SnapshotError):
            read_header(path)


def test_a_file_with_any_byte_changed_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    for n in range(len(whole)):
        path.write_bytes(whole[:n] + bytes([whole[n] ^ 0x10]) + whole[n + 1 :])
        with pytest.raises(SnapshotError):
            read_snapshot(path, MODEL)


def test_a_file_with_something_behind_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(SnapshotError, match="damaged"):
        read_snapshot(path, MODEL)


@pytest.mark.parametrize("content", [b"", b"GGUF\3\0\0\0" * 100, b"{}", os.urandom(4096)])
def test_a_foreign_file_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(SnapshotError, match="not a file of saved slots"):
        read_snapshot(path, MODEL)


def test_another_format_version_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:8] + (FORMAT + 1).to_bytes(4, "little") + whole[12:])
    with pytest.raises(SnapshotError, match=f"format version {FORMAT + 1}, but this server reads {FORMAT}"):
        read_snapshot(path, MODEL)


def test_another_model_is_refused_and_both_are_named(path: Path) -> None:
    with pytest.raises(SnapshotError, match=r"\(0123456789abcdef\.\.\.\) than is loaded \(llama\)") as caught:
        read_snapshot(path, "llama")
    assert caught.value.status == 400


def forged(header: object, n_tokens: int = 2, header_size: int | None = None, version: int = FORMAT) -> bytes:
    """A file whose checksums are right, by somebody else."""
    text = json.dumps(header).encode()
    size = len(text) if header_size is None else header_size
    head = PREAMBLE.pack(MAGIC, version, size, n_tokens) + text + bytes(8)
    return head + CHECKSUM.pack(zlib.crc32(head)) + CHECKSUM.pack(0)


GOOD = {"fingerprint": MODEL, "salt": "", "adapters": [], "start": 0, "state": 0, "checkpoints": []}


@pytest.mark.parametrize(
    "content",
    [
        forged([]),
        forged({}),
        forged(GOOD | {"adapters": 3}),
        forged(GOOD | {"start": -1}),
        forged(GOOD | {"state": -1}),
        forged(GOOD | {"state": 1 << 60}),
        forged(GOOD | {"state": float("inf")}),
        forged(GOOD | {"checkpoints": [[3, 0]]}),
        forged(GOOD | {"checkpoints": [[1, -1], [1, 1]]}),
        forged(GOOD, n_tokens=1 << 60),
        forged(GOOD, header_size=(1 << 32) - 1),
    ],
)
def test_a_forged_header_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(SnapshotError, match=r"damaged|truncated"):
        read_snapshot(path, MODEL)


def test_of_format_1_slots_can_be_read_but_no_parts(path: Path) -> None:
    path.write_bytes(forged(GOOD, version=1))
    assert read_snapshot(path, MODEL).tokens.tolist() == [0, 0]
    path.write_bytes(forged(GOOD | {"start": 1}, version=1))
    with pytest.raises(SnapshotError, match="format version 1, of which"):
        read_snapshot(path, MODEL)


def test_files_from_before_parts_were_moved_say_nothing_of_it(path: Path) -> None:
    path.write_bytes(forged(GOOD))
    assert not read_snapshot(path, MODEL).namespace.is_moved
    moved = Snapshot(Namespace("tenant", is_moved=True), np.zeros(2, np.int32), 0, b"state")
    write_snapshot(path, moved, MODEL)
    assert read_snapshot(path, MODEL).namespace == moved.namespace


def test_the_forged_files_are_wrong_in_one_point_only(path: Path) -> None:
    path.write_bytes(forged(GOOD))
    assert read_snapshot(path, MODEL).tokens.tolist() == [0, 0]


def test_what_cannot_be_opened_is_named_without_its_directory(tmp_path: Path) -> None:
    for name, reason in (("missing", "No such file"), (".", "Is a directory")):
        with pytest.raises(SnapshotError, match=reason) as caught:
            read_snapshot(tmp_path / name, MODEL)
        assert str(tmp_path.parent) not in str(caught.value)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(path: Path) -> None:
    with largest_file(1000), pytest.raises(OSError):
        write_snapshot(path, make(state=bytes(5000)), MODEL)
    assert read_snapshot(path, MODEL).state == make().state
    assert os.listdir(path.parent) == [path.name]


def test_a_directory_that_is_gone_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_snapshot(tmp_path / "gone" / "a", make(), MODEL)
