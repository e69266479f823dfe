"""Portability: a library built for another CPU is tested once, and refused if it does not run."""

from __future__ import annotations

from pathlib import Path

from llamahttp.binding import cpu

from .loading import LOAD, change_manifest, python

CHECK_CPU = LOAD.replace("lib = library.load()", "portability.check_cpu(); lib = library.load()")


def test_the_cpu_that_built_it_needs_no_test(copied: Path) -> None:
    change_manifest(copied, lambda manifest: manifest["cpu"].update(fingerprint=cpu.fingerprint()))
    child = python(CHECK_CPU, copied)
    assert child.stdout.startswith("loaded ")
    assert not list(copied.glob("selftest-*"))


def test_on_another_cpu_it_is_tested_once(copied: Path) -> None:
    change_manifest(copied, lambda manifest: manifest["cpu"].update(fingerprint="0" * 16))
    first = python(CHECK_CPU, copied)
    assert first.stdout.startswith("loaded "), first.stdout
    assert "another CPU" in first.stderr
    assert (copied / f"selftest-{cpu.fingerprint()}").exists()
    assert "another CPU" not in python(CHECK_CPU, copied).stderr


def test_a_library_that_fails_its_test_is_refused(copied: Path) -> None:
    change_manifest(copied, lambda manifest: manifest["cpu"].update(fingerprint="0" * 16))
    for path in copied.glob("libllama.so*"):
        path.unlink()
    said = python(CHECK_CPU, copied).stdout
    assert said.startswith("LibraryError: libllama was built for another CPU and does not run on this one (")
