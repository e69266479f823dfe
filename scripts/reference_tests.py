"""Run llama-server's own tests against llama-server and against llamahttp, and compare how each of them ends.

    make reference-tests
    python scripts/reference_tests.py [--only test_basic.py ...] [--write]

The tests are those of the pinned source, unmodified, with models of ours in place of theirs: a hub on loopback serves
tiny random ones under the names of theirs. What those have to say (`assert "bed" in text`) and how many tokens a
text has for them no test can find then; such a test fails with llama-server too, and is not counted. Of the rest
those that pass with llamahttp are counted by file, and the others named. `--write` writes docs/reference-tests.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fake_hub import FakeHub, serving  # noqa: E402

from llamahttp.binding import manifest  # noqa: E402
from tests import models, template_cases  # noqa: E402

PAGE = ROOT / "docs" / "reference-tests.md"
TIMEOUT_S = 120


@dataclass(frozen=True)
class Result:
    """How a test ended: `where` is the line of it, and the reason."""

    outcome: str
    where: str

    @property
    def passed(self) -> bool:
        return self.outcome == "passed"

    @property
    def line(self) -> str:
        return self.where.partition(":")[0]


# --- the tests, and models for them


def source() -> Path:
    """The pinned source of llama.cpp."""
    folder = template_cases.folder()
    if folder is None:
        raise SystemExit("the source of llama.cpp is not unpacked in the cache: make setup")
    return folder.parent.parent


def lay_out(source: Path, workshop: Path) -> Path:
    """A tree in which the tests find what they look for, and may write beside themselves; gives their folder."""
    for inner in ("", "tools", "tools/server"):
        (workshop / inner).mkdir(parents=True, exist_ok=True)
        for path in (source / inner).iterdir():
            if path.name not in ("tools", "server", "tests") or (inner == "" and path.name == "tests"):
                (workshop / inner / path.name).symlink_to(path)
    tests = workshop / "tools" / "server" / "tests"
    shutil.copytree(source / "tools" / "server" / "tests", tests)
    downloads = tests / "tmp"
    downloads.mkdir()
    models.write_lora(downloads / "moe_shakespeare15M.gguf")
    models.write_llama(downloads / "stories15M-q4_0.gguf")
    return tests


def hub(folder: Path) -> FakeHub:
    """The repositories that the tests name, with models of ours."""
    llama = models.write_llama(folder / "llama.gguf").read_bytes()
    infill = models.write_infill(folder / "infill.gguf").read_bytes()
    gemma3 = models.write_gemma3(folder / "gemma3.gguf").read_bytes()
    bert = models.write_bert(folder / "bert.gguf").read_bytes()
    reranker = models.write_reranker(folder / "reranker.gguf").read_bytes()
    parts = models.split(folder / "llama.gguf", folder, n_parts=3, name="stories15M-q8_0")
    return FakeHub(
        {
            "ggml-org/test-model-stories260K": {"stories260K-f32.gguf": llama},
            "ggml-org/test-model-stories260K-infill": {"stories260K-infill-f32.gguf": infill},
            "ggml-org/stories15M_MOE": {"stories15M_MOE-F16.gguf": llama},
            "ggml-org/tinygemma3-GGUF": {"tinygemma3-Q8_0.gguf": gemma3},
            "ggml-org/models": {
                "tinyllamas/stories260K.gguf": llama,
                "bert-bge-small/ggml-model-f16.gguf": bert,
                "jina-reranker-v1-tiny-en/ggml-model-f16.gguf": reranker,
                **{f"tinyllamas/split/{path.name}": path.read_bytes() for path in parts},
            },
        }
    )


# --- running them


def our_program(folder: Path) -> Path:
    """A program of one word, as the tests want it."""
    program = folder / "llamahttp"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m llamahttp "$@"\n')
    program.chmod(0o755)
    return program


def run(tests: Path, program: Path, endpoint: str, only: list[str]) -> dict[str, Result]:
    """How each test ends with a program."""
    results = tests / f"results-{program.name}.jsonl"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LLAMA_", "HF_"))}
    environ = clean | {
        "HF_ENDPOINT": endpoint,
        "HOME": str(tests / program.name),
        "LLAMA_ARG_THREADS": "1",
        "LLAMA_CACHE": str(tests / program.name / "cache"),
        "LLAMA_SERVER_BIN_PATH": str(program),
        "PORT": str(port),
        "PYTHONPATH": str(Path(__file__).parent),
        "RESULTS": str(results),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "reference_plugin", "-m", "not slow", "--tb=long"]
    command += ["-p", "no:cacheprovider", f"--timeout={TIMEOUT_S}", *(f"unit/{name}" for name in only)]
    with (tests / f"log-{program.name}").open("w") as log:
        subprocess.run(command, cwd=tests, env=environ, stdout=log, stderr=log, check=False)
    if not results.exists():
        raise SystemExit((tests / f"log-{program.name}").read_text(encoding="utf-8", errors="replace")[-3000:])
    return dict(read(results))


def read(results: Path) -> Iterator[tuple[str, Result]]:
    for line in results.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        yield entry["test"].removeprefix("unit/"), Result(entry["outcome"], entry["where"])


@contextmanager
def workshop(keep: Path | None) -> Iterator[Path]:
    """An empty folder, which is kept where it has a name."""
    if keep is not None:
        keep.mkdir(parents=True)
        yield keep
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def both(only: list[str], keep: Path | None) -> tuple[dict[str, Result], dict[str, Result]]:
    """How the tests end with llama-server, and with llamahttp."""
    reference = manifest.directory() / "llama-server"
    if not reference.exists():
        raise SystemExit(f"{reference} is not built: make reference")
    with workshop(keep) as folder:
        tests = lay_out(source(), folder / "source")
        (folder / "models").mkdir()
        with serving(hub(folder / "models")) as serves:
            theirs = run(tests, reference, serves.url, only)
            ours = run(tests, our_program(folder), serves.url, only)
    return theirs, ours


# --- what came out

NOT_BUILT = {
    "test_mcp_servers.py": "tools of MCP servers are not built",
    "test_tools_builtin.py": "`--tools` is not built",
    "test_router.py": "a router of several models is not built",
    "test_stream.py": "a router of several models is not built",
    "test_proxy.py": "`--ui-mcp-proxy` is not built",
    "test_security.py::test_cors_proxy": "`--ui-mcp-proxy` is not built",
    "test_security.py::test_cors_origins_defaults_to_localhost_with_tools_enabled": "`--tools` is not built",
    "test_speculative.py": "speculative decoding is not built",
    "test_slot_save.py::test_slot_restore_legacy_token_list": "files of slots are in a format of their own",
}
ON_PURPOSE = {
    "test_compat_oai_responses.py::test_responses_stream_with_llama_telemetry": (
        "an answer that is cut off is `response.incomplete`, as OpenAI says, and not `response.completed`"
    ),
    "test_compat_anthropic.py::test_anthropic_empty_messages": "no messages are a 400 that says so",
    "test_compat_anthropic.py": "an image that the model cannot see is a 400, which the client can mend, and not a 500",
    "test_kv_keep_only_active.py::test_clear_and_restore": "it reads a mark in llama-server's log",
    "test_metrics.py::test_metrics_prometheus_format": "`n_tokens_max` is a gauge: names of counters end in `_total`",
    "test_security.py::test_cors_options": "`*` would not allow `Authorization` to be sent: it is allowed by name",
    "test_sleep.py::test_server_sleep_read_only_endpoints": "metrics also count HTTP requests, those of metrics too",
}
"""Why a test does not pass with llamahttp, by the beginning of its name; the first that fits."""

HEAD = """<!-- made by scripts/reference_tests.py -->
# llama-server's own tests

