"""The scoreboard: a table for each case, one line for each in the end, JSON with all that was measured."""

from __future__ import annotations

import json
import os
import platform
from datetime import date
from statistics import median
from typing import Any

from bench.case import Measure, label_of
from bench.contest import Bout, Series
from bench.figures import Spread, across_rounds
from bench.table import interval, number, table

BUSY_CLIENT = 50.0  # percent of a core from which the client may be the limit
BUSY_IDLER = 2.0  # percent of a core from which an idle server disturbs the other
BUSY_OTHERS = 10.0  # percent of a core from which other programs disturb both
N_FAULTS = 5  # kinds of faults that are shown of one contender
FAULT_WIDTH = 400  # of a server that died, the end of its log stands in the JSON


def quantity(spread: Spread | None, measure: Measure) -> str:
    if spread is None:
        return "-"
    return f"{number(spread.median, measure.digits)} {measure.unit}".rstrip()


def times(spread: Spread | None) -> str:
    """A factor with about three digits."""
    return "" if spread is None else f"{factor(spread.median)}x"


def factor(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:,.0f}".replace(",", " ")


def arrow(measure: Measure) -> str:
    return {True: " ↑", False: " ↓", None: ""}[measure.higher]


def spread_text(spread: Spread | None, measure: Measure, n_rounds: int) -> str:
    return "" if spread is None or n_rounds < 2 else interval(spread, measure.digits)


def rows_of(bout: Bout) -> list[list[str]]:
    """The other on the left and ours on the right: from what was to what is. Then all further ones."""
    columns, further = list(reversed(bout.series[:2])), list(enumerate(bout.series))[2:]
    n_rounds = max(len(series.figures) for series in columns)
    versus = len(columns) == 2
    head = ["", *(series.name for series in columns), *(["gain", "gain in rounds"] if versus else [])]
    head += [cell for _, series in further for cell in (series.name, "gain")]
    rows = [head + ([f"{series.name} in rounds" for series in columns] if n_rounds > 1 else [])]
    for measure in bout.case.measures:
        spreads = [bout.spread(series, measure) for series in columns]
        if not any(spreads):
            continue
        row = [measure.label + arrow(measure), *(quantity(spread, measure) for spread in spreads)]
        if versus:
            gain = bout.gain(measure)
            row += [times(gain), f"{factor(gain.low)} .. {factor(gain.high)}" if gain and n_rounds > 1 else ""]
        for i, series in further:
            row += [quantity(bout.spread(series, measure), measure), times(bout.gain(measure, i))]
        if n_rounds > 1:
            row += [spread_text(spread, measure, n_rounds) for spread in spreads]
        rows.append(row)
    return [[cell for cell, keep in zip(row, kept(rows), strict=True) if keep] for row in rows]


def kept(rows: list[list[str]]) -> list[bool]:
    """Columns in which anything stands below the head."""
    return [i == 0 or any(row[i] for row in rows[1:]) for i in range(len(rows[0]))]


def turn_rows(bout: Bout) -> list[list[str]]:
    """Share of reused prompt tokens turn by turn, median over rounds, where a case has turns."""
    lists = {
        letter: [detail["turns"] for detail in series.details if "turns" in detail]
        for letter, series in reversed(list(zip("AB", bout.series, strict=False)))
    }
    n_turns = min((len(turns) for of_one in lists.values() for turns in of_one), default=0)
    if not n_turns:
        return []
    rows = [
        ["turn", "prompt", *(f"{letter} {what}" for letter in lists for what in ("reused", "ms", "restarted", "ms"))]
    ]
    for i in range(n_turns):
        row = [str(i + 1), number(turn_median(next(iter(lists.values())), i, "before", "n_prompt"), 0)]
        for of_one in lists.values():
            for when in ("before", "after"):
                n_prompt, n_cached, ms = (
                    turn_median(of_one, i, when, key) for key in ("n_prompt", "n_cached", "prompt_ms")
                )
                row += [f"{100 * n_cached / n_prompt:.0f} %" if n_prompt else "-", number(ms, 1)]
        rows.append(row)
    return rows


