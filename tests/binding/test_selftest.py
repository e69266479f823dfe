"""Self-test: what cannot be tested is one line and exit status 1, not a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llamahttp.binding import selftest
from llamahttp.errors import LibraryError


def test_a_model_that_cannot_be_quantised_is_a_library_error_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match=r"cannot quantise .*none\.gguf: .+") as caught:
        selftest.quantize(tmp_path / "none.gguf", tmp_path / "copy.gguf", selftest.TYPES["Q8_0"])
    assert "\n" not in str(caught.value)
    assert "gives no reason" not in str(caught.value)


def test_a_directory_without_a_library_fails_the_test_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "llamahttp.binding.selftest", str(tmp_path)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert child.returncode == 1
    assert child.stdout.startswith(f"{tmp_path} holds no finished build")
    assert child.stdout.count("\n") == 1
    assert child.stderr == ""
