"""Processes that load a library: a process has one for its life, so each test takes its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

LOAD = """
from llamahttp.binding import library, manifest, portability
from llamahttp.errors import LibraryError
try:
    lib = library.load()
except LibraryError as error:
    print("LibraryError:", error)
else:
    print("loaded", manifest.version(lib.manifest))
"""


def python(program: str, where: Path, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program over the library in `where`."""
    environ = os.environ | {"LLAMAHTTP_LIB": str(where), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=60, check=check
    )


def change_manifest(where: Path, change: Callable[[dict[str, dict[str, object]]], None]) -> None:
    path = where / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
