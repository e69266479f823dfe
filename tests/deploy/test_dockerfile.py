"""The Dockerfile, without a container engine: what it copies is there, and its own steps run in a folder.

Steps that install the distribution's packages or make users are left out; the image's paths become paths of the folder.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from process import Server, get

from .conftest import DEPLOY

ROOT = DEPLOY.parent
TEXT = (DEPLOY / "Dockerfile").read_text()

SHARED = ("opt/llamahttp", "models", "usr/local/bin/llamahttp-entrypoint")
"""Paths of the image that lie in the folder, beside each stage's own `/src`."""

SHOW_OPTIONS = """#!/bin/sh
printf '%s\\n' "$@" >options
mkdir -p llamahttp/_lib/current
cd llamahttp/_lib/current
touch libllama.so.0
ln -s libllama.so.0 libllama.so
ln -s /etc/passwd libcudart.so.12
"""


class Stage(NamedTuple):
    """What one FROM begins: pairs (name, text) of its instructions."""

    base: str
    name: str
    instructions: list[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        return [text for found, text in self.instructions if found == name]

    def options(self) -> dict[str, str]:
        """The defaults of its ARGs."""
        return {name: default for name, _, default in (text.partition("=") for text in self.all("ARG"))}


def read() -> list[Stage]:
    """The stages, their continued lines joined as Docker joins them."""
    lines = "\n".join(line for line in TEXT.splitlines() if not line.startswith("#")).replace("\\\n", "")
    stages: list[Stage] = []
    for line in filter(None, lines.splitlines()):
        name, text = line.split(maxsplit=1)
        if name == "FROM":
            base, _, alias = text.partition(" AS ")
            stages.append(Stage(base, alias, []))
        elif stages:
            stages[-1].instructions.append((name, text))
    return stages


LIBRARY, APP, IMAGE = read()


def is_sent(path: str) -> bool:
    """Whether the .dockerignore file lets a path through; the last line that fits decides."""
    sent = True
    for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        if any(fnmatch.fnmatch(part, pattern) for part in (path, *map(str, Path(path).parents), Path(path).name)):
            sent = line.startswith("!")
    return sent


class Folder:
    """A folder that stands for the file system of the stages. What they hand over lies at the same place for all."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environ = {
            "PATH": f"{sys.base_prefix}/bin:{os.environ['PATH']}",
            "HOME": os.environ.get("HOME", "/root"),
        }

    def place(self, text: str, stage: Stage) -> str:
        """`text` with the paths of the image in the folder."""
        text = re.sub(r"(?<![\w/.])/src\b", str(self.root / f"src-{stage.name or 'image'}"), text)
        return re.sub(
            r"(?<![\w/.])/(opt/llamahttp|models|usr/local/bin/llamahttp-entrypoint)", rf"{self.root}/\1", text
        )

    def play(self, stage: Stage, options: Mapping[str, str]) -> None:
        """Run what can be run of a stage."""
        self.environ |= stage.options() | dict(options)
        where = self.root
        for name, text in stage.instructions:
            text = self.place(text, stage)
            if name == "WORKDIR" and text.startswith(str(self.root)):
                where = Path(text)
                where.mkdir(parents=True)
            elif name == "COPY":
                self.copy(text.split(), where)
            elif name == "ENV":
                given = dict(pair.split("=", 1) for pair in shlex.split(text))
                self.environ |= {key: value for key, value in given.items() if key != "LLAMAHTTP_CACHE"}
            elif name == "RUN" and "apt-get" not in text:
                ran = subprocess.run(
                    ["/bin/sh", "-ec", text], cwd=where, env=self.environ, capture_output=True, text=True, check=False
                )
                assert ran.returncode == 0, f"{text}\n{ran.stdout}{ran.stderr}"

    def copy(self, words: list[str], where: Path) -> None:
        if words[0].startswith("--from="):
            assert words[1] == words[2], "what is handed over keeps its place: scripts of the environment name it"
            assert Path(words[1]).is_dir()
            return
        *sources, target = words
        for source in sources:
            assert is_sent(source), f"{source} is copied, but the .dockerignore file keeps it back"
            to = where / target
            if (ROOT / source).is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "_lib")
                shutil.copytree(ROOT / source, to, dirs_exist_ok=True, ignore=ignored)
            else:
                to = to / Path(source).name if target.endswith("/") else to
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, to)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    """All stages, played with the library for this machine, which `make setup` has built."""
    folder = Folder(tmp_path_factory.mktemp("image"))
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder.environ["LLAMAHTTP_CACHE"] = os.environ.get("LLAMAHTTP_CACHE") or str(cache_home / "llamahttp")
    folder.play(LIBRARY, {"CPU": ""})
    folder.play(APP, {})
    folder.play(IMAGE, {})
    yield folder


def test_the_stages_are_in_their_order() -> None:
    assert [stage.name for stage in (LIBRARY, APP, IMAGE)] == ["library", "app", ""]
    assert [stage.base for stage in (LIBRARY, APP, IMAGE)] == ["${BUILD_IMAGE}", "${RUN_IMAGE}", "${RUN_IMAGE}"]


def test_changes_of_ours_do_not_build_the_library_again() -> None:
    """Only what declares libllama's interface comes before it, as the Makefile's recipe has it, and the scripts."""
    copied = [word for text in LIBRARY.all("COPY") for word in text.split()[:-1]]
    assert copied == [
        "build_lib.sh",
        "scripts/build_lib",
        *(f"llamahttp/binding/{name}.py" for name in ("abi", "cpu", "functions", "mtmd_functions", "structs")),
    ]


def test_packages_are_installed_before_llamahttp_is_copied() -> None:
    names = [f"{name} {text}" for name, text in APP.instructions]
    install = next(i for i, text in enumerate(names) if "-r requirements.txt" in text)
    source = next(i for i, text in enumerate(names) if text.startswith("COPY llamahttp"))
    assert install < source


def test_it_runs_as_nobody_of_importance() -> None:
    assert IMAGE.all("USER") == ["llamahttp"]
    assert IMAGE.instructions[-1] == ("ENTRYPOINT", '["llamahttp-entrypoint"]'), (
        "no shell between the server and signals"
    )
    assert "HEALTHCHECK" in dict(IMAGE.instructions)
    assert json.loads(IMAGE.all("HEALTHCHECK")[0].partition("CMD ")[2]) == ["llamahttp-entrypoint", "health"]
    assert IMAGE.all("STOPSIGNAL") == ["SIGTERM"]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ["--portable", "--no-self-test", "--cuda", "off"]),
        ({"LLAMA_CPP_VERSION": "b8505"}, ["--portable", "--ref", "b8505", "--no-self-test", "--cuda", "off"]),
        ({"LLAMA_CPP_VERSION": "latest"}, ["--portable", "--ref", "latest", "--no-self-test", "--cuda", "off"]),
        ({"CUDA_ARCH": "80;90"}, ["--portable", "--no-self-test", "--cuda", "on", "--cuda-arch", "80;90"]),
    ],
)
def test_versions_and_architectures(tmp_path: Path, variables: dict[str, str], expected: list[str]) -> None:
    folder = Folder(tmp_path)
    command = next(folder.place(text, LIBRARY) for text in LIBRARY.all("RUN") if "build_lib.sh" in text)
    (tmp_path / "build_lib.sh").write_text(SHOW_OPTIONS)
    (tmp_path / "build_lib.sh").chmod(0o755)
    environ = folder.environ | LIBRARY.options() | variables
    subprocess.run(["/bin/sh", "-ec", command], cwd=tmp_path, env=environ, check=True)
    assert (tmp_path / "options").read_text().splitlines() == expected
    library = tmp_path / "opt/llamahttp/lib"
    assert (library / "libllama.so").readlink() == Path("libllama.so.0")
    assert not (library / "libcudart.so.12").is_symlink(), "what lies outside is not in the image"
    assert (library / "libcudart.so.12").read_text() == Path("/etc/passwd").read_text()


def test_the_image_has_no_links_out_of_itself(image: Folder) -> None:
    library = image.root / "opt/llamahttp/lib"
    assert (library / "manifest.json").is_file()
    for path in library.iterdir():
        assert not path.is_symlink() or path.resolve().parent == library.resolve()


def test_the_image_serves_and_stops_as_docker_stops_it(image: Folder, tmp_path: Path, free_port: int) -> None:
    entry = image.root / "usr/local/bin/llamahttp-entrypoint"
    environ = image.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": "", "LLAMA_ARG_HOST": "127.0.0.1"}
    settings = {"PORT": str(free_port), "CTX_SIZE": "1024", "PARALLEL": "1", "LLAMA_ARGS": "--metrics -lv 1"}
    with Server([str(entry)], [], environ | settings) as server:
        url = server.ready()
        assert subprocess.run([entry, "health"], env=environ, check=False, timeout=30).returncode == 0
        assert get(f"{url}/health")[0] == 200
        began = time.monotonic()
        server.send_signal(signal.SIGTERM)
        status, _, errors = server.end()
    assert (status, errors) == (0, "")
    assert time.monotonic() - began < 10
