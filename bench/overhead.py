"""Overhead: what our engine does beside the decode, from its own trace of every step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

from bench.case import Host, Measure, Take
from bench.errors import BenchError
from bench.figures import fault_counts
from bench.scenario import Sampling, Streams
from bench.steps import BEATS, Step, figures_of, read

VARIABLE = "LLAMAHTTP_STEP_TRACE"


@dataclass(frozen=True, slots=True)
class Overhead:
    """Streams on a server that writes its trace; only the steps count in which all of them generate."""

    n_streams: int = 32
    n_predict: int = 128
    sampling: Sampling = "greedy"
    model: str = "dense"

    name: ClassVar[str] = "overhead"
    # fmt: off
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("share", "beside the decode", "%", 2, False, "of the time of a step, the median of all steps"),
        *(Measure(f"{beat}_us", beat, "us", 1, False, "a step, the mean of all") for beat in BEATS),
        Measure("gap_p50_us", "gap to the next decode p50", "us", 0, False, "from the end of one to the beginning"),
        Measure("gap_p99_us", "gap to the next decode p99", "us", 0, False, "the same"),
    )
    # fmt: on

    @property
    def variant(self) -> str:
        return f"{self.model} {self.n_streams}" if self.model != "dense" else str(self.n_streams)

    @property
    def title(self) -> str:
        return f"{self.n_streams} streams, {self.n_predict} tokens each, sampling {self.sampling}: a step of the engine"

    def run(self, host: Host, seed: str) -> Take:
        streams = Streams(self.n_streams, self.n_predict, sampling=self.sampling, seed=seed)
        with TemporaryDirectory(prefix="bench-steps-") as folder:
            path = Path(folder) / "steps.csv"
            flags = (("-np", str(self.n_streams)), ("-c", str(1_024 * self.n_streams)))
            with host.open(*flags, environment={VARIABLE: str(path)}) as server:
                outcomes, _ = host.measure(server, streams.lanes(0, host.n_vocab))
            steps = [step for step in read_trace(path) if step.n_generating == self.n_streams and not step.n_prompt]
        if not steps:
            raise BenchError("there was no step in which all streams generated")
        return Take(figures_of(steps), fault_counts(outcomes))


def read_trace(path: Path) -> list[Step]:
    """BenchError when the server has not written one, as others than ours do not."""
    try:
        return read(path)
    except (OSError, ValueError) as error:
        raise BenchError(f"no trace of steps: {error}") from None
