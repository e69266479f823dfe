"""Plots of a run, as PNG files. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from bench.case import label_of
from bench.ceiling import NAME as LIBLLAMA
from bench.contest import Bout
from bench.figures import Spread, across_rounds
from bench.page import gain_over, is_sweep
from bench.scale import key_of
from bench.scoreboard import factor
from bench.table import number

COLORS = {"llamahttp": "#c2410c", "llama-server": "#1d4ed8", LIBLLAMA: "#6b7280"}
OTHERS = ("#059669", "#a21caf", "#ca8a04")
REFERENCE = "llama-server"
DPI = 110


def draw(bouts: Sequence[Bout], folder: Path) -> list[str]:
    """Every picture that there are figures for; the names of the files."""
    pictures: dict[str, Callable[[Sequence[Bout]], Any]] = {
        "gains.png": gains,
        "streams.png": streams,
        "latency.png": latency,
        "scale.png": scale,
    }
    names = []
    for name, picture in pictures.items():
        figure = picture(bouts)
        if figure is not None:
            figure.savefig(folder / name, dpi=DPI)
            pyplot.close(figure)
            names.append(name)
    return names


def color_of(name: str, i: int) -> str:
    return COLORS.get(name, OTHERS[i % len(OTHERS)])


def gains(bouts: Sequence[Bout]) -> Any:
    """Of each case the gain of its headline over llama-server, with the range of the rounds."""
    found = [(bout, gain_over(bout, REFERENCE, bout.case.measures[0])) for bout in bouts if not is_sweep(bout)]
    rows = [(bout, gain) for bout, gain in reversed(found) if gain is not None]
    if not rows:
        return None
    figure, axis = pyplot.subplots(figsize=(9, 1.4 + 0.32 * len(rows)), layout="constrained")
    for y, (_, gain) in enumerate(rows):
        color = COLORS["llamahttp"] if gain.median >= 1 else COLORS[REFERENCE]
        axis.barh(y, gain.median - 1, left=1, height=0.62, color=color, alpha=0.85)
        axis.plot([gain.low, gain.high], [y, y], color="black", linewidth=1.2)
        axis.annotate(
            f"{factor(gain.median)}x", (max(gain.high, 1), y), xytext=(5, 0), textcoords="offset points", va="center"
        )
    axis.set_yticks(range(len(rows)), [f"{label_of(bout.case)}: {bout.case.measures[0].label}" for bout, _ in rows])
    set_log_x(axis, [1] + [value for _, gain in rows for value in (gain.low, gain.high)])
    axis.axvline(1, color="black", linewidth=1)
    axis.margins(y=0.01)
    figure.suptitle("llamahttp beside llama-server: how many times better (line: rounds)")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x", alpha=0.3)
    return figure


def set_log_x(axis: Any, values: Sequence[float]) -> None:
    """A logarithmic axis with plain numbers on it, and room for texts on the right."""
    axis.set_xscale("log")
    axis.set_xlim(min(values) * 0.9, max(values) * 1.35)
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_minor_formatter(NullFormatter())


def streams(bouts: Sequence[Bout]) -> Any:
    """Tokens/s over the number of clients, a panel a model."""
    panels = {
        name: [bout for bout in bouts if bout.case.name == name and bout.case.variant.isdigit()]
        for name in ("streams", "128k", "8b", "chat")
    }
    titles = {
        "streams": "32k vocabulary, greedy",
        "128k": "128k vocabulary, default sampling",
        "8b": "8B in Q4_K, default sampling",
        "chat": "chat, 32k vocabulary, with peers",
    }
    panels = {name: found for name, found in panels.items() if len(found) > 1}
    if not panels:
        return None
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.6 * len(panels), 4), layout="constrained", squeeze=False)
    for axis, (name, found) in zip(axes[0], panels.items(), strict=True):
        curves: dict[str, list[tuple[float, Spread]]] = {}
        for bout in found:
            for series in bout.series:
                spread = bout.spread(series, bout.case.measures[0])
                if spread is not None:
                    curves.setdefault(series.name, []).append((int(bout.case.variant), spread))
        draw_curves(axis, curves)
        axis.set_title(titles[name], fontsize=11)
        axis.set_xlabel("streams")
        axis.set_ylabel("tokens/s")
        set_stream_ticks(axis, [int(bout.case.variant) for bout in found])
    return figure


def set_stream_ticks(axis: Any, counts: Sequence[int]) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xticks(counts, [str(n) for n in counts])
    axis.xaxis.set_minor_locator(NullLocator())


def draw_curves(axis: Any, curves: dict[str, list[tuple[float, Spread]]]) -> None:
    """A line a server, with the range of its rounds behind it."""
    for i, (name, points) in enumerate(curves.items()):
        xs = [x for x, _ in points]
        color = color_of(name, i)
        style = "--" if name == LIBLLAMA else "-"
        axis.plot(xs, [spread.median for _, spread in points], style, marker="o", markersize=4, color=color, label=name)
        lows, highs = ([getattr(spread, end) for _, spread in points] for end in ("low", "high"))
        axis.fill_between(xs, lows, highs, color=color, alpha=0.15, linewidth=0)
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
    axis.yaxis.set_major_formatter(FuncFormatter(spaced))


def spaced(value: float, position: int) -> str:
    return number(value, 0)


def latency(bouts: Sequence[Bout]) -> Any:
    """Percentiles of the time to the first token and between tokens, at the most streams there are figures for."""
    streamed = [bout for bout in bouts if bout.case.name == "streams"]
    found = [bout for bout in streamed if across_rounds(bout.series[0].figures, "ttft_p50")]
    if not found:
        return None
    bout = next((bout for bout in found if bout.case.variant == "16"), found[-1])
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, kind, title in zip(axes, ("ttft", "gap"), ("first token, ms", "between tokens, ms"), strict=True):
        draw_bars(axis, bout, [f"{kind}_p{percent}" for percent in (50, 95, 99)])
        axis.set_title(f"{title} ({bout.case.variant} streams, 32k vocabulary)", fontsize=11)
    axes[0].legend(frameon=False)
    return figure


def draw_bars(axis: Any, bout: Bout, keys: Sequence[str]) -> None:
    measures = {measure.key: measure for measure in bout.case.measures}
    shown = [series for series in bout.series if series.name in (REFERENCE, "llamahttp")]
    for i, series in enumerate(reversed(shown)):
        for x, key in enumerate(keys):
            spread = bout.spread(series, measures[key])
            if spread is None:
                continue
            at = x + 0.4 * i - 0.2
            label = series.name if x == 0 else None
            axis.bar(at, spread.median, 0.36, color=color_of(series.name, i), alpha=0.85, label=label)
            axis.plot([at, at], [spread.low, spread.high], color="black", linewidth=1.2)
    axis.set_xticks(range(len(keys)), [key.rpartition("_")[2] for key in keys])
    axis.grid(axis="y", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def scale(bouts: Sequence[Bout]) -> Any:
    """What a step or a request costs as there is more of something, a panel a case."""
    found = [bout for bout in bouts if is_sweep(bout)]
    if not found:
        return None
    panels: dict[str, dict[str, Bout]] = {}
    for bout in found:
        kind, _, note = bout.case.variant.partition(", ")
        panels.setdefault(kind, {})[note] = bout
    n_columns = min(2, len(panels))
    n_rows = -(-len(panels) // n_columns)
    figure, axes = pyplot.subplots(
        n_rows, n_columns, figsize=(4.8 * n_columns, 3.7 * n_rows), layout="constrained", squeeze=False
    )
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (kind, notes) in zip(axes.flat, panels.items(), strict=False):
        draw_sweeps(axis, notes)
        axis.set_title({"connections": "a request as there are more clients"}.get(kind) or title_of(notes), fontsize=11)
    return figure


def title_of(notes: dict[str, Bout]) -> str:
    return next(iter(notes.values())).case.title


def draw_sweeps(axis: Any, notes: dict[str, Bout]) -> None:
    curves: dict[str, list[tuple[float, Spread]]] = {}
    for note, bout in notes.items():
        case: Any = bout.case
        measures = {measure.key: measure for measure in case.measures}
        for series in bout.series:
            label = f"{series.name}, {note}" if note else series.name
            spreads = [(n, bout.spread(series, measures[key_of(n)])) for n in case.points]
            curves[label] = [(n, spread) for n, spread in spreads if spread is not None]
    draw_curves(axis, curves)
    axis.set_xlabel(case.of)
    axis.set_ylabel("us")
    axis.xaxis.set_major_formatter(FuncFormatter(spaced))
    axis.xaxis.set_major_locator(MaxNLocator(5))
