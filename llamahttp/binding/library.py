"""Loading: find libllama, check that it is the one that our declarations describe, route its log.

One library per process, loaded on first use by `load`. Calls go through `lib.llama_xxx`; whether a call keeps the GIL
is decided once, in `functions`.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes as c
import json
import logging
import math
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from struct import Struct
from types import SimpleNamespace
from typing import Any

from ..errors import LibraryError
from . import abi, cpu
from .functions import CONSTANTS, FUNCTIONS, LONG_TWINS, Function
from .structs import LOG_CALLBACK

log = logging.getLogger(__name__)
llama_log = logging.getLogger("llamahttp.libllama")

BUILT = Path(__file__).parent.parent / "_lib" / "current"
"""Where `build_lib.sh` points to the library that it built last."""

LEVELS = {
    CONSTANTS["GGML_LOG_LEVEL_DEBUG"]: logging.DEBUG,
    CONSTANTS["GGML_LOG_LEVEL_INFO"]: logging.DEBUG,  # libllama tells hundreds of lines a load at its info level
    CONSTANTS["GGML_LOG_LEVEL_WARN"]: logging.INFO,
    CONSTANTS["GGML_LOG_LEVEL_ERROR"]: logging.WARNING,
}

MANIFEST_TABLES = ("llama_cpp", "cpu", "abi")
"""What a manifest holds as far as we read it, each an object."""

ELF_HEADER = Struct("<40x Q 10x H H 2x")
"""Elf64_Ehdr: e_shoff, e_shentsize, e_shnum."""

SELF_TEST_SECONDS = 120

SPIN_COUNT = "5000"
"""Rounds that an OpenMP thread waits at a barrier before it sleeps: some 0.2 ms, where libgomp's default is many times
that. On cores that nothing else wants it makes no difference; where anything else runs (the event loop, a client, a
compiler) a thread that spins keeps away the one it waits for, at hundreds of barriers a step: bench/NOTES.md."""

REBUILD = "run ./build_lib.sh to build the library for this machine and version"


def directory() -> Path:
    """The library's directory: $LLAMAHTTP_LIB, or what `build_lib.sh` built."""
    chosen = os.environ.get("LLAMAHTTP_LIB")
    path = Path(chosen) if chosen else BUILT
    if not path.is_dir():
        raise LibraryError(f"libllama is not built: {path} does not exist; {REBUILD}")
    return path.resolve()


@lru_cache(maxsize=1)
def load() -> Any:
    """Load libllama and check it. Raises LibraryError with one sentence that says what is wrong and what helps.

    Returns a namespace with every function of `functions` under its C name, ready to call, `directory` and `manifest`.
    """
    where = directory()
    manifest = read_manifest(where)
    check_abi(manifest)
    limit_spinning()
    lib = _bind(where)
    lib.manifest = manifest
    _check_defaults(lib)
    route_log(lib.llama_log_set)
    lib.ggml_backend_load_all_from_path(os.fsencode(where))
    lib.llama_backend_init()
    log.debug("libllama %s loaded from %s", version(lib), where)
    return lib


