"""DiskTier: snapshots as files in one directory, under a limit of bytes.

No thread of its own: `scan` runs once, before anything else, and all other methods on the store's worker. Other
processes may use the directory too, so files come and go; what is not ours by its name is left alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import SnapshotError, StartupError
from .lru import ByteLRU
from .snapshot import FORMAT, Header, Snapshot, file_size, read_header, read_snapshot, snapshot_key, write_snapshot

log = logging.getLogger(__name__)

# key of the snapshot - which fingerprint . format version
NAME = re.compile(r"(?P<key>[0-9a-f]{32})-(?P<tag>[0-9a-f]{8})\.kv(?P<format>\d+)")
UNFINISHED = re.compile(rf"\.{NAME.pattern}\.[0-9a-f]{{8}}\.tmp")
STALE_S = 3600.0
"""Age after which an unfinished file is nobody's any more."""
RESCAN_S = 30.0
"""Age after which the list of files is made anew before a decision on room, for what other processes did."""
NOTED_S = 60.0
"""A file's times say at most this often that it is used: chains of hundreds of files are used at once."""
SPARED, MOST_SPARED = 0.05, 1 << 30
"""Share of the file system that is left free for others, and the most of it in bytes."""


@dataclass(frozen=True, slots=True)
class Written:
    """What `DiskTier.write` did."""

    is_stored: bool
    gone: tuple[str, ...] = ()
    """Keys of snapshots that are not on disk any more."""