The tests of llama.cpp's `tools/server/tests`, unmodified, run against llama-server and against llamahttp with tiny
random models in place of theirs (`make reference-tests`, about ten minutes). What a model has to say, and how many
tokens its tokenizer makes of a text, no test can find then: such tests fail with llama-server too, and are not counted.

"""


@dataclass(frozen=True)
class Comparison:
    """How every test ended with both."""

    theirs: dict[str, Result]
    ours: dict[str, Result]

    @property
    def passing(self) -> list[str]:
        """Those that pass with llama-server."""
        return [test for test, result in self.theirs.items() if result.passed]

    @property
    def failing(self) -> list[str]:
        """Those of them that do not with llamahttp."""
        return [test for test in self.passing if not (test in self.ours and self.ours[test].passed)]

    @property
    def alike(self) -> list[str]:
        """Those that fail with both, at the same line."""
        others = (test for test, result in self.theirs.items() if result.outcome == "failed" and test in self.ours)
        return [test for test in others if self.ours[test].line == self.theirs[test].line]

    def page(self) -> str:
        """docs/reference-tests.md."""
        n_failed = sum(result.outcome == "failed" for result in self.theirs.values())
        return (
            f"{HEAD}**{len(self.passing) - len(self.failing)} of the {len(self.passing)}** tests that pass with "
            f"llama-server pass with llamahttp. Of the {n_failed} that fail with llama-server {len(self.alike)} fail "
            f"at the same line with both.\n\n{self.table()}\n"
            f"## Not built\n\n{self.reasons(NOT_BUILT)}\n## On purpose\n\n{self.reasons(ON_PURPOSE)}"
        )

    def table(self) -> str:
        """By file: how many pass with llama-server, and how many of those with llamahttp."""
        rows = "| file | tests | pass with llama-server | and with llamahttp |\n|---|---|---|---|\n"
        for file in (*sorted({test.partition("::")[0] for test in self.theirs}), ""):
            n_tests, n_passing, n_failing = (
                sum(test.startswith(file) for test in tests) for tests in (self.theirs, self.passing, self.failing)
            )
            rows += f"| {f'`{file}`' if file else 'all'} | {n_tests} | {n_passing} | {n_passing - n_failing} |\n"
        return rows

    def reasons(self, known: dict[str, str]) -> str:
        """Of each reason how many tests it is that it keeps from passing."""
        found = [reason_of(test) for test in self.failing]
        rows = [
            f"| {reason} | {found.count(reason)} |\n" for reason in dict.fromkeys(known.values()) if reason in found
        ]
        return f"| | tests |\n|---|---|\n{''.join(rows)}"


def reason_of(test: str) -> str:
    """Why a test does not pass with llamahttp; nothing where nobody knows."""
    return next((why for name, why in (NOT_BUILT | ON_PURPOSE).items() if test.startswith(name)), "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="FILE", help="files of the tests, such as test_basic.py"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="a new directory to work in, for the logs")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    args = parser.parse_args()
    found = Comparison(*both(args.only, args.keep))
    print(found.table())
    for test in found.failing:
        print(f"{test}: {reason_of(test) or f'NO REASON IS KNOWN: {found.ours.get(test)}'}")
    if args.write:
        PAGE.write_text(found.page(), encoding="utf-8")
    if not all(map(reason_of, found.failing)):
        raise SystemExit("some tests fail for no known reason")


if __name__ == "__main__":
    main()
