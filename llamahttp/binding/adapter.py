"""Adapters: LoRA weights for an open model. What is applied is chosen by `LlamaDecoder.set_adapters`."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import ModelError
from . import library, library_log
from .model import LlamaModel, check_file


class LlamaAdapter:
    """A LoRA adapter file. Raises ModelError if it is missing, corrupt, or made for another model."""

    def __init__(self, model: LlamaModel, path: Path) -> None:
        check_file(path)
        self._lib = library.load()
        self._owner = model.owner  # libllama frees adapters with their model
        with library_log.telling_errors() as errors:
            self._handle: int | None = self._lib.llama_adapter_lora_init(model.handle, os.fsencode(path))
            if not self._handle:
                raise ModelError(f"cannot load the adapter {path}: {library_log.reason(errors)}")
        self.path = path

    @property
    def handle(self) -> int:
        assert self._handle is not None, "the adapter is closed"
        return self._handle

    def close(self) -> None:
        """Free the adapter; no decoder may have it set any more. Safe twice."""
        handle, self._handle = self._handle, None
        if handle:
            self._lib.llama_adapter_lora_free(handle)
            del self._owner
