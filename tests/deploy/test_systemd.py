"""The systemd unit: systemd reads it without a complaint, and its hardening is what it says."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from llamahttp import flags

from .conftest import DEPLOY

UNIT = (DEPLOY / "llamahttp.service").read_text()
MOST_EXPOSED = 2.5
"""Of 10, as `systemd-analyze security` counts."""

with_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def settings() -> dict[str, list[str]]:
    """The values of each key."""
    values: dict[str, list[str]] = {}
    for line in UNIT.splitlines():
        if match := re.fullmatch(r"(\w+)=(.*)", line):
            values.setdefault(match[1], []).append(match[2])
    return values


def installed(folder: Path) -> Path:
    """The unit with a program that is there."""
    unit = folder / "llamahttp.service"
    unit.write_text(UNIT.replace("/opt/llamahttp/bin/llamahttp", "/bin/true"))
    return unit


def test_what_the_server_needs_is_granted() -> None:
    values = settings()
    assert values["ExecStart"] == ["/opt/llamahttp/bin/llamahttp"]
    assert values["KillSignal"] == ["SIGTERM"]
    assert 10 < int(values["TimeoutStopSec"][0]) <= 30, "longer than the server takes to drain"
    assert values["RestartPreventExitStatus"] == ["2"], "wrong flags"
    assert {"StateDirectory", "CacheDirectory", "EnvironmentFile"} <= values.keys()


def test_the_example_s_variables_are_known() -> None:
    text = (DEPLOY / "llamahttp.env").read_text()
    variables = dict(re.findall(r"^#?([A-Z][A-Z_]+)=(.*)$", text, re.MULTILINE))
    assert len(variables) >= 6
    assert list(flags.unknown_variables(variables)) == []
    ours = {name: value for name, value in variables.items() if name.startswith("LLAMA_") and name != "LLAMA_ARG_MODEL"}
    config = flags.parse([], ours)
    assert (config.host, config.port, config.metrics) == ("127.0.0.1", 8080, True)


@with_systemd
def test_systemd_reads_it_without_a_complaint(tmp_path: Path) -> None:
    unit = installed(tmp_path)
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60, check=False
    )
    complaints = [line for line in (result.stdout + result.stderr).splitlines() if unit.name in line]
    assert complaints == []
    assert result.returncode == 0, result.stderr


@with_systemd
def test_little_is_exposed(tmp_path: Path) -> None:
    result = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", installed(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    level = re.search(r"exposure level for \S+: ([\d.]+)", result.stdout)
    assert level, result.stdout + result.stderr
    assert float(level[1]) <= MOST_EXPOSED, result.stdout