def limit_spinning() -> None:
    """Set `SPIN_COUNT`, which libgomp reads when it is loaded, unless the user has decided how threads wait."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)


def read_manifest(where: Path) -> dict[str, Any]:
    """The manifest beside the library."""
    path = where / "manifest.json"
    try:
        manifest = json.loads(path.read_text())
    except FileNotFoundError:
        raise LibraryError(f"{where} holds no finished build (no manifest.json); {REBUILD}") from None
    except (OSError, ValueError) as error:
        raise LibraryError(f"cannot read {path}: {error}; {REBUILD}") from None
    if not isinstance(manifest, dict) or not all(isinstance(manifest.get(key), dict) for key in MANIFEST_TABLES):
        raise LibraryError(f"{path} is not a manifest of build_lib.sh; {REBUILD}")
    return manifest


def version(lib: Any) -> str:
    """The loaded library in a few words: version and commit."""
    return version_of(lib.manifest)


def version_of(manifest: dict[str, Any]) -> str:
    """A built library in a few words, without loading it."""
    source = manifest["llama_cpp"]
    return f"{source.get('version', 'unknown')} ({str(source.get('commit', ''))[:8]})"


def check_abi(manifest: dict[str, Any], ours: abi.Declarations = abi.LLAMA) -> None:
    """Raise LibraryError if the library was built from headers that are not the ones we declare."""
    found = abi.differences(manifest["abi"], ours)
    if not found:
        return
    source = manifest["llama_cpp"]
    more = f" (and {len(found) - 1} more differences)" if len(found) > 1 else ""
    raise LibraryError(
        f"libllama {source.get('version')} ({source.get('source')}) does not match the declarations of this llamahttp: "
        f"{found[0]}{more}; {REBUILD}"
    )


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
    for library in ("ggml", "llama"):
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


def pointer(struct: c.Structure) -> Any:
    """A pointer to a struct, for functions that take one."""
    return c.cast(c.pointer(struct), c.c_void_p)


# --- the library's log

_recent_errors: deque[str] = deque(maxlen=8)
_line = threading.local()


def _collect(level: int, text: bytes, _user_data: object) -> None:
    """Collect pieces until a line is complete: GGML_LOG_LEVEL_CONT continues the one before."""
    if level != CONSTANTS["GGML_LOG_LEVEL_CONT"]:
        _line.level, _line.text = level, ""
    _line.text = getattr(_line, "text", "") + text.decode(errors="replace")
    if not _line.text.endswith("\n"):
        return
    line, _line.text = _line.text.rstrip(), ""
    level = getattr(_line, "level", CONSTANTS["GGML_LOG_LEVEL_INFO"])
    if level == CONSTANTS["GGML_LOG_LEVEL_ERROR"]:
        told = getattr(_line, "told", None)
        if told is not None:
            level = CONSTANTS["GGML_LOG_LEVEL_DEBUG"]
        (_recent_errors if told is None else told).append(line)
    llama_log.log(LEVELS.get(level, logging.DEBUG), "%s", line)


def route_log(log_set: Any) -> None:
    """Give a library that logs as libllama does our callback."""
    log_set(_log_callback, None)
    # a thread that still computes while the interpreter ends must not call into it
    atexit.register(log_set, LOG_CALLBACK(), None)


_log_callback = LOG_CALLBACK(_collect)  # module level: libllama keeps the pointer for the life of the process


@contextlib.contextmanager
def telling_errors() -> Iterator[list[str]]:
    """Error lines that libllama logs on this thread while the block runs, for what the block raises to tell them.

    The log shows them at debug level then; if the block raises nothing, they are warnings as elsewhere.
    """
    errors: list[str] = []
    _line.told = errors
    try:
        yield errors
    finally:
        _line.told = None
    for line in errors:
        llama_log.warning("%s", line)


def take_errors() -> list[str]:
    """Error lines that libllama has logged since the last call, oldest first."""
    lines = list(_recent_errors)
    _recent_errors.clear()
    return lines


def reason(errors: list[str]) -> str:
    """The most telling of the lines that libllama logged: the first, without the function's name."""
    if not errors:
        return "libllama gives no reason"
    return errors[0].split(": ", 1)[-1]


# --- a library built for another CPU


def check_cpu() -> None:
    """Run the self-test in a child process if this CPU is not the one that the library was built on.

    A result is remembered beside the library. Raises LibraryError if the library cannot run here.
    """
    where = directory()
    manifest = read_manifest(where)
    here = cpu.fingerprint()
    if manifest["cpu"].get("fingerprint") == here:
        return
    remembered = where / f"selftest-{here}"
    if remembered.exists():
        return
    log.warning("libllama was built on another CPU; testing it on this one")
    fault = _self_test(where)
    if fault:
        raise LibraryError(f"libllama was built for another CPU and does not run on this one ({fault}); {REBUILD}")
    try:
        remembered.touch()
    except OSError as error:
        log.debug("cannot remember the self-test: %s", error)


def _self_test(where: Path) -> str:
    """Run the self-test in a child process. Returns what is wrong, or nothing."""
    command = [sys.executable, "-m", "llamahttp.binding.selftest", str(where)]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=SELF_TEST_SECONDS)
    except subprocess.TimeoutExpired:
        return f"the self-test took longer than {SELF_TEST_SECONDS} s"
    if child.returncode == 0:
        return ""
    said = (child.stdout.strip() or child.stderr.strip()).splitlines()[-1:] or ["nothing"]
    if child.returncode < 0:
        return f"signal {-child.returncode} with weights of type {said[0]}"
    return said[0]


# --- devices


def devices() -> list[tuple[str, str, int]]:
    """Devices that libllama can compute on: (name, description, `enum ggml_backend_dev_type`)."""
    lib = load()
    handles = [lib.ggml_backend_dev_get(i) for i in range(lib.ggml_backend_dev_count())]
    return [
        (
            lib.ggml_backend_dev_name(handle).decode(),
            lib.ggml_backend_dev_description(handle).decode(),
            lib.ggml_backend_dev_type(handle),
        )
        for handle in handles
    ]


def gpus() -> list[str]:
    """The devices that layers can be offloaded to, in words."""
    kinds = (CONSTANTS["GGML_BACKEND_DEVICE_TYPE_GPU"], CONSTANTS["GGML_BACKEND_DEVICE_TYPE_IGPU"])
    return [f"{name} ({description})" for name, description, kind in devices() if kind in kinds]


def compute(n_gpu_layers: int) -> str:
    """What a model with so many layers on the GPU is computed by, in words."""
    found = gpus()
    if found:
        return ", ".join(found) if n_gpu_layers != 0 else "CPU, with no layer on the GPU"
    return "CPU, since this build for CUDA finds no GPU here" if load().manifest.get("cuda") else "CPU"
