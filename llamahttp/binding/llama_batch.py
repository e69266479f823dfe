"""LlamaBatch: the columns of a llama_batch, for the decoder and the embedder alike."""

from __future__ import annotations

import numpy as np

from .structs import BatchStruct


class LlamaBatch:
    """Columns of a llama_batch in numpy arrays that libllama reads in place; implements `abc.Batch`."""

    def __init__(self, capacity: int, n_seq_max: int) -> None:
        self.tokens = np.zeros(capacity, np.int32)
        self.positions = np.zeros(capacity, np.int32)
        self.outputs = np.zeros(capacity, np.int8)
        self._n_seq_id = np.ones(capacity, np.int32)
        self._ids = np.arange(n_seq_max, dtype=np.int32)
        # llama_batch.seq_id holds a pointer a row: to the one element of _ids that names the row's sequence
        self._seq_id = np.full(capacity, self._ids.ctypes.data, np.uintp)
        self._struct = BatchStruct(
            n_tokens=0,
            token=self.tokens.ctypes.data,
            embd=None,
            pos=self.positions.ctypes.data,
            n_seq_id=self._n_seq_id.ctypes.data,
            seq_id=self._seq_id.ctypes.data,
            logits=self.outputs.ctypes.data,
        )

    def set_sequence(self, start: int, stop: int, id_seq: int) -> None:
        self._seq_id[start:stop] = self._ids.ctypes.data + id_seq * self._ids.itemsize

    def struct(self, n_rows: int) -> BatchStruct:
        """The llama_batch of rows [0, n_rows)."""
        self._struct.n_tokens = n_rows
        return self._struct
