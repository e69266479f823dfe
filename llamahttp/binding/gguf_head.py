"""GGUF heads: what a file says it holds, read by ggml's own reader, for files that are checked or read here.

libllama trusts the files that it is given in ways that end in an abort; a head tells before.
"""

from __future__ import annotations

import ctypes as c
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ModelError
from . import library, library_log
from .model import check_file
from .structs import GGUFParams

MAX_DIMS = 4
"""GGML_MAX_DIMS: numbers of a shape, where 1 stands for a dimension that is not there."""


class TensorHead(NamedTuple):
    """Where a tensor lies in its file, in bytes, and what it is."""

    name: str
    kind: int
    """`enum ggml_type`."""
    shape: tuple[int, ...]
    """`MAX_DIMS` sizes, the fastest first as ggml counts them."""
    offset: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class GGUFHead:
    """The metadata's types, `enum gguf_type` by key, and the tensors."""

    kinds: dict[str, int]
    tensors: tuple[TensorHead, ...]


def read_head(path: Path) -> GGUFHead:
    """Raises ModelError for a file that is missing, no GGUF, corrupt, or ends before its tensors do."""
    check_file(path)
    lib = library.load()
    with library_log.telling_errors() as errors:
        handle = lib.gguf_init_from_file(os.fsencode(path), GGUFParams(no_alloc=True, ctx=None))
        if not handle:
            raise ModelError(f"{path} is not a GGUF file that can be read: {library_log.reason(errors)}")
    try:
        kinds = {_text(lib.gguf_get_key(handle, i)): lib.gguf_get_kv_type(handle, i) for i in _range(lib, handle)}
        begin = lib.gguf_get_data_offset(handle)
        tensors = tuple(_tensor(lib, handle, i, begin) for i in range(lib.gguf_get_n_tensors(handle)))
    finally:
        lib.gguf_free(handle)
    size, wanted = path.stat().st_size, max((tensor.offset + tensor.n_bytes for tensor in tensors), default=0)
    if size < wanted:
        raise ModelError(f"{path} was cut short: it has {size} bytes of at least {wanted}")
    return GGUFHead(kinds, tensors)


def _range(lib: Any, handle: int) -> range:
    return range(lib.gguf_get_n_kv(handle))


def _tensor(lib: Any, handle: int, i: int, begin: int) -> TensorHead:
    return TensorHead(
        name=_text(lib.gguf_get_tensor_name(handle, i)),
        kind=lib.gguf_get_tensor_type(handle, i),
        shape=tuple((c.c_int64 * MAX_DIMS).from_address(lib.gguf_get_tensor_ne(handle, i))),
        offset=begin + lib.gguf_get_tensor_offset(handle, i),
        n_bytes=lib.gguf_get_tensor_size(handle, i),
    )


def _text(name: bytes) -> str:
    return name.decode(errors="replace")
