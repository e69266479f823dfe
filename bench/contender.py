"""Contenders: the makes of server that are compared, and how a fresh server of one is had."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from bench.case import Case, Flag, Take, completion
from bench.errors import BenchError
from bench.exchange import Outcome
from bench.figures import Figures
from bench.progress import Progress
from bench.round import play_round
from bench.scenario import Lane, random_tokens
from bench.server import Server, split_command, started
from bench.stage import Stage

HELP_TIMEOUT_S = 60.0
WARM_UP = ((512, 8), (1_024, 1), (16, 16))  # prompt and predicted tokens of the requests that warm a server up


@dataclass(slots=True)
class Contender:
    """A command that starts a server, and the flags that it knows."""

    name: str
    command: str
    known: frozenset[str]

    @classmethod
    def meet(cls, name: str, command: str) -> Contender:
        """Ask the command for its --help. BenchError when it cannot be run."""
        try:
            result = subprocess.run(
                [*split_command(command), "--help"], capture_output=True, text=True, timeout=HELP_TIMEOUT_S
            )
        except OSError as error:
            raise BenchError(f"cannot start {command}: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise BenchError(f"{command} --help does not end") from None
        if result.returncode:
            raise BenchError(f"{command} --help fails: {result.stderr.strip()[-300:]}")
        return cls(name, command, frozenset(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", result.stdout)))

    def understood(self, flags: list[Flag]) -> list[str]:
        """As arguments, without the flags that it does not know."""
        return [word for flag in flags if flag[0] in self.known for word in flag]


@dataclass(slots=True)
class Kept:
    """The one server of a contender that goes on running between rounds. Leaving the `with` block ends it."""

    server: Server | None = None
    asked: tuple[Path, list[str]] | None = None
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Kept:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        self.server = self.asked = None
        self._stack.close()

    def is_fit(self, model: Path, arguments: list[str]) -> bool:
        """Whether it runs, with this model and these arguments."""
        process = self.server.process if self.server is not None else None
        return process is not None and process.popen.poll() is None and self.asked == (model, arguments)

    def take(self, model: Path, arguments: list[str], opening: AbstractContextManager[Server]) -> Server:
        """Let another take its place. BenchError when that does not start."""
        self.end()
        self.server = self._stack.enter_context(opening)
        self.asked = (model, arguments)
        return self.server


@dataclass(slots=True)
class Booth:
    """A contender with a model: plays cases (`bench.contest.Player`) and is what they run on (`bench.case.Host`)."""

    contender: Contender
    model: Path
    n_vocab: int
    folder: Path
    """Where the servers' logs go."""
    flags: list[Flag]
    """For every server, besides those of the case."""
    timeout_s: float
    start_timeout_s: float
    progress: Progress
    kept: Kept
    is_small: bool = False
    """Whether the model is so small that a short request warms it up."""
    heading: str = ""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def play(self, case: Case, seed: str) -> Take:
        return case.run(self, seed)

    def measure(self, server: Server, lanes: list[Lane]) -> tuple[list[Outcome], Figures]:
        return play_round(server, lanes, self.timeout_s, [server])

    def knows(self, flag: str) -> bool:
        return flag in self.contender.known

    def tell(self, text: str) -> None:
        self.progress.show(f"{self.heading} · {text}")

    def begin(self, heading: str) -> None:
        self.heading = f"{heading} · {self.contender.name}"
        self.progress.begin(self.heading)

    def keep(self, *flags: Flag) -> Server:
        """The server that runs already, if it is such a one. BenchError when another does not start."""
        arguments = self._arguments(flags)
        if not self.kept.is_fit(self.model, arguments):
            return self.kept.take(self.model, arguments, self._started(arguments))
        assert self.kept.server is not None
        return self.kept.server

    @contextmanager
    def open(self, *flags: Flag, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
        """A fresh, warm server. BenchError when it does not start, or had died when the block was left."""
        self.kept.end()  # two of a make would share the cores
        with self._started(self._arguments(flags), environment) as server:
            yield server
            server.check_alive()

    def _arguments(self, flags: Sequence[Flag]) -> list[str]:
        return self.contender.understood([*flags, *self.flags])

    @contextmanager
    def _started(self, arguments: list[str], environment: Mapping[str, str] | None = None) -> Iterator[Server]:
        settings = [f"{name}={value}" for name, value in (environment or {}).items()]
        prefix = f"{shlex.join(['env', *settings])} " if settings else ""
        command = f"{prefix}{self.contender.command} {shlex.join(arguments)}"
        log_name = f"{self.contender.name}-{next(self._numbers)}"
        with started(log_name, command, str(self.model), self.folder, self.start_timeout_s) as server:
            server.inspect(None, self.n_vocab)
            self._warm_up(server)
            yield server

    def _warm_up(self, server: Server) -> None:
        """Short prompts; what an encoder answers to them does not matter."""
        sizes = WARM_UP[-1:] if self.is_small else WARM_UP
        with Stage(server.address, self.timeout_s) as stage:
            for n_prompt, n_predict in sizes:
                prompt = random_tokens(f"warm-up/{n_prompt}", n_prompt, server.n_vocab)
                stage.finish(stage.ask([completion(prompt, n_predict)]))
