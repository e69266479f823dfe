"""Store: snapshots in RAM and on disk, below the context's memory.

Engine thread only. Files are read and written by one worker; what it has done is noted by the engine thread, at the
beginning of whatever it asks next, so that nothing here needs a lock. The worker itself sets only `Entry.snapshot`,
`from_disk` and `is_gone`, and only of an entry that is loading.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from .catalog import Catalog, Entry
from .disk import DiskTier, Written
from .lru import ByteLRU
from .snapshot import Header, Snapshot
from .worker import Worker

__all__ = ["Entry", "Store"]

log = logging.getLogger(__name__)

STAGED = 256 << 20
"""Bytes that may wait in RAM to be written, where the RAM tier itself is smaller or off."""
WANTED_S = 10.0
"""Seconds for which a snapshot that was asked for stays in RAM until it is used."""
CLOSE_S = 10.0
"""Seconds that `Store.close` gives the disk."""


class Store:
    """Keeps what was used last. RAM holds at most `ram_limit` bytes, except that

    - with a disk, up to `staged` bytes wait in RAM to be written, even if the RAM tier is off;
    - what is read from disk for a slot stays until it is used, or for WANTED_S; slots wait for it one by one.
    """

    def __init__(
        self,
        ram_limit: int | None,
        disk: DiskTier | None,
        fingerprint: str,
        on_loaded: Callable[[], None] = lambda: None,
        *,
        can_cut: bool = True,
        staged: int = STAGED,
    ) -> None:
        """`ram_limit` in bytes: None no limit, 0 off. `on_loaded` is called on the worker.

        `can_cut`: a longer state can stand for a shorter one (`Decoder.can_cut`). Else only where it has a checkpoint.
        `staged`: bytes that may wait to be written whatever `ram_limit` is.
        """
        self._ram: ByteLRU[Entry] = ByteLRU(ram_limit)
        self._disk = disk
        self.on_loaded = on_loaded
        self._can_cut = can_cut
        self._staged = staged
        self._catalog = Catalog()
        self._done: deque[Callable[[], None]] = deque()
        self._worker = Worker("cache-disk") if disk is not None else None
        for key, header in disk.scan(fingerprint) if disk is not None else ():
            self._catalog.add(_entry(key, header), header.tokens)
        if disk is not None:
            log.info("cache: %d prompts, %d MiB in %s", len(self._catalog), disk.used >> 20, disk.directory)

    @property
    def is_off(self) -> bool:
        """Neither RAM nor disk."""
        return self._disk is None and self._ram.limit == 0

    @property
    def has_disk(self) -> bool:
        return self._disk is not None

    @property
    def ram_limit(self) -> int | None:
        """Bytes that RAM may hold; None is no limit."""
        return self._ram.limit

    @property
    def ram_bytes(self) -> int:
        """Held in RAM, and reserved there for what is being read."""
        self._collect()
        return self._ram.used

    @property
    def disk_bytes(self) -> int:
        """Of all files in the directory that count towards the disk's limit."""
        return self._disk.used if self._disk is not None else 0

    # --- putting in

    def reserve(self, n_bytes: int, parent: str = "") -> bool:
        """Make room in RAM for a snapshot of about this size that continues `parent`, before it is copied.

        False if it would never fit, or does not now: too much waits for the disk, or for slots. What then is not
        stored can be stored later.
        """
        self._collect()
        before = self._catalog.get(parent)
        if before is not None:
            self._use(before)  # others shall make room
        return self._make_room(n_bytes)

    def add(self, snapshot: Snapshot) -> bool:
        """Store a snapshot, in the place of those that it can stand for.

        False if there is no room, or what it continues is not there any more: nobody would find it.
        """
        self._collect()
        entry = _entry(snapshot.key, snapshot)
        known = self._catalog.get(entry.key)
        if known is not None and known.checkpoints == entry.checkpoints:
            self.touch(known)
            return True
        is_orphan = entry.start > 0 and self._catalog.get(entry.parent) is None
        if is_orphan or not self._make_room(entry.n_bytes):
            return False
        replaced = [
            other
            for other in self._catalog.shorter(entry.namespace, snapshot.tokens, entry.parent)
            if self._can_cut or other.n_tokens in entry.positions
        ]
        for other in replaced:
            self._drop(other)
        entry.snapshot = snapshot
        self._catalog.add(entry, snapshot.tokens)
        self._ram.put(entry, entry.n_bytes)
        if self._worker is not None:
            # Also what those have replaced: they may not have been written yet, and now will not be.
            keys = {key for other in replaced for key in (other.key, *other.replaces)}
            entry.replaces = tuple(keys - {entry.key})
            entry.is_writing = True
            self._worker.submit(partial(self._write, entry))
        self._use(entry)
        return True

    # --- finding

    @property
    def catalog(self) -> Catalog:
        """What there is now, to be looked up only."""
        self._collect()
        return self._catalog

    # --- taking out

    def load(self, entry: Entry) -> bool:
        """True: `entry.snapshot` is there, and stays until `touch`, or for WANTED_S.

        False: it is being read, and `on_loaded` will be called. Or it is gone (`entry.is_gone`), which also is how
        reading ends where the file was lost or damaged; then it is not found again.
        """
        self._collect()
        entry.wanted_until = time.monotonic() + WANTED_S
        if entry.snapshot is not None:
            self._ram.touch(entry)
            return True
        if self._worker is not None and not entry.is_gone and not entry.is_loading:
            self._make_room(entry.n_bytes)  # as far as possible: a slot waits for this
            self._ram.put(entry, entry.n_bytes)
            entry.is_loading = True
            self._worker.submit(partial(self._read, entry), urgent=True)
        return False

    def touch(self, *entries: Entry) -> None:
        """Entries of one chain were used, the last of them the deepest: it is the first of them to go."""
        self._collect()
        for entry in entries:
            entry.wanted_until = 0.0
            entry.from_disk = False
        there = [entry for entry in entries if not entry.is_gone]
        if there:
            self._use(there[-1])

    def close(self) -> None:
        """Write what waits for the disk, for CLOSE_S at most, and end the worker. Safe twice."""
        if self._worker is None:
            return
        self._on_disk(DiskTier.note_uses)
        if not self._worker.close(CLOSE_S):
            log.warning("cache: not all prompts could be written to disk in %d s", CLOSE_S)
        self._collect()

    # --- on the worker

    def _write(self, entry: Entry) -> None:
        assert self._disk is not None
        snapshot, written = entry.snapshot, Written(False)
        try:
            if snapshot is not None:  # else dropped before its turn
                written = self._disk.write(entry.key, snapshot, entry.replaces)
        finally:
            self._done.append(partial(self._note_written, entry, written))

    def _read(self, entry: Entry) -> None:
        assert self._disk is not None
        snapshot = None
        try:
            snapshot = self._disk.read(entry.key)
        finally:
            entry.snapshot, entry.from_disk = snapshot, True
            entry.is_gone = entry.is_gone or snapshot is None
            self._done.append(partial(self._note_read, entry))
            self.on_loaded()

    # --- what the worker has done

    def _collect(self) -> None:
        """Note what the worker has done meanwhile, and keep the limit where that made it possible."""
        while self._done:
            self._done.popleft()()
        self._evict_until(self._ram.limit)

    def _note_written(self, entry: Entry, written: Written) -> None:
        entry.is_writing = False
        for key in written.gone:
            self._note_lost(key)
        if written.is_stored:
            entry.on_disk = True
            entry.replaces = ()

    def _note_lost(self, key: str) -> None:
        """A file is gone."""
        entry = self._catalog.get(key)
        if entry is not None:
            entry.on_disk = False
            if entry.snapshot is None and not entry.is_loading:
                self._drop(entry)

    def _note_read(self, entry: Entry) -> None:
        entry.is_loading = False
        entry.wanted_until = time.monotonic() + WANTED_S
        if entry.is_gone:
            self._drop(entry)

    # --- room

    def _make_room(self, n_bytes: int) -> bool:
        """Evict until `n_bytes` more may be held. False if they may not; then nothing was evicted in vain."""
        limit = self._ram.limit
        if limit is None:
            return True
        if self._disk is not None:
            limit = max(limit, self._staged, n_bytes if n_bytes <= self._disk.limit else 0)  # a large one passes alone
        if self._ram.used + n_bytes <= limit:
            return True
        needed = sum(self._ram.size(entry) for entry in self._ram if _is_needed(entry))
        return needed + n_bytes <= limit and self._evict_until(limit - n_bytes)

    def _evict_until(self, limit: int | None) -> bool:
        """Evict what was used longest ago until at most `limit` bytes are held. False if the rest is needed."""
        if limit is None or self._ram.used <= limit:
            return True
        for entry in self._ram:
            if not _is_needed(entry):
                self._evict(entry)
                if self._ram.used <= limit:
                    return True
        return False

    def _evict(self, entry: Entry) -> None:
        """Give up the place in RAM, and without a file the entry."""
        if entry.on_disk:
            self._ram.drop(entry)
            entry.snapshot = None
        else:
            self._drop(entry)

    def _drop(self, entry: Entry) -> None:
        """The entry is not found any more."""
        self._catalog.remove(entry)
        entry.is_gone = True
        if not entry.is_loading:  # else the memory is in use until `_note_read`
            self._ram.drop(entry)
            entry.snapshot = None

    def _use(self, entry: Entry) -> None:
        """Make an entry, and even more so what it builds on, the last to go."""
        chain = self._catalog.chain(entry)
        for link in chain:
            self._ram.touch(link)
        self._on_disk(DiskTier.touch, [link.key for link in chain])

    def _on_disk(self, what: Callable[..., None], *arguments: object) -> None:
        """Let the worker do something with the disk tier, if there is one."""
        if self._disk is not None and self._worker is not None:
            self._worker.submit(partial(what, self._disk, *arguments))


def _entry(key: str, content: Snapshot | Header) -> Entry:
    match content:
        case Snapshot():
            positions = [checkpoint.n_tokens for checkpoint in content.checkpoints]
        case Header():
            positions = [n_tokens for n_tokens, _ in content.checkpoints]
    return Entry(
        key,
        content.namespace,
        content.parent,
        content.start,
        content.start + len(content.tokens),
        tuple(sorted(positions)),
        content.n_bytes,
        on_disk=isinstance(content, Header),
    )


def _is_needed(entry: Entry) -> bool:
    """Whether the entry's memory is in use, or about to be."""
    return entry.is_loading or entry.is_writing or entry.wanted_until > time.monotonic()
