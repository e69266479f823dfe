"""Pytest's side of `reference_tests.py`: loaded into llama-server's own tests, whose files stay as they are.

Writes a line of JSON for each test to the file that RESULTS names, and stands in for `wget`, which those tests import
to download what lies beside them already.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest


def no_download(url: str, out: str) -> None:
    raise OSError(f"{url} is not there: these tests run without the internet")


stand_in = ModuleType("wget")
stand_in.download = no_download  # type: ignore[attr-defined]
sys.modules["wget"] = stand_in


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """One line a test: how its call ended, or how its setup did where that was the end."""
    if report.when == "call" or (report.when == "setup" and not report.passed):
        line = {"test": report.nodeid, "outcome": report.outcome, "where": where(report), "seconds": report.duration}
        with Path(os.environ["RESULTS"]).open("a", encoding="utf-8") as results:
            results.write(json.dumps(line) + "\n")


def where(report: pytest.TestReport) -> str:
    """The line of the test at which it ended, and why; nothing for one that passed."""
    if report.passed:
        return ""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2]
    entries = getattr(getattr(report.longrepr, "reprtraceback", None), "reprentries", [])
    lines = [e.reprfileloc for e in entries if getattr(e, "reprfileloc", None) and "unit/" in e.reprfileloc.path]
    crash = getattr(report.longrepr, "reprcrash", None)
    line = f"{lines[-1].lineno}" if lines else "?"
    return f"{line}: {crash.message if crash else report.longreprtext[-300:]}"
