"""The library's log: whole lines through logging, errors where they belong, nothing at the end of the interpreter."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from llamahttp.binding import library, library_log, manifest

from .loading import python


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
    child = python(program, manifest.directory())
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
from llamahttp.binding.decoder import LlamaDecoder
from llamahttp.binding.llama_context import ContextSizes
from llamahttp.binding.model import LlamaModel
model = LlamaModel(Path({str(llama_gguf)!r}))
decoder = LlamaDecoder(model, ContextSizes(
    n_ctx=1024, n_seq_max=1, n_batch=512, n_ubatch=512, n_threads=1, n_threads_batch=1, kv_unified=False
))
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
        child = python(program, manifest.directory(), check=False)
        assert child.returncode == 0, child.stderr


# --- who is told of an error


def provoke(path: str) -> None:
    """Make libllama log an error that names `path`."""
    lib = library.load()
    lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())


def test_a_block_is_told_of_its_own_errors_only(caplog: pytest.LogCaptureFixture) -> None:
    """Neither of those before it nor of another thread's, which may serve another model."""
    provoke("/before")
    with library_log.telling_errors() as errors:
        provoke("/ours")
        thread = threading.Thread(target=provoke, args=("/another-threads",))
        thread.start()
        thread.join()
    told = " ".join(errors)
    assert "/ours" in told
    assert "/before" not in told
    assert "/another-threads" not in told
    warned = " ".join(record.message for record in caplog.records if record.levelno == logging.WARNING)
    assert "/before" in warned
    assert "/another-threads" in warned
    assert "/ours" in warned, "nothing was raised that tells it"


def test_what_is_raised_tells_the_errors_instead_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError), library_log.telling_errors():
        provoke("/ours")
        raise ValueError
    assert "/ours" not in " ".join(record.message for record in caplog.records if record.levelno > logging.DEBUG)


def test_what_is_said_quietly_is_shown_at_debug_level_only(caplog: pytest.LogCaptureFixture) -> None:
    with library_log.quietly():
        provoke("/ours")
    provoke("/behind")
    shown = " ".join(record.message for record in caplog.records if record.levelno > logging.DEBUG)
    assert "/ours" not in shown
    assert "/behind" in shown


def test_an_inner_block_leaves_the_outer_one_its_errors() -> None:
    with library_log.telling_errors() as outer:
        with library_log.telling_errors() as inner:
            provoke("/inner")
        provoke("/outer")
    assert "/inner" in " ".join(inner)
    assert "/outer" not in " ".join(inner)
    assert "/outer" in " ".join(outer)


def test_without_a_line_there_is_no_reason() -> None:
    assert library_log.reason([]) == "libllama gives no reason"
    assert library_log.reason(["load: no room", "load: failed"]) == "no room"
