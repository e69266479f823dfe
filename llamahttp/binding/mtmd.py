"""Images and audio: libmtmd, loaded on first use, and the projector that turns media into embeddings of a model."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ..errors import ModelError
from . import abi, library, library_log, manifest
from .model import LlamaModel, check_file
from .mtmd_functions import FUNCTIONS


@library.once
def load() -> Any:
    """Load libmtmd from beside libllama and check it. Raises LibraryError.

    Returns a namespace with every function of `mtmd_functions` under its C name.
    """
    llama = library.load()
    manifest.check_abi(llama.manifest, abi.MTMD)
    lib = SimpleNamespace()
    library.bind(lib, llama.directory / "libmtmd.so", FUNCTIONS)
    library_log.route(lib.mtmd_helper_log_set)
    return lib


class LlamaProjector:
    """An open mmproj file. Raises ModelError if it is missing, corrupt, or made for another model."""

    def __init__(self, model: LlamaModel, path: Path, *, n_threads: int, use_gpu: bool = True) -> None:
        """Blocks, without the GIL, until loaded and warm. It computes with `n_threads` of the CPU or on the GPU."""
        check_file(path)
        self._lib = load()
        self._owner = model.owner  # the projector reads the model's vocabulary
        params = self._lib.mtmd_context_params_default()
        params.use_gpu, params.n_threads, params.print_timings = use_gpu, n_threads, False
        with library_log.telling_errors() as errors:
            self._handle: int | None = self._lib.mtmd_init_from_file(os.fsencode(path), model.handle, params)
            if not self._handle:
                raise ModelError(f"cannot load the projector {path}: {library_log.reason(errors)}")
        self.sees: bool = self._lib.mtmd_support_vision(self._handle)
        self.hears: bool = self._lib.mtmd_support_audio(self._handle)

    @property
    def handle(self) -> int:
        assert self._handle is not None, "the projector is closed"
        return self._handle

    def close(self) -> None:
        """Free the projector. Safe twice."""
        handle, self._handle = self._handle, None
        if handle:
            self._lib.mtmd_free(handle)
            del self._owner
