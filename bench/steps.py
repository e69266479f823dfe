"""Steps: what the engine's own trace says, as a table: which beat of a step takes how long.

    LLAMAHTTP_STEP_TRACE=steps.csv llamahttp -m model.gguf      # ask it something, then end it
    python -m bench.steps steps.csv

Steps are grouped by the number of slots that generated; those that computed prompts are left out unless asked for.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median

from bench.figures import Figures, percentile
from bench.table import number, table

BEATS = ("plan", "decode", "sample", "apply", "deliver", "rest")
"""Columns of the trace, without the waiting for something to do."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step. Microseconds; `gap` is from the end of its decode to the beginning of the next, None for the last and
    where the engine waited in between."""

    n_generating: int
    n_prompt: int
    beats: dict[str, float]
    gap: float | None = None

    @property
    def outside(self) -> float:
        """Microseconds beside the decode."""
        return sum(self.beats.values()) - self.beats["decode"]


def read(path: Path) -> list[Step]:
    """ValueError for a file that is no trace of steps, OSError for none."""
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    try:
        steps = [(step_of(row), float(row["wait_us"])) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no trace of steps: {error}") from None
    return with_gaps(steps)


def step_of(row: dict[str, str]) -> Step:
    return Step(int(row["n_generating"]), int(row["n_prompt"]), {beat: float(row[f"{beat}_us"]) for beat in BEATS})


def with_gaps(steps: list[tuple[Step, float]]) -> list[Step]:
    """The same steps; each comes with how long the engine waited for something to do before it, microseconds."""
    found = []
    for (step, _), (following, waited) in pairwise(steps):
        beats = step.beats
        gap = beats["sample"] + beats["apply"] + beats["deliver"] + beats["rest"] + following.beats["plan"]
        # looking for messages takes a microsecond or two also where some have come
        is_idle = waited > gap
        found.append(Step(step.n_generating, step.n_prompt, beats, None if is_idle else gap + waited))
    return [*found, *(step for step, _ in steps[-1:])]


def rows_of(steps: Iterable[Step]) -> list[list[str]]:
    """Of each number of generating slots: how many steps, mean microseconds of each beat, the share beside decode."""
    groups: dict[int, list[Step]] = {}
    for step in steps:
        groups.setdefault(step.n_generating, []).append(step)
    rows = [["slots", "steps", *BEATS, "gap p50", "gap p99", "beside decode"]]
    for n_generating, group in sorted(groups.items()):
        figures = figures_of(group)
        means = [number(figures[f"{beat}_us"], 1) for beat in BEATS]
        gaps = [number(figures[key], 0) if key in figures else "-" for key in ("gap_p50_us", "gap_p99_us")]
        rows.append([str(n_generating), str(len(group)), *means, *gaps, f"{figures['share']:.1f} %"])
    return rows


def figures_of(steps: Sequence[Step]) -> Figures:
    """Of at least one step: means of the beats in microseconds, percentiles of the gap, percent beside the decode."""
    figures = {f"{beat}_us": fmean(step.beats[beat] for step in steps) for beat in BEATS}
    # one step that the system interrupted is no beat of the engine, so a median
    figures["share"] = 100 * median(step.outside / sum(step.beats.values()) for step in steps)
    if gaps := [step.gap for step in steps if step.gap is not None]:
        figures |= {f"gap_p{percent}_us": percentile(gaps, percent) for percent in (50, 99)}
    return figures


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--prompts", action="store_true", help="the steps that computed prompts instead")
    parser.add_argument(
        "--skip", type=int, default=20, metavar="N", help="steps at the beginning that do not count (20)"
    )
    args = parser.parse_args(argv)
    try:
        steps = [step for step in read(args.file)[args.skip :] if bool(step.n_prompt) == args.prompts]
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"microseconds a step, means\n\n{table(rows_of(steps))}" if steps else "no such steps")
    return 0


if __name__ == "__main__":
    sys.exit(main())
