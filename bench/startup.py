"""Start-up: from starting the process until it is healthy, with the model in the page cache or not."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from bench.case import Host, Measure, Take

Cache = Literal["warm", "cold"]


@dataclass(frozen=True, slots=True)
class StartUp:
    """Start a server with its default context. Cold: nothing of the model is in the page cache, though the programs
    are."""

    variant: Cache
    model: str = "dense"

    name: ClassVar[str] = "start-up"
    # fmt: off
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("healthy_ms", "healthy after", "ms", 0, False,
                "from starting the process to the first 200 of /health; of libllama the loading alone"),
    )
    # fmt: on

    @property
    def title(self) -> str:
        return f"start until healthy, the model {'not ' * (self.variant == 'cold')}in the page cache"

    def prepare(self, model: Path) -> None:
        (forget if self.variant == "cold" else recall)(model)

    def run(self, host: Host, seed: str) -> Take:
        self.prepare(host.model)
        with host.open(("-np", "4"), ("-c", "8192")) as server:
            assert server.start_s is not None
            return Take({"healthy_ms": 1e3 * server.start_s})


def forget(path: Path) -> None:
    """Drop a file from the page cache, as far as the system lets us."""
    with path.open("rb") as file:
        os.fsync(file.fileno())  # pages that are not on the disk yet stay
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def recall(path: Path) -> None:
    """Have a file in the page cache."""
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass
