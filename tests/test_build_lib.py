"""build_lib.sh, run for real on a source tree that takes a second: three libraries of one function each."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "build_lib.sh"

CMAKE_LISTS = """
cmake_minimum_required(VERSION 3.14)
set(CMAKE_CXX_COMPILER_WORKS ON)
project(small CXX)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
add_library(ggml src/other.cpp)
add_library(mtmd src/other.cpp)
add_library(llama src/llama.cpp)
add_executable(llama-server src/server.cpp)
target_link_libraries(llama-server llama)
file(WRITE ${CMAKE_BINARY_DIR}/llama-config-version.cmake "set(PACKAGE_VERSION \\"1.2.3\\")\\n")
"""

ABI_STANDIN = """
print('#include "llama.h"\\n#include <cstdio>\\nint main() { std::printf("{\\\\"answer\\\\": %d}", ANSWER); }')
"""

SELFTEST_STANDIN = """
import ctypes, sys
print("F16", flush=True)
sys.exit(ctypes.CDLL(sys.argv[1] + "/libllama.so").answer() != 42)
"""


@dataclass
class Workshop:
    """A copy of the script with stand-ins for the binding, a small source tree and a cache."""

    root: Path
    source: Path
    cache: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def current(self) -> Path:
        return self.root / "llamahttp" / "_lib" / "current"

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"LLAMAHTTP_CACHE": str(self.cache), "PYTHON": sys.executable} | self.environment
        command = [str(self.root / "build_lib.sh"), *options]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    def build(self, *options: str) -> subprocess.CompletedProcess[str]:
        return self.run("--source", str(self.source), "--cuda", "off", *options)

    def answer_with(self, statement: str) -> None:
        write(self.source / "src" / "llama.cpp", f'extern "C" int answer() {{ {statement} }}\n')

    def manifest(self) -> dict[str, object]:
        return json.loads((self.current / "manifest.json").read_text())

    def answer(self) -> int:
        """What the current library answers, asked in a child: this process would keep an old one loaded."""
        program = f"import ctypes; print(ctypes.CDLL({str(self.current / 'libllama.so')!r}).answer())"
        return int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of its own that shares the build tools with the real one, which has them after `make setup`."""
    cache = tmp_path_factory.mktemp("cache")
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    tools = Path(os.environ.get("LLAMAHTTP_CACHE") or cache_home / "llamahttp") / "tools"
    if tools.is_dir():
        (cache / "tools").symlink_to(tools)
    return cache


