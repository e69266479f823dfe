"""Archive: the memory of sequences on its way to the store and back. Engine thread only.

Where copies share cells, memory moves in blocks: no step waits for more than one, and prompts that begin alike share
those of their beginning. Elsewhere a sequence moves as a whole.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from collections.abc import Sequence as Pieces
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..abc import Decoder
from ..errors import EngineError
from .sequence import Sequence
from .snapshot import Namespace, Snapshot, snapshot_key
from .store import Entry, Store

log = logging.getLogger(__name__)

BLOCK = 256
"""Tokens of a block."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stored snapshot that brings back positions [start, stop)."""

    entry: Entry
    start: int
    stop: int

    @property
    def n_cells(self) -> int:
        """Cells that it takes until it is cut to what is wanted of it."""
        return self.entry.n_tokens - self.entry.start


class Archive:
    """Between a decoder and a store. What it does to memory, its caller books."""

    def __init__(self, decoder: Decoder, store: Store, scratch: int | None) -> None:
        """`scratch`: a sequence of the decoder for blocks on their way; None moves whole sequences."""
        self._decoder = decoder
        self._store = store
        self._scratch = scratch

    @property
    def moves_blocks(self) -> bool:
        return self._scratch is not None

    # --- finding

    def find(self, namespace: Namespace, tokens: NDArray[np.int32], n_resident: int) -> list[Piece]:
        """What continues the first `n_resident` tokens without a gap, or one state that replaces them."""
        if self._scratch is not None:
            return list(self._chain(namespace, tokens, n_resident))
        catalog = self._store.catalog
        if self._decoder.can_cut:
            n, entries = catalog.deepest(namespace, tokens)
            return [Piece(_cheapest(entries), 0, n)] if n else []
        prefixes = catalog.prefixes(namespace, tokens)
        return [Piece(prefixes[0][1], 0, prefixes[0][0])] if prefixes else []

    def _chain(self, namespace: Namespace, tokens: NDArray[np.int32], n: int) -> Iterator[Piece]:
        """Pieces that continue the first `n` tokens without a gap; of the last one perhaps only a part."""
        # tokens   [0 ..... )[start ..... )[ ....... )
        # there    [0 .......... n)                           of the first block looked for perhaps a part
        catalog, start = self._store.catalog, n // BLOCK * BLOCK
        parent = extend_keys([], namespace, tokens[:start])
        while True:
            block = tokens[start : start + BLOCK]
            n_shared, entries = catalog.deepest(namespace, block, parent)
            if start + n_shared <= n:
                return
            yield Piece(_cheapest(entries), n, start + n_shared)
            if n_shared < BLOCK:
                return
            parent = snapshot_key(namespace, block, start, parent)
            n = start = start + BLOCK

    def n_stored(self, sequence: Sequence) -> int:
        """How many of a sequence's tokens could be brought back now."""
        pieces = self.find(sequence.namespace, sequence.tokens[: sequence.n_past], 0)
        return pieces[-1].stop if pieces else 0

    def load(self, pieces: Pieces[Piece]) -> bool:
        """Whether all that still is stored is in RAM; what is not is being read."""
        for piece in pieces:
            self._store.load(piece.entry)
        return not any(piece.entry.is_loading for piece in pieces)

    # --- to the store

    def store_piece(self, sequence: Sequence) -> None:
        """Store the next piece of a sequence: a block where copies share cells, else all of it."""
        start, stop, parent = 0, sequence.n_past, ""
        if self._scratch is not None:
            start = sequence.n_stored // BLOCK * BLOCK
            stop = min(start + BLOCK, sequence.n_past)
            parent = extend_keys(sequence.block_keys, sequence.namespace, sequence.tokens[:start])
            if start > 0 and self._store.catalog.get(parent) is None:
                sequence.n_stored = self.n_stored(sequence)  # the store has dropped what is to be continued
                return
        tokens = sequence.tokens[start:stop]
        if self._store.catalog.exact(sequence.namespace, tokens, parent) is not None:
            sequence.n_stored = stop
            return
        try:
            is_stored = self._store_part(sequence, start, stop, parent)
        except EngineError as error:
            log.warning("sequence %d | cannot be stored: %s", sequence.id, error)
            is_stored = False
        if is_stored:
            sequence.n_stored = stop
        else:
            sequence.is_refused = True

    def _store_part(self, sequence: Sequence, start: int, stop: int, parent: str) -> bool:
        """False if there is no room. Raises EngineError."""
        tokens, checkpoints = sequence.tokens[start:stop], tuple(sequence.checkpoints)
        try:
            source = sequence.id if self._scratch is None else self._cut_out(sequence, start, stop)
            n_others = tokens.nbytes + sum(len(checkpoint.state) for checkpoint in checkpoints)
            if not self._store.reserve(self._decoder.saved_size(source) + n_others, parent):
                return False
            state = self._decoder.save(source)
        finally:
            if self._scratch is not None:
                self._decoder.remove(self._scratch, 0)
        return self._store.add(Snapshot(sequence.namespace, tokens, start, state, checkpoints, parent))

    def _cut_out(self, sequence: Sequence, start: int, stop: int) -> int:
        """Share positions [start, stop) of a sequence with the scratch one; returns its id."""
        assert self._scratch is not None
        self._decoder.copy(sequence.id, self._scratch)
        self._decoder.remove(self._scratch, stop)
        if start > 0:
            self._decoder.remove(self._scratch, 0, start)
        return self._scratch

    # --- and back

    def append(self, piece: Piece, sequence: Sequence) -> bool:
        """Add the cells of a block to a sequence that holds all tokens before `piece.start`."""
        assert self._scratch is not None, "there are no blocks"
        snapshot = piece.entry.snapshot
        if snapshot is None or not self._decoder.restore(self._scratch, snapshot.state):
            return False
        # block       [entry.start ............ entry.n_tokens)
        # wanted              [n_past ... stop)
        self._decoder.remove(self._scratch, piece.stop)
        if piece.entry.start < sequence.n_past:
            self._decoder.remove(self._scratch, 0, sequence.n_past)
        self._decoder.append(self._scratch, sequence.id)
        self._decoder.remove(self._scratch, 0)
        return True

    def restore(self, piece: Piece, sequence: Sequence) -> Snapshot | None:
        """Make the memory of a sequence that of a whole snapshot. None if that failed; it is empty then."""
        snapshot = piece.entry.snapshot
        if snapshot is not None and self._decoder.restore(sequence.id, snapshot.state):
            return snapshot
        self._decoder.remove(sequence.id, 0)
        return None

    def touch(self, pieces: Pieces[Piece]) -> None:
        """These were used, which need not be kept in RAM for it any more."""
        self._store.touch(*(piece.entry for piece in pieces))


def extend_keys(keys: list[str], namespace: Namespace, tokens: NDArray[np.int32]) -> str:
    """Add the keys of the blocks of `tokens`, whole ones, that are not in `keys` yet. Returns that of the last one, or
    an empty one."""
    n_blocks = len(tokens) // BLOCK
    for start in range(len(keys) * BLOCK, n_blocks * BLOCK, BLOCK):
        keys.append(snapshot_key(namespace, tokens[start : start + BLOCK], start, keys[-1] if keys else ""))
    return keys[n_blocks - 1] if n_blocks else ""


def _cheapest(entries: Pieces[Entry]) -> Entry:
    """Of entries that serve alike the one that is in RAM, and small."""
    return max(entries, key=lambda entry: (entry.snapshot is not None, -entry.n_bytes))
