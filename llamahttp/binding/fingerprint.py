"""Fingerprint: a short name for all that the bytes of a saved sequence depend on, for files that outlive us."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path

DIGEST_SIZE = 16
"""Bytes of a fingerprint, which is written as twice as many hex digits."""

HEAD_BYTES = 4 << 20
"""Bytes hashed from the beginning of a file, where a GGUF has its metadata and the list of its tensors."""

N_SAMPLES, SAMPLE_BYTES = 256, 4096
"""Pieces hashed from the rest, evenly spread: a fine-tuned model has the size and the metadata of its base."""

PART = re.compile(r"-\d{5}-of-(\d{5})\.gguf$")
"""End of the name of a GGUF that was split into several files."""


def fingerprint(model: Path, adapters: Iterable[Path], *settings: object) -> str:
    """Digest of a model's files, of adapters' files in their order, and of `settings`, which are compared as text.

    Reads some MiB of each file, however large it is. Raises OSError.
    """
    digest = blake2b(digest_size=DIGEST_SIZE)
    for path in (*parts(model), *adapters):
        hash_file(digest, path)
    digest.update(repr(settings).encode())
    return digest.hexdigest()


def parts(path: Path) -> list[Path]:
    """All files of a model: those that a split GGUF goes on in, found by their names, or just the one."""
    match = PART.search(path.name)
    if match is None:
        return [path]
    stem, n_parts = path.name[: match.start()], int(match[1])
    found = (path.with_name(f"{stem}-{i:05}-of-{match[1]}.gguf") for i in range(1, n_parts + 1))
    return [part for part in found if part.exists()]


def hash_file(digest: blake2b, path: Path) -> None:
    """Hash the size, the head and samples of the rest of a file."""
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        digest.update(size.to_bytes(8, "little"))
        for start, stop in _ranges(size):
            digest.update(os.pread(file.fileno(), stop - start, start))


def _ranges(size: int) -> Iterator[tuple[int, int]]:
    # head       [0 .. HEAD_BYTES)
    # samples                       [ ]      [ ]      [ ]      [ ]      the last one ends with the file
    yield 0, min(size, HEAD_BYTES)
    rest = size - HEAD_BYTES
    if rest <= 0:
        return
    n = min(N_SAMPLES, -(-rest // SAMPLE_BYTES))
    for i in range(1, n + 1):
        stop = HEAD_BYTES + rest * i // n
        yield max(HEAD_BYTES, stop - SAMPLE_BYTES), stop