@pytest.fixture
def workshop(tmp_path: Path, cache: Path) -> Workshop:
    workshop = Workshop(root=tmp_path / "root", source=tmp_path / "source", cache=cache)
    (workshop.root).mkdir()
    shutil.copy(SCRIPT, workshop.root)
    shutil.copytree(ROOT / "scripts", workshop.root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    write(workshop.root / "llamahttp" / "__init__.py", "")  # a package, to come before the installed one
    write(workshop.root / "llamahttp" / "binding" / "__init__.py", "")
    write(workshop.root / "llamahttp" / "binding" / "abi.py", ABI_STANDIN)
    shutil.copy(ROOT / "llamahttp" / "binding" / "cpu.py", workshop.root / "llamahttp" / "binding")
    write(workshop.root / "llamahttp" / "binding" / "selftest.py", SELFTEST_STANDIN)
    write(workshop.source / "CMakeLists.txt", CMAKE_LISTS)
    write(workshop.source / "include" / "llama.h", "enum { ANSWER = 42 };\n")
    write(workshop.source / "src" / "other.cpp", "int other() { return 0; }\n")
    write(workshop.source / "src" / "server.cpp", 'extern "C" int answer();\nint main() { return answer() != 42; }\n')
    workshop.answer_with("return 42;")
    return workshop


# ------------------------------------------------------------------------------------------------ options


def test_help_explains_every_option(workshop: Workshop) -> None:
    result = workshop.run("--help")
    assert result.returncode == 0
    known = re.search(r"OPTION_NAMES=\((.+)\)", SCRIPT.read_text())
    assert known
    for option in known.group(1).split():
        assert f"\n  {option} " in result.stdout


@pytest.mark.parametrize(("mistake", "meant"), [("--refrence", "--reference"), ("--job=4", "--jobs")])
def test_an_unknown_option_names_the_nearest(workshop: Workshop, mistake: str, meant: str) -> None:
    result = workshop.run(mistake)
    assert result.returncode == 1
    assert f"unknown option {mistake}; did you mean {meant}?" in result.stderr


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--cuda", "maybe"], "--cuda maybe: must be auto, on or off"),
        (["--cuda-arch=sm_80"], "--cuda-arch sm_80: must be a list of numbers"),
        (["--jobs", "0"], "--jobs 0: must be a number of at least 1"),
        (["--jobs"], "--jobs needs a value"),
        (["--ref", "--clean"], "--ref --clean: not a tag"),
        (["--source", ".", "--ref", "b1"], "--source and --ref exclude each other"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(workshop: Workshop, options: list[str], complaint: str) -> None:
    result = workshop.run(*options)
    assert result.returncode == 1
    assert complaint in result.stderr


def test_a_directory_without_llama_cpp_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    result = workshop.run("--source", str(tmp_path))
    assert result.returncode == 1
    assert f"--source {tmp_path}: no llama.cpp source tree" in result.stderr


@pytest.mark.parametrize(
    ("variable", "options", "hint"),
    [
        ("CXX", [], "apt install g++"),
        ("CUDACXX", ["--cuda", "on"], "install the CUDA toolkit"),
        ("CUDACXX", ["--cuda", "auto", "--cuda-arch", "80"], "install the CUDA toolkit"),
    ],
)
def test_a_missing_compiler_is_named(workshop: Workshop, variable: str, options: list[str], hint: str) -> None:
    workshop.environment = {variable: "/nowhere/compiler"}
    result = workshop.build(*options)
    assert result.returncode == 1
    assert "/nowhere/compiler is not found" in result.stderr
    assert hint in result.stderr


# ------------------------------------------------------------------------------------------------ building


def test_a_build_is_installed_and_found_again(workshop: Workshop) -> None:
    first = workshop.build("--print-dir")
    assert first.returncode == 0, first.stderr
    assert "building libllama 100 %" in first.stderr
    assert first.stdout.splitlines()[-1] == str(workshop.current.resolve())
    assert workshop.answer() == 42

    again = workshop.build()
    assert again.stderr == f"build_lib: libllama is up to date: {workshop.current.resolve()}\n"


def test_the_manifest_tells_what_was_built(workshop: Workshop) -> None:
    assert workshop.build().returncode == 0
    manifest = workshop.manifest()
    assert manifest["format"] == 1
    assert manifest["abi"] == {"answer": 42}
    assert manifest["llama_cpp"] == {
        "version": "1.2.3",
        "build": None,
        "commit": "unknown",
        "source": f"directory {workshop.source}",
    }
    assert (manifest["cuda"], manifest["portable"], manifest["backend_dl"]) == (False, False, False)
    assert "-DGGML_NATIVE=ON" in manifest["flags"]


def test_a_portable_build_says_so_in_its_manifest(workshop: Workshop) -> None:
    assert workshop.build("--portable").returncode == 0
    manifest = workshop.manifest()
    assert manifest["portable"] is True
    assert manifest["backend_dl"] is True
    assert "-DGGML_CPU_ALL_VARIANTS=ON" in manifest["flags"]


def test_a_changed_source_is_built_again_and_the_old_library_kept(workshop: Workshop) -> None:
    assert workshop.build().returncode == 0
    old = workshop.current.resolve()
    workshop.answer_with("return 40 + 2;")
    assert workshop.build().returncode == 0
    assert workshop.current.resolve() != old
    assert (old / "manifest.json").exists()


def test_clean_builds_again_in_the_same_place(workshop: Workshop) -> None:
    assert workshop.build().returncode == 0
    place, before = workshop.current.resolve(), workshop.manifest()
    (workshop.current / "libggml.so").unlink()
    result = workshop.build("--clean")
    assert result.returncode == 0, result.stderr
    assert workshop.current.resolve() == place
    assert (workshop.current / "libggml.so").exists()
    assert workshop.manifest()["llama_cpp"] == before["llama_cpp"]


def test_the_reference_server_is_added_beside_the_same_libraries(workshop: Workshop) -> None:
    assert workshop.build().returncode == 0
    library = workshop.current / "libllama.so"
    built = library.stat().st_mtime_ns
    result = workshop.build("--reference")
    assert result.returncode == 0, result.stderr
    server = Path(result.stdout.splitlines()[-1])
    assert server == workshop.current.resolve() / "llama-server"
    assert subprocess.run([server], check=False, timeout=10).returncode == 0
    assert library.stat().st_mtime_ns == built


def test_two_calls_at_once_build_once(workshop: Workshop) -> None:
    environment = os.environ | {"LLAMAHTTP_CACHE": str(workshop.cache), "PYTHON": sys.executable}
    command = [str(workshop.root / "build_lib.sh"), "--source", str(workshop.source), "--cuda", "off"]
    calls = [
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        for _ in range(2)
    ]
    messages = [call.communicate(timeout=120)[1] for call in calls]
    assert [call.returncode for call in calls] == [0, 0]
    assert sum("100 %" in message for message in messages) == 1
    assert workshop.answer() == 42


# ------------------------------------------------------------------------------------------------ failing


def test_a_failed_build_shows_the_log_and_keeps_the_old_library(workshop: Workshop) -> None:
    assert workshop.build().returncode == 0
    old = workshop.current.resolve()
    workshop.answer_with("return forty_two;")
    result = workshop.build()
    assert result.returncode == 1
    assert "'forty_two' was not declared" in result.stderr
    log = next(line for line in result.stderr.splitlines() if "whole log: " in line).split("whole log: ")[1]
    assert "forty_two" in Path(log).read_text()
    assert workshop.current.resolve() == old
    assert workshop.answer() == 42
    assert not list((workshop.cache / "lib").glob(".new-*"))


def test_a_library_that_was_not_tested_is_not_taken_for_one_that_was(workshop: Workshop) -> None:
    workshop.answer_with("return 41;")
    assert workshop.build("--no-self-test").returncode == 0
    assert workshop.answer() == 41
    result = workshop.build()
    assert result.returncode == 1
    assert "self-test" in result.stderr


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [("__builtin_trap();", "died in F16 of SIG"), ("return 41;", "last type F16, exit status 1")],
)
def test_a_library_that_fails_its_self_test_is_not_installed(
    workshop: Workshop, statement: str, complaint: str
) -> None:
    workshop.answer_with(statement)
    result = workshop.build()
    assert result.returncode == 1
    assert complaint in result.stderr
    assert not workshop.current.exists()


def test_a_llama_cpp_of_another_version_fails_before_the_long_part(workshop: Workshop) -> None:
    write(workshop.source / "include" / "llama.h", "enum { OTHER = 1 };\n")
    result = workshop.build()
    assert result.returncode == 1
    assert "compiling the ABI probe failed" in result.stderr
    assert "older or newer than the declarations in llamahttp/binding" in result.stderr
    assert "building libllama" not in result.stderr


def test_an_sdist_that_is_not_the_pinned_one_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    archive = tmp_path / "llama_cpp_python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(workshop.source, "llama_cpp_python/vendor/llama.cpp")
    workshop.environment = {"LLAMAHTTP_SDIST": str(archive)}
    result = workshop.run("--cuda", "off")
    assert result.returncode == 1
    assert f"{archive} is not the pinned llama-cpp-python" in result.stderr
    assert "expected sha256" in result.stderr
    assert not workshop.current.exists()


# ------------------------------------------------------------------------------------------------ tags


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    command = ["git", *identity, "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def tagged(workshop: Workshop) -> Workshop:
    """The source as a repository with the tags b9 (broken) and b10; b10 is the newer one."""
    git(workshop.source, "init", "--quiet")
    for tag, statement in (("b9", "return 9;"), ("b10", "return 42;")):
        workshop.answer_with(statement)
        git(workshop.source, "add", ".")
        git(workshop.source, "commit", "--quiet", "-m", tag)
        git(workshop.source, "tag", tag)
    workshop.environment = {"LLAMAHTTP_LLAMA_CPP_REPO": f"file://{workshop.source}"}
    return workshop


@pytest.mark.parametrize("ref", ["b10", "latest"])
def test_a_tag_is_fetched_and_built(tagged: Workshop, ref: str) -> None:
    result = tagged.run("--ref", ref, "--cuda", "off")
    assert result.returncode == 0, result.stderr
    assert tagged.answer() == 42
    assert tagged.manifest()["llama_cpp"] == {
        "version": "1.2.3",
        "build": 10,
        "commit": git(tagged.source, "rev-parse", "HEAD"),
        "source": f"git file://{tagged.source} b10",
    }


def test_an_unknown_tag_is_said_to_be_missing(tagged: Workshop) -> None:
    result = tagged.run("--ref", "b11", "--cuda", "off")
    assert result.returncode == 1
    assert f"file://{tagged.source} has no tag b11" in result.stderr


@pytest.mark.parametrize("ref", ["b11", "latest"])
def test_an_unreachable_repository_is_said_to_be_unreachable(workshop: Workshop, ref: str) -> None:
    workshop.environment = {"LLAMAHTTP_LLAMA_CPP_REPO": "file:///nowhere"}
    result = workshop.run("--ref", ref, "--cuda", "off")
    assert result.returncode == 1
    assert "file:///nowhere cannot be read" in result.stderr
    assert "LLAMAHTTP_LLAMA_CPP_REPO" in result.stderr


def test_the_libraries_find_each_other_after_a_move(workshop: Workshop, tmp_path: Path) -> None:
    assert workshop.build().returncode == 0
    moved = shutil.copytree(workshop.current, tmp_path / "moved", symlinks=True)
    assert ctypes.CDLL(str(moved / "libllama.so")).answer() == 42
