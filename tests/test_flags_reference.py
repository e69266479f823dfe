"""Flags: the whole of llama-server's list, name by name, default by default."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import reference_help
from reference_help import ReferenceFlag

from llamahttp.flags import BY_NAME, FLAGS, Constant, Effective, Flag, Ignored, Preset, Refused, Unused, Value
from llamahttp.flags.showing import described

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import write_flag_table  # noqa: E402

REFERENCE = reference_help.from_list()

DIFFERENT_DEFAULTS = {
    "--cache-ram": "a share of the memory that is free, at most llama-server's 8192 MiB: small machines have less",
    "--cors-origins": "only localhost where no API key is needed, else any page could use a local server",
    "--prio-batch": "that of --prio, as the other flags of prompts' threads have it",
}
"""And why."""

IN_OTHER_WORDS = {
    "--ctx-size": "llama-server's 0 is the same, unless it is given",
    "--cpu-mask": "any CPU is what no mask leaves",
    "--threads-batch": "the same as --threads",
    "--cpu-mask-batch": "as without -batch",
    "--cpu-strict-batch": "as without -batch",
    "--poll-batch": "as without -batch",
    "--rope-freq-base": "what the model says",
    "--hf-token": "the variable stands in a column of its own",
    "--no-kv-unified": "if the number of slots is automatic",
    "--api-key": "none is needed",
    "--chat-template": "instead of the model's own",
    "--chat-template-file": "the same",
    "--sleep-idle-seconds": "llama-server says it twice",
}
"""The same defaults, said so that no program can compare them."""


def by_name(flag: ReferenceFlag) -> Flag:
    return BY_NAME[flag.names[0]]


@pytest.mark.skipif(not reference_help.program().exists(), reason="llama-server is not built: make reference")
def test_the_list_is_that_of_the_program() -> None:
    assert reference_help.from_binary() == REFERENCE, "run tests/reference_help.py"


def test_there_are_as_many_as_llama_server_has() -> None:
    assert len(REFERENCE) == 255
    assert len({by_name(flag) for flag in REFERENCE}) == 255


@pytest.mark.parametrize("flag", REFERENCE, ids=lambda flag: flag.names[0])
def test_a_flag_has_its_names_variable_and_kind(flag: ReferenceFlag) -> None:
    ours = by_name(flag)
    assert set(flag.names) <= set(ours.all_names)
    assert all(BY_NAME[name] is ours for name in flag.names)
    assert set(flag.off) == set(ours.off)
    assert ours.env == flag.env
    takes_value = isinstance(ours, Value) or (isinstance(ours, Unused) and ours.metavar != "")
    assert takes_value == (flag.metavar != "")


@pytest.mark.parametrize("flag", REFERENCE, ids=lambda flag: flag.names[0])
def test_a_default_is_llama_servers(flag: ReferenceFlag) -> None:
    ours = by_name(flag)
    if not isinstance(ours, Effective) or isinstance(ours, Preset):
        return
    if isinstance(ours, Constant):
        assert plain(flag.default) in ("", "off")  # it is off unless it is given
    elif flag.default:
        name = flag.names[-1]
        same = plain(shown_default(ours)) == plain(flag.default)
        assert same != (name in DIFFERENT_DEFAULTS or name in IN_OTHER_WORDS), (name, shown_default(ours), flag.default)


def shown_default(flag: Effective) -> str:
    found = re.search(r"\(default: (.*?)(?:\)|, | =)", described(flag) + ")")
    return found[1] if found else ""


def plain(default: str) -> object:
    """A default in a form in which both can be compared."""
    words = {
        **dict.fromkeys(("enabled", "true", "prefill enabled"), "on"),
        **dict.fromkeys(("disabled", "false"), "off"),
        **dict.fromkeys(("unused", "unset", "none", '""', "no limit", "nothing"), ""),
    }
    default = words.get(default.strip(), default.strip())
    try:
        return float(default)
    except ValueError:
        return default


def test_what_is_said_of_flags_is_current() -> None:
    assert write_flag_table.PAGE.read_text(encoding="utf-8") == write_flag_table.page(), "run the script"
    shown = write_flag_table.BETWEEN.search(write_flag_table.README.read_text(encoding="utf-8"))
    assert shown and shown[0] == write_flag_table.summary(), "run scripts/write_flag_table.py"


def test_every_flag_is_one_of_three() -> None:
    kinds = [sum(isinstance(by_name(flag), kind) for flag in REFERENCE) for kind in (Effective, Ignored, Refused)]
    assert sum(kinds) == len(REFERENCE)
    assert str(kinds[0]) in write_flag_table.counts()


# --- what is effective has an effect


def names_read() -> set[str]:
    """Names of attributes that the package reads, outside of what fills the configuration."""
    return {name for path in sorted((ROOT / "llamahttp").rglob("*.py")) if is_reader(path) for name in attributes(path)}


def is_reader(path: Path) -> bool:
    parts = path.relative_to(ROOT / "llamahttp").parts
    return parts[0] not in ("flags", "_lib")


def attributes(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            yield node.attr


def test_what_a_flag_sets_is_read_somewhere() -> None:
    read = names_read() | {"escape"}  # read while the flags are
    unread = {
        flag.target
        for flag in FLAGS
        if isinstance(flag, Effective)
        and not isinstance(flag, Preset)
        and flag.target != "show"
        and not flag.target.startswith("sampling.")  # read by name, as requests' fields
        and flag.target.rpartition(".")[2] not in read
    }
    assert unread == set()


# --- completions


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--ctx-s"], ["--ctx-size"]),
        (["-hf"], ["-hf", "-hff", "-hft", "-hfr"]),
        (["--pooling", "m"], ["mean"]),
        (["--flash-attn", "o"], ["on", "off"]),
        (["-m", "mod"], ["model.gguf", "models"]),
        (["--port", "8"], []),
        (["--tools"], []),
    ],
)
def test_bash_completes(tmp_path: Path, words: list[str], expected: list[str]) -> None:
    for name in ("model.gguf", "model.bin"):
        (tmp_path / name).touch()
    (tmp_path / "models").mkdir()
    said = run_bash(
        "source <(" + f"{sys.executable} -m llamahttp --completion-bash)\n"
        'COMP_WORDS=(llamahttp "$@"); COMP_CWORD=$#\n'
        '_llamahttp; printf "%s\\n" "${COMPREPLY[@]}"; complete -p llamahttp',
        tmp_path,
        words,
    )
    *found, registered = said.splitlines()
    assert sorted(filter(None, found)) == sorted(expected)
    assert registered == "complete -o filenames -F _llamahttp llamahttp"


def run_bash(script: str, folder: Path, words: list[str]) -> str:
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", script, "bash", *words],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def test_other_shells_get_every_flag_that_is_not_refused() -> None:
    from llamahttp.flags import completion

    for flag in FLAGS:
        for name in flag.all_names:
            offered = f"'*{name}[" in completion("zsh")
            assert offered != isinstance(flag, Refused), name
    assert completion("fish").count("\n") == sum(not isinstance(flag, Refused) for flag in FLAGS)
