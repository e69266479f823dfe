"""Portability: whether a library that was built on another machine runs on this one's CPU."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

from ..errors import LibraryError
from . import cpu, manifest
from .manifest import REBUILD

log = logging.getLogger(__name__)

SELF_TEST_SECONDS = 120


def check_cpu() -> None:
    """Run the self-test in a child process if this CPU is not the one that the library was built on.

    A result is remembered beside the library. Raises LibraryError if the library cannot run here.
    """
    where = manifest.directory()
    here = cpu.fingerprint()
    if manifest.read(where)["cpu"].get("fingerprint") == here:
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
