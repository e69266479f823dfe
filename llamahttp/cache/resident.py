"""Resident: the sequences in the context's memory, and how a prompt finds what it shares with them and with the store.

Engine thread only. Equality of tokens, salt and adapters is the only proof; whatever fails leaves a sequence empty.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..abc import Decoder
from ..errors import EngineError
from ..task import CacheUse
from .archive import BLOCK, Archive, Piece
from .cells import CellLedger
from .checkpoints import Checkpoints
from .chunks import Chunk, equal_chunks
from .radix import RadixIndex
from .sequence import NO_TOKENS, NOWHERE, Sequence
from .snapshot import Checkpoint, Namespace, Snapshot
from .store import Store

log = logging.getLogger(__name__)

MIN_SHARED = 32
"""Tokens below which waiting for another slot's prompt, or bringing them back from the store, does not pay."""


@dataclass(frozen=True, slots=True)
class Match:
    """What there is of a prompt.

    prompt     [0 ............................................ n)
    resident   [0 ......... n_resident)                            copied, or taken over, from `source`
    pieces                  [ ..... )[ ..... n_found)              brought back from the store
    common     [0 ........................... n_common)            equal in memory, whether or not it can be cut there
    """

    source: Sequence | None = None
    n_resident: int = 0
    n_common: int = 0
    pieces: tuple[Piece, ...] = ()
    coming: Sequence | None = None
    """A slot's sequence that will share `n_common` tokens once they are computed."""

    @property
    def n_found(self) -> int:
        return self.pieces[-1].stop if self.pieces else self.n_resident

    @property
    def n_passing(self) -> int:
        """Most cells that are taken while pieces are brought back: each is there as a whole before it is cut to what
        is wanted of it."""
        return max((piece.start + piece.n_cells for piece in self.pieces), default=0)


NOTHING = Match()


@dataclass(frozen=True, slots=True)
class Taken:
    """A sequence for a task, and what it already holds of the prompt."""

    sequence: Sequence
    use: CacheUse


