"""Loading: whatever is wrong with the library is one sentence that names it and says what helps.

Each load runs in a process of its own: a process has one library, for its life.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llamahttp.binding import cpu, library

ROOT = Path(__file__).parent.parent.parent

LOAD = """
from llamahttp.binding import library
from llamahttp.errors import LibraryError
try:
    lib = library.load()
except LibraryError as error:
    print("LibraryError:", error)
else:
    print("loaded", library.version(lib))
"""


def python(program: str, where: Path, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program over the library in `where`."""
    environ = os.environ | {"LLAMAHTTP_LIB": str(where), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=60, check=check
    )


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the library in use, its large files as links until a test replaces them."""
    where = tmp_path / "lib"
    where.mkdir()
    for path in library.directory().iterdir():
        if path.name == "manifest.json":
            shutil.copy(path, where)
        elif path.name.startswith("lib"):
            (where / path.name).symlink_to(path.resolve())
    return where


def change_manifest(where: Path, change: Callable[[dict[str, dict[str, object]]], None]) -> None:
    path = where / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def cut(path: Path, share: float) -> None:
    """Replace a library file with its first part."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[: int(len(data) * share)])


def test_a_whole_library_loads(copied: Path) -> None:
    assert python(LOAD, copied).stdout.startswith("loaded ")


def test_without_a_library_the_error_says_how_to_get_one(tmp_path: Path) -> None:
    where = tmp_path / "none"
    assert python(LOAD, where).stdout == (
        f"LibraryError: libllama is not built: {where} does not exist; "
        "run ./build_lib.sh to build the library for this machine and version\n"
    )


def test_a_folder_that_is_no_build_is_named(tmp_path: Path) -> None:
    assert f"LibraryError: {tmp_path} holds no finished build (no manifest.json)" in python(LOAD, tmp_path).stdout


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"abi": {}}', '{"abi": 1, "cpu": {}, "llama_cpp": {}}', "\xff"]
)
def test_a_manifest_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_bytes(text.encode("latin-1"))
    said = python(LOAD, tmp_path).stdout
    assert said.startswith("LibraryError: ")
    assert str(tmp_path / "manifest.json") in said


def test_a_manifest_with_odd_tables_is_another_version(copied: Path) -> None:
    change_manifest(copied, lambda manifest: manifest["abi"].update(functions=[], llama_batch=5))
    assert "does not match the declarations of this llamahttp" in python(LOAD, copied).stdout


def test_a_library_of_another_version_names_both_sides(copied: Path) -> None:
    def move(manifest: dict[str, dict[str, object]]) -> None:
        manifest["llama_cpp"].update(version="b9999", source="elsewhere")
        manifest["abi"]["llama_context_params"] = {"sizeof": 8}

    change_manifest(copied, move)
    said = python(LOAD, copied).stdout
    assert said.startswith("LibraryError: libllama b9999 (elsewhere) does not match")
    assert "llama_context_params.n_ctx" in said


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


# --- after loading


def split_at(lines: list[str], line: str) -> tuple[list[str], list[str]]:
    """The lines before the one, and those after it."""
    at = lines.index(line)
    return lines[:at], lines[at + 1 :]


def test_the_log_goes_through_logging_whole_lines_at_a_time(tmp_path: Path) -> None:
    program = f"""
import logging, pathlib
from llamahttp.binding import library
from llamahttp.binding.model import LlamaModel
logging.basicConfig(level=logging.DEBUG, format="%(name)s %(levelname)s %(message)s")
library.load().llama_model_load_from_file(b"/no/such/file", library.load().llama_model_default_params())
logging.warning("now a model")
path = pathlib.Path({str(tmp_path / "broken.gguf")!r})
path.write_bytes(b"GGUF" + bytes(100))
try:
    LlamaModel(path)
except Exception as error:
    print(type(error).__name__)
"""
    child = python(program, library.directory())
    assert child.stdout == "ModelError\n"
    lines = child.stderr.splitlines()
    before, after = split_at(lines, "root WARNING now a model")
    assert any(line.startswith("llamahttp.libllama WARNING ") for line in before), "libllama's errors are shown"
    assert all(line.startswith("llamahttp.") for line in before + after), "nothing is printed past logging"
    assert after and all(" DEBUG " in line for line in after), "what our error tells is not told twice"


def test_a_thread_that_computes_while_the_interpreter_ends_does_no_harm(llama_gguf: Path) -> None:
    program = f"""
import threading, time
from pathlib import Path
from llamahttp.binding.decoder import DecoderConfig, LlamaDecoder
from llamahttp.binding.model import LlamaModel
model = LlamaModel(Path({str(llama_gguf)!r}))
decoder = LlamaDecoder(model, DecoderConfig(1024, 1, 512, 512, 1, 1, False))
def work():
    while True:
        decoder.batch.positions[:512] = range(512)
        decoder.remove(0, 0)
        decoder.decode(512)
        decoder.batch.positions[0] = 9999   # refused, with a line of log
        try:
            decoder.decode(1)
        except Exception:
            pass
threading.Thread(target=work, daemon=True).start()
time.sleep(0.3)
"""
    for _ in range(3):
        child = python(program, library.directory(), check=False)
        assert child.returncode == 0, child.stderr


def test_devices_are_listed() -> None:
    names = [name for name, _description, _kind in library.devices()]
    assert "CPU" in names


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
    assert python(MAPPED, library.directory()).stdout == "False True\n"


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


# --- a library built for another CPU


CHECK_CPU = LOAD.replace("lib = library.load()", "library.check_cpu(); lib = library.load()")


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


@pytest.mark.parametrize(
    ("manifest", "words"),
    [({"cuda": False}, "CPU"), ({"cuda": ["80"]}, "CPU, since this build for CUDA finds no GPU here")],
)
def test_a_build_for_cuda_says_when_it_computes_on_the_cpu(manifest: dict[str, object], words: str) -> None:
    if library.gpus():
        pytest.skip("there is a GPU here")
    lib = library.load()
    before, lib.manifest = lib.manifest, lib.manifest | manifest
    try:
        assert library.compute(-1) == words
    finally:
        lib.manifest = before


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
