"""Snapshot: the memory of a sequence outside of the context, and the file that keeps it.

Written to be handed between threads and processes: frozen, and checked before any of it reaches libllama, where a
changed byte could end the process.

    preamble    magic, format version, length of the header, tokens
    header      JSON: fingerprint of the model, namespace, positions, sizes
    tokens      int32[n_tokens], little-endian
    checksum    of all that precedes
    state, then the states of the checkpoints, as libllama wrote them
    checksum    of these

The checksums are CRC-32. They are there for faults (bad sectors, cut copies), which they miss once in four thousand
million times; against somebody who may write the file no checksum helps, only the file's mode. Measured here: 2.2 GB/s,
BLAKE2b 0.9 and SHA-256 1.2, and the states are gigabytes that a request waits for.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import SnapshotError

MAGIC = b"\x89LHKV\r\n\x1a"
"""Begins every file; mangled by whatever takes the file for text, as PNG's is."""
FORMAT = 2
"""To be raised whenever older servers could misread what newer ones write. Format 1 had no `parent`, but all tokens
from 0 on; it can be read where that is the same, which it is for slots."""
PREAMBLE = struct.Struct("<8sIIQ")
CHECKSUM = struct.Struct("<I")
MOST_HEADER = 16 << 20
"""Longest header in bytes that is read."""
CHUNK = 1 << 20
"""Bytes that are written and summed up at once, while they are in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """What must be equal, besides tokens, before memory may be shared."""

    salt: str = ""
    adapters: tuple[tuple[int, float], ...] = ()
    is_moved: bool = False
    """For tasks that move parts of prompts: what they compute after that is not exact, so it is shared only with their
    like."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The part of a sequence's memory that cannot be cut, as it was after `n_tokens` tokens."""

    n_tokens: int
    state: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The memory of positions [start, stop) of a sequence.

    It depends on all tokens before `stop`: those before `start` are those of the snapshot that `parent` names, of the
    one that this one in turn continues, and so on.
    """

    namespace: Namespace
    tokens: NDArray[np.int32]
    """Those of [start, stop). Copied, and read-only."""
    start: int
    state: bytes
    checkpoints: tuple[Checkpoint, ...] = ()
    parent: str = ""
    """Key of the snapshot that ends at `start`; empty at 0."""

    def __post_init__(self) -> None:
        tokens = np.array(self.tokens, np.int32)
        tokens.flags.writeable = False
        object.__setattr__(self, "tokens", tokens)

    @property
    def key(self) -> str:
        """Names what is in it: 32 hexadecimal digits from namespace, start, tokens and parent."""
        return snapshot_key(self.namespace, self.tokens, self.start, self.parent)

    @property
    def n_bytes(self) -> int:
        """All that it holds."""
        states = sum(len(checkpoint.state) for checkpoint in self.checkpoints)
        return self.tokens.nbytes + len(self.state) + states


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """What a file says of its snapshot; the sizes of the states are in bytes."""

    fingerprint: str
    namespace: Namespace
    tokens: NDArray[np.int32]
    start: int
    state_size: int
    checkpoints: tuple[tuple[int, int], ...]
    """Pairs (n_tokens, bytes of its state)."""
    parent: str = ""

    @property
    def n_bytes(self) -> int:
        """`Snapshot.n_bytes` of what the file holds."""
        return int(self.tokens.nbytes) + self.payload_size

    @property
    def payload_size(self) -> int:
        return self.state_size + sum(size for _, size in self.checkpoints)


def snapshot_key(namespace: Namespace, tokens: NDArray[np.int32], start: int = 0, parent: str = "") -> str:
    """`Snapshot.key` of a snapshot that one need not have."""
    if parent:  # of which the namespace is a part
        beginning = f"{parent}{start:016x}"
    else:
        beginning = json.dumps([namespace.salt, namespace.adapters, namespace.is_moved, start])
    digest = hashlib.blake2b(beginning.encode(), digest_size=16)
    digest.update(np.ascontiguousarray(tokens, "<i4").data)
    return digest.hexdigest()


def file_size(snapshot: Snapshot, fingerprint: str) -> int:
    """Bytes that `write_snapshot` will write."""
    payload = snapshot.n_bytes - snapshot.tokens.nbytes
    return len(_head(snapshot, fingerprint)) + payload + CHECKSUM.size


def write_snapshot(path: Path, snapshot: Snapshot, fingerprint: str) -> int:
    """Write or replace a file, for its owner's eyes only. Returns its size in bytes.

    Whoever reads `path`, also after a crash, finds the old file or the new one whole. OSError (a full disk, say) passes
    through, and then nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb", buffering=0) as file:
            _write_all(file, _head(snapshot, fingerprint))
            checksum = 0
            for state in (snapshot.state, *(checkpoint.state for checkpoint in snapshot.checkpoints)):
                checksum = _write_all(file, state, checksum)
            _write_all(file, CHECKSUM.pack(checksum))
            n_written = file.tell()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    return n_written


def read_snapshot(path: Path, fingerprint: str) -> Snapshot:
    """The snapshot in a file, if it is of the model that `fingerprint` names and every byte is as it was written.

    Raises SnapshotError, which names the file without its directory, since clients see it.
    """
    with _opened(path) as file:
        header = _read_head(file, path.name)
        if header.fingerprint != fingerprint:
            theirs, ours = _short(header.fingerprint), _short(fingerprint)
            raise SnapshotError(
                f"{path.name}: saved with another model, build or number of separate slots ({theirs}) than is loaded "
                f"({ours})"
            )
        sizes = (header.state_size, *(size for _, size in header.checkpoints))
        state, *others = [_read(file, size, path.name) for size in sizes]
        _check(file, path.name, (state, *others))
    positions = (n_tokens for n_tokens, _ in header.checkpoints)
    checkpoints = tuple(Checkpoint(*pair) for pair in zip(positions, others, strict=True))
    return Snapshot(header.namespace, header.tokens, header.start, state, checkpoints, header.parent)