class DiskTier:
    """Files of every model count towards the limit, and go by last use; only those of one's own model are found."""

    def __init__(self, directory: Path, limit: int, *, rescan_s: float = RESCAN_S, noted_s: float = NOTED_S) -> None:
        """Make the directory if need be. Raises StartupError if it cannot be made or written to."""
        self.directory = directory
        self.limit = limit
        self._files: ByteLRU[str] = ByteLRU(limit)
        self._fingerprint = ""
        self._tag = ""
        self._rescan_s = rescan_s
        self._noted_ns = int(noted_s * 1e9)
        self._used: dict[str, int] = {}  # when this process used a file last, ns
        self._noted: dict[str, int] = {}  # and when, according to the times that it gave the file
        self._scanned_at = 0.0
        self._last_use = 0
        self._is_troubled = False
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # prompts are private
            with tempfile.TemporaryFile(dir=directory):
                pass
        except OSError as error:
            raise StartupError(f"--cache-disk {directory}: cannot be written to: {error.strerror or error}") from error

    @property
    def used(self) -> int:
        """Bytes of all files that count; any thread may ask."""
        return self._files.used

    def scan(self, fingerprint: str) -> list[tuple[str, Header]]:
        """What is there for the model of this fingerprint, with keys, longest unused first. Removes what is broken."""
        self._fingerprint = fingerprint
        self._tag = hashlib.blake2b(fingerprint.encode(), digest_size=4).hexdigest()
        self._remove_unfinished()
        self._list()
        found = []
        for name in self._files:
            key = self._key(name)
            header = self._header(key) if key is not None else None
            if key is not None and header is not None:
                found.append((key, header))
        return found

    def write(self, key: str, snapshot: Snapshot, replaced: Iterable[str] = ()) -> Written:
        """Store a snapshot, and then remove those of `replaced`. What is in the way goes first, by last use.

        No room on the disk is a warning in the log, once until it is over, and the snapshot is not stored.
        """
        old = [self._name(key) for key in replaced]
        size = file_size(snapshot, self._fingerprint)
        gone: list[str] = []
        try:
            if not self._make_room(size, old, gone):
                return self._refuse(f"no room for {size >> 20} MiB", gone)
            write_snapshot(self._path(self._name(key)), snapshot, self._fingerprint)
        except OSError as error:
            return self._refuse(str(error.strerror or error), gone)
        self._is_troubled = False
        self._files.put(self._name(key), size)
        self.touch([key])
        for name in old:
            self._remove(name, gone)
        return Written(True, tuple(gone))

    def read(self, key: str) -> Snapshot | None:
        """A snapshot; None if there is no whole one, which is logged, and then there is no file either."""
        path = self._path(self._name(key))
        try:
            snapshot = read_snapshot(path, self._fingerprint)
        except SnapshotError as error:
            log.warning("cache: %s", error)
            if not isinstance(error.__cause__, OSError):
                self.remove(key)
            return None
        return snapshot

    def touch(self, keys: Iterable[str]) -> None:
        """These were just used, in this order. Other processes see it later, to within NOTED_S."""
        for key in keys:
            name = self._name(key)
            if name in self._files:
                self._files.touch(name)
                self._last_use = max(time.time_ns(), self._last_use + 1)
                self._used[name] = self._last_use
                if self._last_use - self._noted.get(name, 0) >= self._noted_ns:
                    self._note_use(name)

    def _note_use(self, name: str) -> None:
        """Let a file's times tell when it was used last."""
        self._noted[name] = last_use = self._used[name]
        with contextlib.suppress(OSError):
            os.utime(self._path(name), ns=(last_use, last_use))

    def note_uses(self) -> None:
        """Let the times of all files tell when they were used last, for the next process."""
        for name, last_use in self._used.items():
            if last_use != self._noted.get(name):
                self._note_use(name)

    def remove(self, key: str) -> None:
        """Remove a file. Safe if it is gone already."""
        self._remove(self._name(key), [])

    def _name(self, key: str) -> str:
        return f"{key}-{self._tag}.kv{FORMAT}"

    def _key(self, name: str) -> str | None:
        """The key of a file of our own model and format; None for others."""
        match = NAME.fullmatch(name)
        if match is None or match["tag"] != self._tag or match["format"] != str(FORMAT):
            return None
        return match["key"]

    def _path(self, name: str) -> Path:
        return self.directory / name

    def _header(self, key: str) -> Header | None:
        """The header of a file of ours; None, and no file any more, if it is broken."""
        try:
            header = read_header(self._path(self._name(key)))
        except SnapshotError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                log.warning("cache: %s", error)
            if not isinstance(error.__cause__, OSError):
                self.remove(key)
            return None
        if header.fingerprint != self._fingerprint:
            return None
        if snapshot_key(header.namespace, header.tokens, header.start, header.parent) != key:
            log.warning("cache: %s is not what its name says", self._name(key))
            self.remove(key)
            return None
        return header

    def _list(self) -> list[str]:
        """Make the list of files anew. Returns the keys of those that are gone."""
        before = self._files
        self._files = ByteLRU(self.limit)
        found = ((max(used, self._used.get(name, 0)), name, size) for used, name, size in self._stats(NAME))
        for _, name, size in sorted(found):
            self._files.put(name, size)
        self._scanned_at = time.monotonic()
        missing = (self._key(name) for name in before if name not in self._files)
        return [key for key in missing if key is not None]

    def _stats(self, pattern: re.Pattern[str]) -> Iterator[tuple[int, str, int]]:
        """Last use (ns), name and size of the files whose name fits."""
        with os.scandir(self.directory) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):  # gone meanwhile
                    if pattern.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                        stat = entry.stat(follow_symlinks=False)
                        yield stat.st_mtime_ns, entry.name, stat.st_size

    def _remove_unfinished(self) -> None:
        """Remove what processes left behind that were killed while they wrote."""
        now = time.time()
        for mtime_ns, name, _ in self._stats(UNFINISHED):
            if now - mtime_ns / 1e9 > STALE_S:
                self._remove(name, [])

    def _make_room(self, size: int, first: list[str], gone: list[str]) -> bool:
        """Remove files until `size` more bytes fit, beginning with `first`; keys of ours go to `gone`."""
        if time.monotonic() - self._scanned_at >= self._rescan_s:
            gone += self._list()
        free = self._free()
        if size > self.limit or free + self._files.used < size:
            return False
        for name in [*first, *self._files]:
            if self._files.fits(size) and size <= free:
                break
            free += self._files.size(name)
            self._remove(name, gone)
        return True

    def _free(self) -> int:
        """Bytes that the file system has for us."""
        stat = os.statvfs(self.directory)
        spared = min(int(SPARED * stat.f_blocks * stat.f_frsize), MOST_SPARED)
        return max(0, stat.f_bavail * stat.f_frsize - spared)

    def _remove(self, name: str, gone: list[str]) -> None:
        try:
            self._path(name).unlink(missing_ok=True)
        except OSError as error:
            log.warning("cache: %s cannot be removed: %s", name, error.strerror)
        key = self._key(name)
        if key is not None and name in self._files:
            gone.append(key)
        self._files.drop(name)
        self._used.pop(name, None)
        self._noted.pop(name, None)

    def _refuse(self, reason: str, gone: list[str]) -> Written:
        level = logging.DEBUG if self._is_troubled else logging.WARNING
        log.log(level, "cache: prompts are not written to %s: %s", self.directory, reason)
        self._is_troubled = True
        return Written(False, tuple(gone))