def turn_median(rounds: list[list[dict[str, Any]]], i: int, when: str, key: str) -> float:
    return median([turns[i][when][key] for turns in rounds]) if rounds else 0.0


def fault_lines(series: Series) -> list[str]:
    shown = [
        f"! {series.name}: {n} x {' '.join(fault.split())[:FAULT_WIDTH]}"
        for fault, n in series.faults.most_common(N_FAULTS)
    ]
    n_hidden = len(series.faults) - len(shown)
    return shown + ([f"! {series.name}: {n_hidden} more kinds of faults"] if n_hidden else [])


def busy_lines(series: Series) -> list[str]:
    """What a reader must know before believing the figures."""
    client, idle, others = (across_rounds(series.figures, f"{who}_cpu") for who in ("client", "idle", "others"))
    lines = []
    if client and client.median > BUSY_CLIENT:
        lines.append(f"! {series.name}: the client used {client.median:.0f} % of a core and may be the limit")
    if idle and idle.median > BUSY_IDLER:
        lines.append(f"! {series.name}: the idle server took {idle.median:.1f} % of a core meanwhile")
    if others and others.high > BUSY_OTHERS:
        lines.append(f"! {series.name}: other programs took up to {others.high:.0f} % of a core meanwhile")
    return lines


def text_of(bout: Bout) -> str:
    parts = [f"{label_of(bout.case)}: {bout.case.title}", table(rows_of(bout))]
    if rows := turn_rows(bout):
        names = ", ".join(f"{letter} {series.name}" for letter, series in zip("AB", bout.series, strict=False))
        parts.append(f"{table(rows)}\n{names}; restarted: the same turn again after a restart")
    if notes := [line for series in bout.series for line in fault_lines(series) + busy_lines(series)]:
        parts.append("\n".join(notes))
    return "\n\n".join(parts)


def summary(bouts: list[Bout]) -> str:
    """One line a case: from the other's figure to ours, and how many times better that is."""
    lines = []
    for bout in bouts:
        measure = bout.case.measures[0]
        columns = list(reversed(bout.series[:2]))
        values = [quantity(bout.spread(series, measure), measure) for series in columns]
        n_faults = [sum(series.faults.values()) for series in columns]
        note = f"faults {' -> '.join(str(n) for n in n_faults)}" if any(n_faults) else ""
        lines.append([label_of(bout.case), " -> ".join(values), times(bout.gain(measure)), measure.label, note])
    widths = [max(len(line[i]) for line in lines) for i in range(5)]
    texts = (
        f"{name:<{widths[0]}}  {values:>{widths[1]}}  {gain:>{widths[2]}}  {label:<{widths[3]}}  {note}"
        for name, values, gain, label, note in lines
    )
    return "\n".join(text.rstrip() for text in texts)


def bout_json(bout: Bout) -> dict[str, Any]:
    case = bout.case
    return {
        "name": case.name,
        "variant": case.variant,
        "title": case.title,
        "model": case.model,
        "wall_s": round(bout.wall_s, 3),
        "measures": {
            measure.key: {"label": measure.label, "unit": measure.unit, "meaning": measure.meaning}
            for measure in case.measures
        },
        "gains": {bout.series[i].name: gains_json(bout, i) for i in range(1, len(bout.series))},
        "series": [
            {
                "server": series.name,
                "rounds": series.figures,
                "faults": dict(series.faults),
                "details": series.details,
            }
            for series in bout.series
        ],
    }


def gains_json(bout: Bout, versus: int) -> dict[str, list[float]]:
    """Over another, of each measure, in the order of the rounds."""
    gains = {measure.key: bout.gain(measure, versus) for measure in bout.case.measures}
    return {key: [round(value, 4) for value in gain.values] for key, gain in gains.items() if gain}


def json_of(bouts: list[Bout], commands: dict[str, str], seed: int) -> str:
    """Everything measured; keys of `rounds` are those of `measures`."""
    document = {
        "date": date.today().isoformat(),
        "machine": {
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "servers": commands,
        "seed": seed,
        "cases": [bout_json(bout) for bout in bouts],
    }
    return json.dumps(document, indent=1)
