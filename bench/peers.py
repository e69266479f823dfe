"""Peers: other servers over llama.cpp from Python, in virtual environments of their own.

    python -m bench.peers .venv-bench-peers      # install what installs, say what does not

llama-cpp-python is installed without its own copy of libllama, which takes long to compile: it finds the one that is
built here, which is of the same version (`LLAMA_CPP_LIB_PATH`).
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from bench.contender import Contender
from bench.errors import BenchError
from bench.progress import say

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv-bench-peers"
LIBRARY = ROOT / "llamahttp" / "_lib" / "current"
INSTALL_TIMEOUT_S = 600.0
DONE = "installed"


@dataclass(frozen=True, slots=True)
class Peer:
    """What is installed, and with which settings of the environment it is installed and run."""

    name: str
    packages: tuple[str, ...]
    install: tuple[tuple[str, str], ...] = ()
    run: tuple[tuple[str, str], ...] = ()


PEERS = (
    Peer("xllamacpp", ("xllamacpp",)),
    Peer(
        "llama-cpp-python",
        ("llama-cpp-python[server]==0.3.36",),
        install=(("CMAKE_ARGS", "-DLLAMA_BUILD=OFF"),),
        run=(("LLAMA_CPP_LIB_PATH", str(LIBRARY)),),
    ),
)


def python_of(folder: Path, peer: Peer) -> Path:
    return folder / peer.name / "bin" / "python"


def install(folder: Path, peer: Peer) -> None:
    """Install a peer unless it is. BenchError with the end of pip's complaints."""
    mark = folder / peer.name / DONE
    if mark.exists():
        return
    venv.create(folder / peer.name, with_pip=True, clear=True)
    command = [str(python_of(folder, peer)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        done = subprocess.run(
            [*command, *peer.packages],
            env=os.environ | dict(peer.install),
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"pip takes longer than {INSTALL_TIMEOUT_S:g} s") from None
    if done.returncode:
        raise BenchError(done.stderr.strip()[-500:])
    mark.touch()


def contenders(folder: Path) -> list[Contender]:
    """The peers that are installed and start; of the others is said why they are not."""
    found = []
    for peer in PEERS:
        if not (folder / peer.name / DONE).exists():
            say(f"{peer.name} is not installed: python -m bench.peers {folder}")
            continue
        settings = [f"{name}={value}" for name, value in peer.run]
        script = Path(__file__).with_name("peer_server.py")
        command = ["env", *settings, str(python_of(folder, peer)), str(script), peer.name]
        try:
            found.append(Contender.meet(peer.name, shlex.join(command)))
        except BenchError as error:
            say(f"{peer.name} does not start: {error}")
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Install the servers that this one is compared with.")
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    args = parser.parse_args(argv)
    for peer in PEERS:
        try:
            install(args.folder, peer)
            say(f"{peer.name}: {DONE}")
        except BenchError as error:
            say(f"{peer.name} cannot be installed: {error}")
    return 0  # the benchmark does without them


if __name__ == "__main__":
    sys.exit(main())
