"""Control vectors: directions that are added to the hidden state behind each layer, read from their GGUFs.

A file has a tensor `direction.N`, float32[n_embd], for each layer N that it steers, counted from 0; layer 0 has none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from .functions import CONSTANTS
from .gguf_head import TensorHead, read_head
from .model import LlamaModel

DIRECTION = re.compile(r"direction\.([1-9][0-9]{0,8})", re.ASCII)


@dataclass(frozen=True, slots=True, eq=False)
class ControlVector:
    """The sum of several files, ready for `llama_set_adapter_cvec`."""

    rows: NDArray[np.float32]
    """float32[n_layers - 1, n_embd]: row i is added behind layer i + 1; layers that no file names have zeros."""
    first: int
    last: int
    """The layers that it is applied to, both included."""

    @property
    def digest(self) -> str:
        """Names what it does to a model."""
        return blake2b(self.rows.tobytes() + repr((self.first, self.last)).encode(), digest_size=16).hexdigest()


def read_control_vector(
    model: LlamaModel, files: Sequence[tuple[Path, float]], layers: tuple[int, int] | None = None
) -> ControlVector:
    """The sum of `files`, each times its scale, for `layers` (first, last), by default all; as in llama-server 0 or
    less stands for the first, or the last, that there is. Raises ModelError for a file that does not fit the model."""
    n_layers, n_embd = model.n_layers, model.info.n_embd
    rows = np.zeros((max(n_layers - 1, 0), n_embd), np.float32)
    for path, scale in files:
        for layer, direction in _directions(path, n_embd):
            if layer < n_layers:  # of a deeper model, libllama would ignore it too
                rows[layer - 1] += direction * np.float32(scale)
    first, last = layers or (0, 0)
    return ControlVector(rows, first if first > 0 else 1, last if last > 0 else n_layers)


def _directions(path: Path, n_embd: int) -> list[tuple[int, NDArray[np.float32]]]:
    """Pairs (layer, direction)."""
    tensors = read_head(path).tensors
    if not tensors:
        raise ModelError(f"{path} is not a control vector: it has no tensor")
    return [(_layer(path, tensor, n_embd), _read(path, tensor)) for tensor in tensors]


def _layer(path: Path, tensor: TensorHead, n_embd: int) -> int:
    """The layer of a direction. Raises ModelError for any other tensor."""
    match = DIRECTION.fullmatch(tensor.name)
    if match is None:
        raise ModelError(f"{path} is not a control vector: its tensor {tensor.name!r} is no direction.N, N at least 1")
    if tensor.kind != CONSTANTS["GGML_TYPE_F32"] or tensor.shape[1:] != (1, 1, 1):
        raise ModelError(f"{path}: {tensor.name} must be one row of 32-bit floats")
    if tensor.shape[0] != n_embd:
        raise ModelError(
            f"{path} is a control vector of another model: {tensor.name} has {tensor.shape[0]} numbers, but the "
            f"model's embeddings have {n_embd}"
        )
    return int(match[1])


def _read(path: Path, tensor: TensorHead) -> NDArray[np.float32]:
    direction = np.fromfile(path, np.float32, tensor.n_bytes // 4, offset=tensor.offset)
    if not np.isfinite(direction).all():
        raise ModelError(f"{path}: {tensor.name} holds what is not a number")
    return direction
