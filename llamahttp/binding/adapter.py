"""Adapters: what changes an open model's weights or activations: LoRAs, and a control vector.

They belong to the model; several contexts may use them. What is applied in one is `LlamaContext`'s to say.
"""

from __future__ import annotations

import ctypes as c
import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import ModelError
from . import library, library_log
from .control_vector import ControlVector
from .functions import CONSTANTS
from .gguf_head import TensorHead, read_head
from .model import LlamaModel

KINDS = {
    "general.type": CONSTANTS["GGUF_TYPE_STRING"],
    "general.architecture": CONSTANTS["GGUF_TYPE_STRING"],
    "adapter.type": CONSTANTS["GGUF_TYPE_STRING"],
    "adapter.lora.alpha": CONSTANTS["GGUF_TYPE_FLOAT32"],
}
"""Types of the metadata that libllama reads without asking for them: it aborts on others."""

NOT_WEIGHTS = {CONSTANTS[f"GGML_TYPE_{name}"] for name in ("I8", "I16", "I32", "I64", "F64")}
"""Types of numbers that it cannot multiply with."""

EXPERTS = "_exps."
"""In the names of tensors that hold a matrix for each expert, the only ones of three dimensions."""


class LlamaAdapter:
    """A LoRA adapter file. Raises ModelError if it is missing, corrupt, or made for another model."""

    def __init__(self, model: LlamaModel, path: Path) -> None:
        _check(path)
        self._lib = library.load()
        self._owner = model.owner  # libllama frees adapters with their model
        with library_log.telling_errors() as errors:
            self._handle: int | None = self._lib.llama_adapter_lora_init(model.handle, os.fsencode(path))
            if not self._handle:
                raise ModelError(f"cannot load the adapter {path}: {library_log.reason(errors)}")
        self.path = path
        self.invocation = self._read_invocation(model.info.n_vocab)
        """Tokens that activate it, behind which alone it is applied (aLoRA); none for a LoRA that always is."""

    def _read_invocation(self, n_vocab: int) -> tuple[int, ...]:
        n = self._lib.llama_adapter_get_alora_n_invocation_tokens(self._handle)
        if n == 0:
            return ()
        address = self._lib.llama_adapter_get_alora_invocation_tokens(self._handle)
        tokens = tuple((c.c_int32 * n).from_address(address))
        if not all(0 <= token < n_vocab for token in tokens):
            raise ModelError(
                f"cannot load the adapter {self.path}: its invocation tokens {list(tokens)} are not all in the "
                f"vocabulary of {n_vocab} tokens"
            )
        return tokens

    @property
    def handle(self) -> int:
        assert self._handle is not None, "the adapter is closed"
        return self._handle

    def close(self) -> None:
        """Free the adapter; no context may have it set any more. Safe twice."""
        handle, self._handle = self._handle, None
        if handle:
            self._lib.llama_adapter_lora_free(handle)
            del self._owner


def _check(path: Path) -> None:
    """Raise ModelError for what libllama would abort on."""
    head = read_head(path)
    for key, kind in KINDS.items():
        if head.kinds.get(key, kind) != kind:
            raise ModelError(f"cannot load the adapter {path}: its {key} is of a wrong type")
    for tensor in head.tensors:
        if tensor.kind in NOT_WEIGHTS or not _is_matrix(tensor):
            raise ModelError(f"cannot load the adapter {path}: its tensor {tensor.name!r} holds no weights")


def _is_matrix(tensor: TensorHead) -> bool:
    n_matrices = tensor.shape[2] * tensor.shape[3]
    return n_matrices == 1 or EXPERTS in tensor.name


class LlamaAdapters:
    """All adapters of a server, loaded once. Raises ModelError for a file that does not fit the model."""

    def __init__(self, model: LlamaModel, loras: Sequence[Path] = (), vector: ControlVector | None = None) -> None:
        self.vector = vector
        self._loras: list[LlamaAdapter] = []
        try:
            self._loras += (LlamaAdapter(model, path) for path in loras)
        except BaseException:
            self.close()
            raise

    @property
    def loras(self) -> Sequence[LlamaAdapter]:
        return self._loras

    def close(self) -> None:
        """Free all; no context may have any set any more. Safe twice."""
        while self._loras:
            self._loras.pop().close()
