"""Loading: open libllama, check that it is the one that our declarations describe, make its functions callable.

One library per process, loaded on first use by `load`. Calls go through `lib.llama_xxx`; whether a call keeps the GIL
is decided once, in `functions`.
"""

from __future__ import annotations

import ctypes as c
import logging
import math
import os
import threading
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from struct import Struct
from types import SimpleNamespace
from typing import Any

from ..errors import LibraryError
from . import library_log, manifest
from .functions import FUNCTIONS, LONG_TWINS, Function
from .manifest import REBUILD

log = logging.getLogger(__name__)

ELF_HEADER = Struct("<40x Q 10x H H 2x")
"""Elf64_Ehdr: e_shoff, e_shentsize, e_shnum."""

SPIN_COUNT = "5000"
"""Rounds that an OpenMP thread waits at a barrier before it sleeps: some 0.2 ms, where libgomp's default is many times
that. On cores that nothing else wants it makes no difference; where anything else runs (the event loop, a client, a
compiler) a thread that spins keeps away the one it waits for, at hundreds of barriers a step: bench/NOTES.md."""


def once(make: Callable[[], Any]) -> Callable[[], Any]:
    """Let `make` be called on first use only: threads that come meanwhile wait for it. What it raises is not kept."""
    lock = threading.Lock()
    made: list[Any] = []

    @wraps(make)
    def get() -> Any:
        if not made:
            with lock:
                if not made:
                    made.append(make())
        return made[0]

    return get


@once
def load() -> Any:
    """Load libllama and check it. Raises LibraryError with one sentence that says what is wrong and what helps.

    Returns a namespace with every function of `functions` under its C name, ready to call, `directory` and `manifest`.
    """
    where = manifest.directory()
    built = manifest.read(where)
    manifest.check_abi(built)
    limit_spinning()
    lib = _bind(where)
    lib.manifest = built
    _check_defaults(lib)
    library_log.route(lib.llama_log_set)
    lib.ggml_backend_load_all_from_path(os.fsencode(where))
    lib.llama_backend_init()
    log.debug("libllama %s loaded from %s", manifest.version(built), where)
    return lib


def limit_spinning() -> None:
    """Set `SPIN_COUNT`, which libgomp reads when it is loaded, unless the user has decided how threads wait."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)


def check_complete(path: Path) -> None:
    """Raise LibraryError for an ELF file that was cut short: the loader would be killed by a bus error."""
    try:
        with path.open("rb") as file:
            header = file.read(ELF_HEADER.size)
            size = file.seek(0, os.SEEK_END)
    except OSError as error:
        raise LibraryError(f"cannot load {path}: {error.strerror}; {REBUILD}") from None
    wanted = ELF_HEADER.size
    if header.startswith(b"\x7fELF\x02\x01") and len(header) == ELF_HEADER.size:
        # linkers put the section headers last; what is no 64-bit ELF file the loader refuses itself
        sections_at, entry_size, n_entries = ELF_HEADER.unpack(header)
        wanted = sections_at + entry_size * n_entries
    if size < wanted:
        raise LibraryError(f"cannot load {path}: it has {size} bytes of at least {wanted}; {REBUILD}")


def _bind(where: Path) -> Any:
    lib = SimpleNamespace(directory=where)
    for path in sorted(where.glob("lib*.so*")):
        check_complete(path)
    for library in ("ggml-base", "ggml", "llama"):
        functions = {name: function for name, function in FUNCTIONS.items() if function.library == library}
        bind(lib, where / f"lib{library}.so", functions)
    return lib


def bind(lib: Any, path: Path, functions: Mapping[str, Function]) -> None:
    """Open a library and make its functions, and their long twins, attributes of `lib`. Raises LibraryError."""
    try:
        short, long = c.PyDLL(str(path), mode=c.RTLD_GLOBAL), c.CDLL(str(path), mode=c.RTLD_GLOBAL)
    except OSError as error:
        raise LibraryError(f"cannot load {path}: {error}; {REBUILD}") from None
    for name, function in functions.items():
        setattr(lib, name, _declare(short if function.short else long, name, function))
    for name, twin in LONG_TWINS.items():
        if twin in functions:
            setattr(lib, name, _declare(long, twin, functions[twin]))


def _declare(dll: c.CDLL, name: str, function: Function) -> Any:
    try:
        symbol = dll[name]  # a fresh object, unlike the attribute: PyDLL and CDLL must not share one
    except AttributeError:
        raise LibraryError(f"{dll._name} has no function {name}; {REBUILD}") from None
    arguments: list[Any] = list(function.arguments)
    symbol.restype, symbol.argtypes = function.result, arguments
    return symbol


def _check_defaults(lib: Any) -> None:
    """Read the default parameters through our layouts: values that no build would choose mean stale layouts."""
    context, model = lib.llama_context_default_params(), lib.llama_model_default_params()
    plausible = (
        context.n_seq_max >= 1
        and context.n_batch >= context.n_ubatch >= 1
        and math.isclose(context.yarn_ext_factor, -1.0)
        and context.samplers is None
        and context.ctx_other is None
        and model.tensor_split is None
        and _booleans_are_bits(context)
        and _booleans_are_bits(model)
    )
    if not plausible:
        raise LibraryError(f"libllama's default parameters do not read back: its structs differ from ours; {REBUILD}")


def _booleans_are_bits(struct: c.Structure) -> bool:
    raw = bytes(struct)
    fields = [(field[0], field[1]) for field in type(struct)._fields_]
    return all(raw[getattr(type(struct), name).offset] in (0, 1) for name, kind in fields if kind is c.c_bool)