def read_header(path: Path) -> Header:
    """What is in a file, of whatever model, without its states. Raises SnapshotError.

    Checked is all that it returns, and that the file has the length it should have.
    """
    with _opened(path) as file:
        return _read_head(file, path.name)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """An open file, and OSError as SnapshotError: what cannot be read is the fault of whoever named it."""
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise SnapshotError(f"{path.name}: {error.strerror or error}") from error


def _head(snapshot: Snapshot, fingerprint: str) -> bytes:
    """All that stands before the states."""
    header = {
        "fingerprint": fingerprint,
        "salt": snapshot.namespace.salt,
        "adapters": snapshot.namespace.adapters,
        "moved": snapshot.namespace.is_moved,
        "start": snapshot.start,
        "parent": snapshot.parent,
        "state": len(snapshot.state),
        "checkpoints": [(checkpoint.n_tokens, len(checkpoint.state)) for checkpoint in snapshot.checkpoints],
    }
    text = json.dumps(header).encode()
    preamble = PREAMBLE.pack(MAGIC, FORMAT, len(text), len(snapshot.tokens))
    head = preamble + text + snapshot.tokens.astype("<i4").tobytes()
    return head + CHECKSUM.pack(zlib.crc32(head))


def _write_all(file: BinaryIO, data: bytes, checksum: int = 0) -> int:
    """Write all of `data` to an unbuffered file; the checksum goes on from one piece to the next."""
    view = memoryview(data)
    while view:
        n_written = file.write(view[:CHUNK])  # a disk that fills up takes less than all, then raises
        checksum = zlib.crc32(view[:n_written], checksum)
        view = view[n_written:]
    return checksum


def _read_head(file: BinaryIO, name: str) -> Header:
    """Read up to the states."""
    preamble = file.read(PREAMBLE.size)
    if preamble[: len(MAGIC)] != MAGIC:
        raise SnapshotError(f"{name}: not a file of saved slots")
    if len(preamble) < PREAMBLE.size:
        raise SnapshotError(f"{name}: truncated")
    _, version, header_size, n_tokens = PREAMBLE.unpack(preamble)
    if version not in (1, FORMAT):
        raise SnapshotError(f"{name}: format version {version}, but this server reads {FORMAT}")
    if header_size > MOST_HEADER:
        raise SnapshotError(f"{name}: damaged, the header cannot be {header_size} bytes long")
    text = _read(file, header_size, name)
    tokens = _read(file, 4 * n_tokens, name)
    _check(file, name, (preamble, text, tokens))
    header = _parse(text, tokens, name)
    if version == 1 and header.start != 0:
        raise SnapshotError(f"{name}: format version 1, of which this server reads no parts of prompts")
    expected = file.tell() + header.payload_size + CHECKSUM.size
    actual = os.fstat(file.fileno()).st_size
    if actual != expected:
        what = "truncated" if actual < expected else "damaged"
        raise SnapshotError(f"{name}: {what}, {actual} bytes long instead of {expected}")
    return header


def _parse(text: bytes, tokens: bytes, name: str) -> Header:
    """A header whose bytes are as they were written, though perhaps not by us."""
    try:
        values: dict[str, Any] = json.loads(text)
        adapters = tuple((int(i), float(scale)) for i, scale in values["adapters"])
        header = Header(
            fingerprint=str(values["fingerprint"]),
            namespace=Namespace(str(values["salt"]), adapters, bool(values.get("moved", False))),
            tokens=np.frombuffer(tokens, "<i4").astype(np.int32),
            start=int(values["start"]),
            state_size=int(values["state"]),
            checkpoints=tuple((int(n_tokens), int(size)) for n_tokens, size in values["checkpoints"]),
            parent=str(values.get("parent", "")),
        )
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise SnapshotError(f"{name}: damaged, the header is not as it should be ({error})") from None
    positions = [n_tokens for n_tokens, _ in header.checkpoints]
    sizes = (header.state_size, *(size for _, size in header.checkpoints))
    stop = header.start + len(header.tokens)
    if header.start < 0 or not all(0 <= position <= stop for position in positions) or min(sizes) < 0:
        raise SnapshotError(f"{name}: damaged, the header has positions or sizes that cannot be")
    return header


def _read(file: BinaryIO, size: int, name: str) -> bytes:
    """Exactly `size` bytes; the size is compared with the file's length before any memory is taken."""
    left = os.fstat(file.fileno()).st_size - file.tell()
    data = file.read(size) if size <= left else b""
    if len(data) < size:
        raise SnapshotError(f"{name}: truncated or damaged, {left} bytes are left of {size}")
    return data


def _check(file: BinaryIO, name: str, pieces: Iterable[bytes]) -> None:
    """Read a checksum and compare it with that of the pieces read before it."""
    checksum = 0
    for piece in pieces:
        checksum = zlib.crc32(piece, checksum)
    if CHECKSUM.unpack(_read(file, CHECKSUM.size, name)) != (checksum,):
        raise SnapshotError(f"{name}: damaged, the checksum does not match")


def _short(fingerprint: str) -> str:
    """Enough of a fingerprint to tell two apart."""
    return fingerprint if len(fingerprint) <= 16 else f"{fingerprint[:16]}..."
