"""Loading: a library that cannot be loaded is one sentence that names it and says what helps."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from llamahttp.binding import library, manifest

from .loading import LOAD, change_manifest, python


def cut(path: Path, share: float) -> None:
    """Replace a library file with its first part."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[: int(len(data) * share)])


def test_a_whole_library_loads(copied: Path) -> None:
    assert python(LOAD, copied).stdout.startswith("loaded ")


@pytest.mark.parametrize("name", ["libllama.so", "libggml.so"])
def test_a_missing_file_is_named(copied: Path, name: str) -> None:
    for path in copied.glob(f"{name}*"):
        path.unlink()
    said = python(LOAD, copied).stdout
    assert said.startswith("LibraryError: ")
    assert name in said


@pytest.mark.parametrize("name", ["libllama.so", "libggml-base.so", "libggml-cpu.so"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_file_cut_short_is_named(copied: Path, name: str, share: float) -> None:
    """As after a copy onto a full disk. The loader itself would be killed by a bus error."""
    found = [path for path in copied.glob(f"{name}*")]
    if not found:
        pytest.skip(f"this build has no {name}")
    for path in found:
        cut(path, share)
    child = python(LOAD, copied, check=False)
    assert child.returncode == 0, child.stderr
    assert child.stdout.startswith("LibraryError: ")
    assert name in child.stdout


def test_a_text_file_in_place_of_a_library_is_named(copied: Path) -> None:
    (copied / "libllama.so").unlink()
    (copied / "libllama.so").write_text("not a library\n" * 10)
    assert f"LibraryError: cannot load {copied}/libllama.so: " in python(LOAD, copied).stdout


def test_a_library_without_a_function_is_named(copied: Path) -> None:
    """The manifest matches, but the file beside it is another one."""
    (copied / "libllama.so").unlink()
    shutil.copy((copied / "libggml.so").resolve(), copied / "libllama.so")
    said = python(LOAD, copied).stdout
    assert f"{copied}/libllama.so has no function llama_version" in said


@pytest.mark.parametrize(
    ("environ", "spin_count"),
    [({}, library.SPIN_COUNT), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_waiting_threads_spin_briefly_unless_the_user_decides(
    environ: dict[str, str], spin_count: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    library.limit_spinning()
    assert os.environ.get("GOMP_SPINCOUNT") == spin_count


LOAD_AT_ONCE = """
import logging, threading
from concurrent.futures import ThreadPoolExecutor
from llamahttp.binding import library, mtmd
logging.basicConfig(level=logging.DEBUG)
barrier = threading.Barrier(8)
def load(module):
    barrier.wait()
    return module.load()
with ThreadPoolExecutor(8) as pool:
    for module in (library, mtmd):
        print(len(set(map(id, pool.map(load, [module] * 8)))))
"""


def test_threads_that_load_at_once_share_one_library() -> None:
    child = python(LOAD_AT_ONCE, manifest.directory())
    assert child.stdout == "1\n1\n"
    assert child.stderr.count(" loaded from ") == 1


def test_after_a_failed_load_the_next_one_may_succeed(copied: Path) -> None:
    """As after `build_lib.sh` in another terminal."""
    retry = f"import os\nos.environ['LLAMAHTTP_LIB'] = {str(copied)!r}"
    said = python(LOAD + retry + LOAD, copied / "none").stdout.splitlines()
    assert said[0].startswith("LibraryError: libllama is not built")
    assert said[1].startswith("loaded ")


# --- libmtmd


MAPPED = """
from pathlib import Path
from llamahttp.binding import library, mtmd
library.load()
before = "libmtmd" in Path("/proc/self/maps").read_text()
mtmd.load()
print(before, "libmtmd" in Path("/proc/self/maps").read_text())
"""


def test_libmtmd_is_opened_when_asked_for() -> None:
    assert python(MAPPED, manifest.directory()).stdout == "False True\n"


def test_a_build_without_libmtmds_layouts_serves_text_and_says_what_is_missing(copied: Path) -> None:
    change_manifest(copied, lambda manifest: manifest["abi"].pop("mtmd_context_params"))
    program = """
from llamahttp.binding import library, mtmd
from llamahttp.errors import LibraryError
library.load()
try:
    mtmd.load()
except LibraryError as error:
    print(error)
"""
    said = python(program, copied).stdout
    assert "mtmd_context_params.use_gpu is missing from the library's headers" in said
    assert "run ./build_lib.sh" in said
