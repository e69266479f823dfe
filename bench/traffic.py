"""Traffic: what k6 and locust measured, as one table, as text plots, and as a picture.

    python bench/traffic.py k6.json locust.json --png traffic.png

Reads the lines that `k6 run --out json=FILE` writes; `locustfile.py --points FILE` writes the same.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

METRICS = ("request_ms", "ttft_ms", "gap_ms", "tokens", "failed")
BARS = " ▁▂▃▄▅▆▇█"
N_BINS = 60

Points = list[tuple[float, float]]
"""Pairs (seconds since the first point, value), by time."""


@dataclass
class Traffic:
    """One run."""

    name: str
    points: dict[str, Points] = field(default_factory=lambda: {metric: [] for metric in METRICS})

    @property
    def seconds(self) -> float:
        """From the first answer to the last."""
        return max((points[-1][0] for points in self.points.values() if points), default=0.0)

    def values(self, metric: str) -> list[float]:
        return [value for _, value in self.points[metric]]


def read(path: Path) -> Traffic:
    """The points of a file. Raises ValueError if there are none."""
    traffic = Traffic(path.stem)
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            point = json.loads(line)
            if point.get("type") == "Point" and point["metric"] in traffic.points:
                data = point["data"]
                traffic.points[point["metric"]].append((seconds_of(data["time"]), float(data["value"])))
    found = [at for points in traffic.points.values() for at, _ in points]
    if not found:
        raise ValueError(f"{path}: no measurements of k6.js or locustfile.py")
    first = min(found)
    for metric, points in traffic.points.items():
        traffic.points[metric] = sorted((at - first, value) for at, value in points)
    return traffic


def seconds_of(time: str) -> float:
    """Seconds of a time in ISO 8601; k6 writes nanoseconds, which Python 3.10 does not read."""
    head, dot, tail = time.partition(".")
    digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
    zone = tail[len(digits) :] if dot else ""
    stamp = f"{head}.{digits[:6].ljust(6, '0')}{zone}" if dot else head
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not exceeded by `share` of them; NaN for none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def figures(traffic: Traffic) -> dict[str, float]:
    """The rows of the table."""
    failed = traffic.values("failed")
    n_answers = len(traffic.points["request_ms"])
    seconds = traffic.seconds or math.nan
    rows = {
        "answers": float(n_answers),
        "failed": float(sum(failed)),
        "answers/s": n_answers / seconds,
        "tokens/s": sum(traffic.values("tokens")) / seconds,
    }
    for metric, label in (("ttft_ms", "first token"), ("gap_ms", "between tokens"), ("request_ms", "whole answer")):
        for share in (0.5, 0.95, 0.99):
            rows[f"{label} p{share * 100:.0f} ms"] = percentile(traffic.values(metric), share)
    return rows


def table(runs: Sequence[Traffic]) -> str:
    columns = [figures(run) for run in runs]
    width = max(12, *(len(run.name) + 2 for run in runs))
    lines = [" " * 24 + "".join(run.name.rjust(width) for run in runs)]
    for row in columns[0]:
        lines.append(row.ljust(24) + "".join(f"{column[row]:{width},.1f}" for column in columns))
    return "\n".join(lines)


def per_bin(points: Points, seconds: float, n_bins: int) -> list[list[float]]:
    """The values of each of `n_bins` equal parts of the time."""
    bins: list[list[float]] = [[] for _ in range(n_bins)]
    for at, value in points:
        bins[min(n_bins - 1, int(n_bins * at / seconds)) if seconds else 0].append(value)
    return bins


def bars(values: Sequence[float]) -> str:
    """A line of text as high as the values; a blank where there is none."""
    top = max((value for value in values if not math.isnan(value)), default=0.0)
    return "".join(
        " " if math.isnan(value) or not top else BARS[max(1, math.ceil(value / top * (len(BARS) - 1)))]
        for value in values
    )


def text_plot(run: Traffic, n_bins: int = N_BINS) -> str:
    """Over time: tokens/s, and the 95th percentile of the first token and between tokens."""
    seconds = run.seconds
    width = seconds / n_bins or math.nan
    rows = {"tokens/s": [sum(values) / width for values in per_bin(run.points["tokens"], seconds, n_bins)]}
    for metric, label in (("ttft_ms", "first token p95 ms"), ("gap_ms", "between tokens p95 ms")):
        rows[label] = [percentile(values, 0.95) for values in per_bin(run.points[metric], seconds, n_bins)]
    lines = [f"{run.name}: {seconds:.0f} s"]
    for label, values in rows.items():
        top = max((value for value in values if not math.isnan(value)), default=0.0)
        lines.append(f"{label.ljust(22)} |{bars(values)}| at most {top:,.1f}")
    return "\n".join(lines)


def picture(runs: Sequence[Traffic], path: Path) -> None:
    """The same as a PNG file. Needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(3, 1, figsize=(9, 9), sharex=True, layout="constrained")
    for run in runs:
        draw(axes, run)
    for axis, label in zip(axes, ("tokens/s", "first token, ms", "between tokens, ms"), strict=True):
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[0].legend()
    axes[-1].set_xlabel("seconds")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def draw(axes: Any, run: Traffic) -> None:
    """One run: tokens/s as steps, the two times as a dot an answer."""
    n_bins = max(1, min(N_BINS, int(run.seconds)))
    width = run.seconds / n_bins
    rates = [sum(values) / width if width else 0.0 for values in per_bin(run.points["tokens"], run.seconds, n_bins)]
    axes[0].step([i * width for i in range(n_bins)], rates, where="post", label=run.name)
    for axis, metric in zip(axes[1:], ("ttft_ms", "gap_ms"), strict=True):
        axis.plot([at for at, _ in run.points[metric]], run.values(metric), linestyle="none", marker=".", alpha=0.5)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--png", type=Path, help="draw a picture, too; needs matplotlib")
    options = parser.parse_args(argv)
    try:
        runs = [read(path) for path in options.files]
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table(runs))
    for run in runs:
        print("\n" + text_plot(run))
    if options.png:
        picture(runs, options.png)
    return 1 if any(sum(run.values("failed")) for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
