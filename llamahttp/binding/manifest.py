"""Manifest: where the built library lies, and what `build_lib.sh` wrote down about it. Loads nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..errors import LibraryError
from . import abi

BUILT = Path(__file__).parent.parent / "_lib" / "current"
"""Where `build_lib.sh` points to the library that it built last."""

TABLES = ("llama_cpp", "cpu", "abi")
"""What a manifest holds as far as we read it, each an object."""

REBUILD = "run ./build_lib.sh to build the library for this machine and version"


def directory() -> Path:
    """The library's directory: $LLAMAHTTP_LIB, or what `build_lib.sh` built."""
    chosen = os.environ.get("LLAMAHTTP_LIB")
    path = Path(chosen) if chosen else BUILT
    if not path.is_dir():
        raise LibraryError(f"libllama is not built: {path} does not exist; {REBUILD}")
    return path.resolve()


def read(where: Path) -> dict[str, Any]:
    """The manifest beside the library."""
    path = where / "manifest.json"
    try:
        manifest = json.loads(path.read_text())
    except FileNotFoundError:
        raise LibraryError(f"{where} holds no finished build (no manifest.json); {REBUILD}") from None
    except (OSError, ValueError) as error:
        raise LibraryError(f"cannot read {path}: {error}; {REBUILD}") from None
    if not isinstance(manifest, dict) or not all(isinstance(manifest.get(key), dict) for key in TABLES):
        raise LibraryError(f"{path} is not a manifest of build_lib.sh; {REBUILD}")
    return manifest


def version(manifest: dict[str, Any]) -> str:
    """A built library in a few words, without loading it."""
    source = manifest["llama_cpp"]
    return f"{source.get('version', 'unknown')} ({str(source.get('commit', ''))[:8]})"


def build(manifest: dict[str, Any]) -> str:
    """A built library as llama-server calls its build: `b8505-0c1e57098`, `b0-` where no tag was built."""
    source = manifest["llama_cpp"]
    return f"b{source.get('build') or 0}-{str(source.get('commit') or 'unknown')[:9]}"


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