class ResidentCache:
    """All sequences of a decoder. Slots borrow them with `take` and give them back with `give_back`."""

    def __init__(
        self,
        decoder: Decoder,
        store: Store,
        *,
        n_slots: int,
        n_checkpoints: int,
        checkpoint_bytes: int | None,
    ) -> None:
        """`n_checkpoints` of a sequence at most, and `checkpoint_bytes` of all together; None is no limit but that of
        their number, which is all that llama-server has."""
        self._decoder = decoder
        self._store = store
        self._checkpoints = Checkpoints(decoder, n_checkpoints, checkpoint_bytes)
        # sequences    [0 ........ n_slots)[n_slots ... n)    scratch
        #              one a slot          cached             for pieces of memory: only where copies share cells
        has_scratch = decoder.can_cut and decoder.n_cells > 0 and decoder.n_seq_max > n_slots
        self._archive = Archive(decoder, store, decoder.n_seq_max - 1 if has_scratch else None)
        self.sequences = [Sequence(id_seq) for id_seq in range(decoder.n_seq_max - has_scratch)]
        self._cells = CellLedger(decoder.n_cells) if decoder.n_cells else None
        self._indexes: dict[Namespace, RadixIndex[int]] = {}
        self.n_evicted = 0

    # --- room

    @property
    def n_cells_used(self) -> int:
        if self._cells is None:
            return sum(sequence.n_past for sequence in self.sequences)
        return self._cells.n_used

    @property
    def n_free_cells(self) -> int | None:
        """Cells that nobody uses; None where tokens do not compete for cells."""
        return None if self._cells is None else self._cells.n_free

    def make_room(self, n_cells: int, match: Match = NOTHING) -> bool:
        """Evict cached sequences, the one used longest ago first, until `n_cells` are free. False if they cannot be.
        What `match` found resident stays."""
        if self._cells is None or self._cells.n_free >= n_cells:
            return True
        keep = () if match.source is None else (match.source,)
        n_others = sum(sequence.n_past for sequence in self._cached(keep))
        if self._cells.n_free + n_others + self._n_spare(match) < n_cells:
            return False  # what is shared counts once for each, so this is the most that there could be
        while self._cells.n_free < n_cells:
            if not (self.evict_one(keep) or self._trim(match)):
                return False
        return True

    def _n_spare(self, match: Match) -> int:
        """Tokens behind what is wanted of the source, if that can be cut there and nobody uses it."""
        source = match.source
        if source is None or not source.is_cached or not self._decoder.can_cut:
            return 0
        return source.n_past - match.n_resident

    def _trim(self, match: Match) -> bool:
        """Cut a source to what is wanted of it, storing it first. False if there is nothing to cut."""
        source = match.source
        if source is None or self._n_spare(match) == 0:
            return False
        self.save(source)
        self._cut(source, match.n_resident)
        self.release(source)
        return True

    def evict_one(self, keep: Collection[Sequence] = ()) -> bool:
        """Drop the cached sequence that was used longest ago, storing it first. False if there is none."""
        sequence = min(self._cached(keep), key=lambda sequence: sequence.last_used, default=None)
        if sequence is None:
            return False
        log.debug("sequence %d | evicted, %d tokens", sequence.id, sequence.n_past)
        self.save(sequence)
        self.forget(sequence)
        self.n_evicted += 1
        return True

    def _cached(self, keep: Collection[Sequence] = ()) -> list[Sequence]:
        """The sequences that may be evicted."""
        return [sequence for sequence in self.sequences if sequence.is_cached and sequence not in keep]

    def grow(self, sequence: Sequence, n: int) -> None:
        """`n` more tokens of a sequence were computed."""
        sequence.n_past += n
        if self._cells is not None:
            self._cells.grow(sequence.id, n)

    # --- finding

    def match(self, namespace: Namespace, tokens: NDArray[np.int32]) -> Match:
        """What there is of these tokens, in memory or in the store. Before it is taken: `load`."""
        found = self._match_resident(namespace, tokens)
        if found.coming is not None or self._store.is_off:
            return found
        pieces = self._archive.find(namespace, tokens, found.n_resident)
        if not pieces or pieces[-1].stop < found.n_resident + MIN_SHARED:
            return found
        if pieces[0].start == 0:  # a whole state replaces what is resident
            found = Match(n_common=found.n_common)
        return Match(found.source, found.n_resident, found.n_common, tuple(pieces))

    def load(self, match: Match) -> bool:
        """Read from disk what `match` found there, and keep in RAM what it found in the store. True: `take` it now.
        False: it is being read, and `Store.on_loaded` will be called; then match anew."""
        return self._archive.load(match.pieces)

    def _match_resident(self, namespace: Namespace, tokens: NDArray[np.int32]) -> Match:
        index = self._indexes.get(namespace)
        if index is None:
            return NOTHING
        n_common, ids = index.deepest(tokens)
        deepest = [self.sequences[id_seq] for id_seq in ids]
        # memory that cannot be cut there may be of less use than that of a sequence that shares less
        candidates = deepest if self._decoder.can_cut else [self.sequences[id_seq] for id_seq in index]
        usable = [(self._usable(sequence, index.common(sequence.id, tokens)), sequence) for sequence in candidates]
        n, source = max(usable, key=lambda pair: (pair[0], not pair[1].is_busy, -pair[1].n_past), default=(0, None))
        coming = next((sequence for sequence in deepest if sequence.is_coming and sequence.n_past < n_common), None)
        if coming is not None and n_common < n + MIN_SHARED:
            coming = None
        return Match(source if n else None, n, n_common, coming=coming)

    def _usable(self, sequence: Sequence, n: int) -> int:
        """How many of the first `n` tokens a copy of this sequence could keep."""
        if sequence.n_past <= n:
            return sequence.n_past
        if n >= self._decoder.least_cut(sequence.id):
            return n
        checkpoint = sequence.last_checkpoint(n)
        return checkpoint.n_tokens if checkpoint is not None else 0

    # --- taking

    def take(
        self,
        match: Match,
        namespace: Namespace,
        tokens: NDArray[np.int32],
        n_tokens: int,
        id_slot: int,
        n_min_chunk: int = 0,
    ) -> Taken:
        """A sequence that holds what `match` found of the `n_tokens` first of `tokens`, the task's own array.

        It belongs to slot `id_slot` from now on. `n_min_chunk` above 0 also moves equal parts of at least so many
        tokens to their new place, in the source itself. Raises EngineError; nobody has a sequence then.
        """
        assert match.source is None or _begins(match.source, namespace, tokens[: match.n_resident]), "a wrong index"
        chunks = self._chunks(match, tokens[: n_tokens - 1], n_min_chunk)
        sequence = self._open(match, takes_over=bool(chunks))
        with ExitStack() as undo:
            undo.callback(self.forget, sequence)  # nobody must find what was filled by half
            sequence.is_busy, sequence.id_slot = True, id_slot
            use = self._fill(sequence, match, chunks)
            sequence.tokens, sequence.namespace, sequence.n_prompt = tokens, namespace, n_tokens
            self._index(sequence)
            undo.pop_all()
        self._checkpoints.limit(self.sequences)  # some have perhaps come from the store
        return Taken(sequence, use)

    def _open(self, match: Match, *, takes_over: bool) -> Sequence:
        """The sequence to go on with: the source itself, a copy of it, or an empty one."""
        source = match.source
        if source is None:
            empty = self._empty()
            assert empty is not None, "there are as many sequences as slots"
            return empty
        goes_on = not source.is_busy and (takes_over or self._loses_little(source, match.n_resident))
        target = None if goes_on else self._empty(keep=source)
        if target is not None:
            self._copy(source, target)
            return target
        if source.n_past >= match.n_resident + MIN_SHARED:
            self.save(source)
        self._unindex(source)
        return source

    def _fill(self, sequence: Sequence, match: Match, chunks: Collection[Chunk]) -> CacheUse:
        """Bring a sequence to what `match` found, or to as much of it as is still there."""
        if chunks:
            self._move(sequence, match.n_resident, chunks)
        else:
            self._cut(sequence, match.n_resident)
        resident, stored = sequence.n_past, {False: 0, True: 0}
        for piece in match.pieces:
            from_disk = piece.entry.from_disk
            stored[from_disk] += self._bring_back(sequence, piece)
        self._archive.touch(match.pieces)
        if stored[False] or stored[True]:
            resident = sequence.n_past - stored[False] - stored[True]
        return CacheUse(resident, stored[False], stored[True])

    def _loses_little(self, source: Sequence, n: int) -> bool:
        """Whether to go on in the source itself instead of a copy, for what lies behind its first `n` tokens."""
        if self._cells is not None:
            return source.n_past == n
        # a copy moves data, and without an empty sequence it costs another one its place
        if any(sequence.is_empty for sequence in self.sequences):
            return source.n_past < n + MIN_SHARED
        return 2 * n >= source.n_past

    def _empty(self, keep: Sequence | None = None) -> Sequence | None:
        for sequence in self.sequences:
            if sequence.is_empty:
                return sequence
        if not self.evict_one(() if keep is None else (keep,)):
            return None
        return self._empty(keep)

    def _copy(self, source: Sequence, target: Sequence) -> None:
        try:
            self._decoder.copy(source.id, target.id)
        except EngineError:
            self._clear(target)
            raise
        if self._cells is not None:
            self._cells.copy(source.id, target.id)
        target.tokens, target.n_past, target.n_stored = source.tokens, source.n_past, source.n_stored
        target.namespace, target.checkpoints = source.namespace, list(source.checkpoints)
        target.block_keys = list(source.block_keys)

    def _cut(self, sequence: Sequence, n: int) -> None:
        """Take a sequence back to its first `n` tokens, or to as many of them as its memory allows."""
        if sequence.n_past > n and not self._remove(sequence, n):
            checkpoint = sequence.last_checkpoint(n)
            if checkpoint is None or not self._go_back(sequence, checkpoint):
                self._clear(sequence)
                return
        self._shorten(sequence, min(n, sequence.n_past))

    def _remove(self, sequence: Sequence, n: int) -> bool:
        if not self._decoder.remove(sequence.id, n):
            return False
        sequence.n_past = n
        return True

    def _go_back(self, sequence: Sequence, checkpoint: Checkpoint) -> bool:
        """Bring a sequence's memory back to a checkpoint."""
        n = checkpoint.n_tokens
        return self._decoder.restore(sequence.id, checkpoint.state, partial=True) and self._remove(sequence, n)

    def _shorten(self, sequence: Sequence, n: int) -> None:
        """Note that a sequence now ends at `n`."""
        sequence.n_past = n
        sequence.n_stored = min(sequence.n_stored, n // BLOCK * BLOCK)
        del sequence.block_keys[n // BLOCK :]
        sequence.checkpoints = [checkpoint for checkpoint in sequence.checkpoints if checkpoint.n_tokens <= n]
        if self._cells is not None:
            self._cells.cut(sequence.id, n)

    def _clear(self, sequence: Sequence) -> None:
        self._decoder.remove(sequence.id, 0)
        self._shorten(sequence, 0)

    def _chunks(self, match: Match, tokens: NDArray[np.int32], n_min: int) -> list[Chunk]:
        """Parts of the source behind what it has in common with `tokens` that can be moved to their new place."""
        source, n = match.source, match.n_resident
        if n_min <= 0 or source is None or source.is_busy or match.pieces:
            return []
        if not (self._decoder.can_shift and self._decoder.can_cut and self.is_private(source, n)):
            return []
        return list(equal_chunks(source.tokens[: source.n_past], tokens, n, n_min))

    def _move(self, sequence: Sequence, n: int, chunks: Collection[Chunk]) -> None:
        """Cut to `n`, but move some parts behind it to where they now belong, each to the end of what is there."""
        n_end = n
        for chunk in chunks:
            self._decoder.remove(sequence.id, chunk.to, chunk.start)
            self._decoder.shift(sequence.id, chunk.start, chunk.start + chunk.length, chunk.to - chunk.start)
            n_end = chunk.to + chunk.length
        self._decoder.remove(sequence.id, n_end)
        self._shorten(sequence, n)
        self.grow(sequence, n_end - n)

    def is_private(self, sequence: Sequence, start: int) -> bool:
        """Whether positions [start, ...) can be moved without moving another sequence's."""
        return self._cells is None or self._cells.is_private(sequence.id, start)

    # --- while a slot runs

    def checkpoint(self, sequence: Sequence) -> None:
        """Keep a way back to where the sequence is now, for memory that cannot be cut."""
        self._checkpoints.make(sequence, self.sequences)

    def discard(self, sequence: Sequence, n_keep: int, n_discard: int) -> bool:
        """Context shift: drop [n_keep, n_keep + n_discard) and move what follows. False if memory does not allow it."""
        if not self._decoder.can_shift or not self._make_private(sequence, n_keep):
            return False
        n_past = sequence.n_past
        if not self._decoder.remove(sequence.id, n_keep, n_keep + n_discard):
            return False
        self._decoder.shift(sequence.id, n_keep + n_discard, n_past, -n_discard)
        self._unindex(sequence)
        self._shorten(sequence, n_keep)
        self.grow(sequence, n_past - n_discard - n_keep)
        sequence.n_prompt = 0  # its tokens are no prefix of any text any more
        return True

    def _make_private(self, sequence: Sequence, start: int) -> bool:
        """Give a sequence cells of its own instead of shared ones."""
        if self.is_private(sequence, start):
            return True
        n = sequence.n_past
        if not self.make_room(n):
            return False
        try:
            state = self._decoder.save(sequence.id)
        except EngineError as error:
            log.warning("sequence %d | cannot be moved: %s", sequence.id, error)
            return False
        if not self._decoder.restore(sequence.id, state):
            self._clear(sequence)
            return False
        self._shorten(sequence, 0)
        self.grow(sequence, n)
        return True

    def give_back(self, sequence: Sequence, n_shared: int) -> None:
        """A slot needs its sequence no more; others may go on from its first `n_shared` tokens."""
        if n_shared == 0:
            self.forget(sequence)
            return
        if sequence.n_past > n_shared:
            self._cut(sequence, n_shared)
        self.release(sequence)

    def release(self, sequence: Sequence) -> None:
        """The task has ended; what was evaluated stays for the next prompt that begins alike."""
        sequence.is_busy = sequence.is_refused = False
        sequence.tokens = sequence.tokens[: sequence.n_past].copy()
        sequence.last_used = time.perf_counter()
        self._index(sequence)

    def last_of(self, id_slot: int) -> Sequence | None:
        """The sequence of the last task of an idle slot, if it is still in memory."""
        own = [sequence for sequence in self.sequences if sequence.is_cached and sequence.id_slot == id_slot]
        return max(own, key=lambda sequence: sequence.last_used, default=None)

    def forget(self, sequence: Sequence) -> None:
        """Drop a sequence from memory, whoever used it."""
        self._unindex(sequence)
        self._clear(sequence)
        sequence.tokens, sequence.namespace, sequence.is_busy = NO_TOKENS, NOWHERE, False

    def clear(self) -> None:
        """Forget every sequence."""
        for sequence in self.sequences:
            self.forget(sequence)

    def rebuild(self) -> None:
        """Make the decoder's context anew; every sequence is gone. Raises ModelError."""
        self._decoder.rebuild()
        self.clear()

    # --- the index

    def _index(self, sequence: Sequence) -> None:
        n = max(sequence.n_prompt, sequence.n_past) if sequence.is_busy else sequence.n_past
        if n == 0:  # left before its first token was computed
            self._unindex(sequence)
            return
        sequence.n_prompt = n
        self._indexes.setdefault(sequence.namespace, RadixIndex()).insert(sequence.id, sequence.tokens[:n])

    def _unindex(self, sequence: Sequence) -> None:
        index = self._indexes.get(sequence.namespace)
        if index is not None:
            index.remove(sequence.id)
            if not len(index):
                del self._indexes[sequence.namespace]
        sequence.n_prompt = 0

    # --- the store

    @property
    def wants_to_store(self) -> bool:
        """Whether there is something to store while the engine has nothing better to do."""
        return self._next_to_store() is not None

    def store_some(self, *, n_generating: int = 0, n_prompts: int = 0) -> None:
        """Store one piece of one cached sequence: while others run, only so that making room need not wait for it.

        Beside prompts only a block: a whole state takes longer than a part of a prompt, for which somebody waits.
        """
        is_idle = not (n_generating or n_prompts)
        if self._store.is_off or not (is_idle or self.is_crowded):
            return
        if n_prompts and not self._archive.moves_blocks:
            return
        sequence = self._next_to_store()
        if sequence is not None:
            self._archive.store_piece(sequence)

    def save(self, sequence: Sequence) -> None:
        """Store all of a sequence that is not in the store any more, or never was."""
        if not self._store.is_off:
            sequence.n_stored = self._archive.n_stored(sequence)
        while not self._store.is_off and self._is_worth_storing(sequence):
            self._archive.store_piece(sequence)

    def _next_to_store(self) -> Sequence | None:
        """The cached sequence that will be evicted next, if any has to be stored by now."""
        if self._store.is_off or not (self._store.has_disk or self.is_crowded):
            return None
        waiting = [sequence for sequence in self._cached() if self._is_worth_storing(sequence)]
        return min(waiting, key=lambda sequence: sequence.last_used, default=None)

    @property
    def is_crowded(self) -> bool:
        """Whether room for the next prompts is getting scarce."""
        if sum(sequence.is_empty for sequence in self.sequences) <= 1:
            return True
        return self._cells is not None and 2 * self._cells.n_used > self._cells.n_cells

    def _is_worth_storing(self, sequence: Sequence) -> bool:
        is_whole = sequence.n_stored >= sequence.n_past
        return sequence.n_past >= MIN_SHARED and not is_whole and not sequence.is_refused

    def _bring_back(self, sequence: Sequence, piece: Piece) -> int:
        """Fill a sequence up to `piece.stop`. Returns by how many tokens; 0 if it failed."""
        n_past = sequence.n_past
        if n_past < piece.start:
            return 0  # what comes before it failed
        self.make_room(piece.n_cells)  # the rest of what it was copied from may go by now
        if self._archive.moves_blocks:
            if not self._archive.append(piece, sequence):
                return 0
            self.grow(sequence, piece.stop - n_past)
        else:
            snapshot = self._archive.restore(piece, sequence)
            self._shorten(sequence, 0)
            if snapshot is None:
                return 0
            self.grow(sequence, len(snapshot.tokens))
            sequence.checkpoints = list(snapshot.checkpoints)
            self._cut(sequence, piece.stop)
        sequence.n_stored = sequence.n_past
        return sequence.n_past - n_past

    # --- slot files

    def snapshot(self, sequence: Sequence) -> Snapshot:
        """All of a sequence, for a file."""
        tokens = sequence.tokens[: sequence.n_past].copy()
        return Snapshot(sequence.namespace, tokens, 0, self._decoder.save(sequence.id), tuple(sequence.checkpoints))

    def adopt(self, snapshot: Snapshot, id_slot: int) -> bool:
        """Make a snapshot the last sequence of a slot. False if there is no room, or the state does not fit."""
        n = len(snapshot.tokens)
        if not self.make_room(n):
            return False
        sequence = self._empty()
        if sequence is None or not self._decoder.restore(sequence.id, snapshot.state):
            return False
        sequence.id_slot = id_slot
        sequence.tokens, sequence.namespace = snapshot.tokens, snapshot.namespace
        sequence.checkpoints, sequence.n_stored = list(snapshot.checkpoints), 0
        self.grow(sequence, n)
        self.release(sequence)
        self._checkpoints.limit(self.sequences)
        return True


def _begins(sequence: Sequence, namespace: Namespace, tokens: NDArray[np.int32]) -> bool:
    """Whether a sequence really holds these tokens, computed under the same salt and adapters."""
    is_same = sequence.namespace == namespace and sequence.n_past >= len(tokens)
    return is_same and np.array_equal(sequence.tokens[: len(tokens)], tokens)
