"""The report: a table for people, JSON with every raw figure for plots and guards. Values in, text out."""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from bench.exchange import Outcome
from bench.figures import METRICS, Figures, Metric, Spread, across_rounds, metrics_for, ratios
from bench.server import Server

BUSY_CLIENT = 50.0  # percent of a core from which the client may be the limit
BUSY_IDLER = 2.0  # percent of a core from which an idle server disturbs the other
BUSY_OTHERS = 10.0  # percent of a core from which other programs disturb both


@dataclass(slots=True)
class Series:
    """All rounds of one server in one scenario, without the warm-up; faults include those of the warm-up."""

    name: str
    figures: list[Figures] = field(default_factory=list)
    outcomes: list[list[Outcome]] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def n_prompt(self) -> list[int]:
        """Prompt tokens of every request, as the server counted them."""
        return [o.n_prompt for outcomes in self.outcomes for o in outcomes if o.n_prompt is not None]


@dataclass(slots=True)
class Result:
    """One scenario, measured: one series a server, in the order of the servers."""

    title: str
    series: list[Series]

    @property
    def n_faults(self) -> int:
        return sum(series.faults.total() for series in self.series)


def number(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}".replace(",", " ")


def interval(spread: Spread, digits: int) -> str:
    return f"{number(spread.low, digits)} .. {number(spread.high, digits)}"


def arrow(metric: Metric) -> str:
    return {True: " ↑", False: " ↓", None: ""}[metric.higher]


def rows_of_one(series: Series) -> list[list[str]]:
    rows = [["", series.name, "rounds"]]
    for metric in metrics_for(series.figures):
        spread = across_rounds(series.figures, metric.key)
        if spread is not None:
            rows.append(
                [
                    metric.label + arrow(metric),
                    number(spread.median, metric.digits),
                    interval(spread, metric.digits),
                ]
            )
    return rows


def rows_of_two(ours: Series, theirs: Series) -> list[list[str]]:
    rows = [["median of rounds", ours.name, theirs.name, "A/B", "rounds A/B", "rounds A", "rounds B"]]
    for metric in metrics_for(ours.figures + theirs.figures):
        a = across_rounds(ours.figures, metric.key)
        b = across_rounds(theirs.figures, metric.key)
        if a is None and b is None:
            continue
        ratio = ratios(ours.figures, theirs.figures, metric.key) if metric.higher is not None else None
        rows.append(
            [
                metric.label + arrow(metric),
                *(number(spread.median, metric.digits) if spread else "-" for spread in (a, b)),
                number(ratio.median, 2) if ratio else "",
                interval(ratio, 2) if ratio else "",
                *(interval(spread, metric.digits) if spread else "" for spread in (a, b)),
            ]
        )
    return rows


def table(rows: list[list[str]]) -> str:
    """Columns as wide as needed: the first to the left, the others to the right, a rule under the heads."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    rule = "  ".join("─" * width for width in widths)
    return "\n".join(line.rstrip() for line in [lines[0], rule, *lines[1:]])


def warnings_of(result: Result) -> list[str]:
    """What a reader must know before believing the table."""
    notes = []
    for series in result.series:
        for fault, count in series.faults.most_common():
            notes.append(f"{series.name}: {count} x {fault}")
        client = across_rounds(series.figures, "client_cpu")
        if client and client.median > BUSY_CLIENT:
            notes.append(f"{series.name}: the client used {client.median:.0f} % of a core and may be the limit")
        idle = across_rounds(series.figures, "idle_cpu")
        if idle and idle.median > BUSY_IDLER:
            notes.append(f"{series.name}: the idle server took {idle.median:.1f} % of a core meanwhile")
        others = across_rounds(series.figures, "others_cpu")
        if others and others.high > BUSY_OTHERS:
            notes.append(f"{series.name}: other programs took up to {others.high:.0f} % of a core meanwhile")
    return notes


def text_of(result: Result) -> str:
    match result.series:
        case [ours, theirs]:
            body = table(rows_of_two(ours, theirs))
        case [only]:
            body = table(rows_of_one(only))
        case _:
            raise AssertionError("one series or two")
    counts = [n for series in result.series for n in series.n_prompt]
    sizes = f"{min(counts)} to {max(counts)}" if len(set(counts)) > 1 else f"{min(counts, default=0)}"
    prompt = f"prompts of {sizes} tokens; " if counts else ""
    lines = [result.title, "", body, "", f"{prompt}{len(result.series[0].figures)} rounds, warm-up left out"]
    lines += [f"! {note}" for note in warnings_of(result)]
    return "\n".join(lines)


def server_line(server: Server) -> str:
    parts = [f"{server.name}  {server.label}  at {server.address}"]
    if server.n_slots is not None:
        parts.append(f"{server.n_slots} slots")
    if server.start_s is not None:
        parts.append(f"healthy after {server.start_s:.2f} s")
    return " · ".join(parts)


def memory_line(servers: list[Server], rss: dict[str, int]) -> str:
    """Resident memory after all rounds, where it is known; empty when it is for no server."""
    known = [f"{server.name} {rss[server.name] / 2**20:.0f} MiB" for server in servers if server.name in rss]
    return f"memory after the run: {', '.join(known)}" if known else ""


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "latency_ms": round(outcome.latency * 1e3, 3),
        "token_times_ms": [round(t * 1e3, 3) for t in outcome.token_times],
        "n_predicted": outcome.n_predicted,
        "n_prompt": outcome.n_prompt,
        "fault": outcome.fault,
    }


def ratios_json(result: Result) -> dict[str, dict[str, float]]:
    if len(result.series) != 2:
        return {}
    ours, theirs = result.series
    found = {m.key: ratios(ours.figures, theirs.figures, m.key) for m in METRICS if m.higher is not None}
    return {
        key: {"median": ratio.median, "low": ratio.low, "high": ratio.high} for key, ratio in found.items() if ratio
    }


def result_json(result: Result) -> dict[str, Any]:
    return {
        "title": result.title,
        "ratios": ratios_json(result),
        "series": [
            {
                "server": series.name,
                "rounds": series.figures,
                "faults": dict(series.faults),
                "exchanges": [[outcome_json(outcome) for outcome in outcomes] for outcomes in series.outcomes],
            }
            for series in result.series
        ],
    }


def json_of(results: list[Result], servers: list[Server], rss: dict[str, int]) -> str:
    """Everything measured. Names end in the unit; the keys of `rounds` are those of METRICS."""
    document = {
        "machine": {
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "servers": [
            {
                "name": server.name,
                "label": server.label,
                "n_slots": server.n_slots,
                "n_vocab": server.n_vocab,
                "start_s": server.start_s,
                "rss_bytes": rss.get(server.name),
            }
            for server in servers
        ],
        "metrics": {metric.key: f"{metric.label}: {metric.meaning}" for metric in METRICS},
        "results": [result_json(result) for result in results],
    }
    return json.dumps(document, indent=1)
