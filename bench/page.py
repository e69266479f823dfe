"""The page: what a run measured, as Markdown. Values in, text out."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import date

from bench.case import Measure, label_of
from bench.ceiling import NAME as LIBLLAMA
from bench.contest import Bout
from bench.figures import Spread, across_rounds
from bench.scale import Sweep, key_of
from bench.scoreboard import BUSY_OTHERS, factor, fault_lines, quantity, times
from bench.table import number

PERCENTILES = ("ttft_p50", "ttft_p95", "ttft_p99", "gap_p50", "gap_p95", "gap_p99")
Rows = list[list[str]]


def page_of(bouts: Sequence[Bout], plots: Sequence[str], flags: str) -> str:
    """All tables that have rows, then the plots, which lie beside the page."""
    cases = [bout for bout in bouts if not is_sweep(bout)]
    parts = [f"# llamahttp and llama-server, {date.today().isoformat()}", machine_line(flags)]
    sections = {
        "Cases": main_rows([bout for bout in cases if bout.case.name != "chat"]),
        "Latency": latency_rows(cases),
        "Peers": peer_rows(cases),
        "Scale": scale_rows([bout for bout in bouts if is_sweep(bout)]),
    }
    parts += [f"## {title}\n\n{markdown(rows)}" for title, rows in sections.items() if len(rows) > 1]
    if busy := [label_of(bout.case) for bout in bouts if is_disturbed(bout)]:
        parts.append(f"Other programs took more than {BUSY_OTHERS:.0f} % of a core during {', '.join(busy)}.")
    if faults := [f"- {label_of(bout.case)}: {line}" for bout in bouts for s in bout.series for line in fault_lines(s)]:
        parts.append("## Faults\n\n" + "\n".join(faults))
    parts += [f"![{name}]({name})" for name in plots]
    return "\n\n".join(parts) + "\n"


def is_sweep(bout: Bout) -> bool:
    return hasattr(bout.case, "points")


def is_disturbed(bout: Bout) -> bool:
    spreads = [across_rounds(series.figures, "others_cpu") for series in bout.series if series.name != LIBLLAMA]
    return any(spread is not None and spread.median > BUSY_OTHERS for spread in spreads)


def machine_line(flags: str) -> str:
    given = f" Flags of all servers: `{flags}`." if flags else ""
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}; both "
        f"servers on the same libllama.{given} Medians of the rounds; a gain is how many times better llamahttp is, "
        "round by round, with the least and the greatest of the rounds. `libllama` decodes the same batches without a "
        "server, and of it is said how much llamahttp reaches."
    )


def markdown(rows: Rows) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def with_range(gain: Spread | None) -> str:
    if gain is None:
        return ""
    return times(gain) + (f" ({factor(gain.low)} .. {factor(gain.high)})" if len(gain.values) > 1 else "")


def main_rows(bouts: Sequence[Bout]) -> Rows:
    """The headline of each case. Those with one server only have a column less to say."""
    rows = [["case", "figure", "llama-server", "llamahttp", "gain", LIBLLAMA]]
    for bout in bouts:
        measure = bout.case.measures[0]
        rows.append(
            [
                label_of(bout.case),
                measure.label,
                value(bout, "llama-server", measure),
                value(bout, bout.series[0].name, measure),
                with_range(gain_over(bout, "llama-server", measure)),
                ceiling_text(bout, measure),
            ]
        )
    return rows


def value(bout: Bout, name: str, measure: Measure) -> str:
    series = next((series for series in bout.series if series.name == name), None)
    return "" if series is None else quantity(bout.spread(series, measure), measure)


def gain_over(bout: Bout, name: str, measure: Measure) -> Spread | None:
    i = next((i for i, series in enumerate(bout.series) if series.name == name), 0)
    return bout.gain(measure, i) if i else None


def ceiling_text(bout: Bout, measure: Measure) -> str:
    text, gain = value(bout, LIBLLAMA, measure), gain_over(bout, LIBLLAMA, measure)
    if gain is None:
        return text
    return f"{text} ({100 * gain.median:.0f} %)" if measure.higher else text


def latency_rows(bouts: Sequence[Bout]) -> Rows:
    rows = [["case", "figure", "llama-server", "llamahttp", "gain"]]
    for bout in bouts:
        for measure in bout.case.measures:
            gain = gain_over(bout, "llama-server", measure)
            if measure.key in PERCENTILES and gain is not None:
                cells = [value(bout, name, measure) for name in ("llama-server", bout.series[0].name)]
                rows.append([label_of(bout.case), measure.label, *cells, with_range(gain)])
    return rows


def peer_rows(bouts: Sequence[Bout]) -> Rows:
    """Each server that is not ours, case by case."""
    rows = [["case", "figure", "server", "", "llamahttp", "gain"]]
    for bout in bouts:
        if bout.case.name != "chat":
            continue
        for measure in bout.case.measures:
            if measure.key not in ("tokens_per_s", "ttft_p50"):
                continue
            for series in bout.series[1:]:
                gain = gain_over(bout, series.name, measure)
                cells = [value(bout, name, measure) for name in (series.name, bout.series[0].name)]
                rows.append([label_of(bout.case), measure.label, series.name, *cells, with_range(gain)])
    return rows


def scale_rows(bouts: Sequence[Bout]) -> Rows:
    rows = [["what grows", "to", "llama-server", "llamahttp", "for each"]]
    for bout in bouts:
        case: Sweep = bout.case  # type: ignore[assignment]
        measures = {measure.key: measure for measure in case.measures}
        for n in case.points:
            measure = measures[key_of(n)]
            cells = [value(bout, name, measure) for name in ("llama-server", bout.series[0].name)]
            ours = bout.spread(bout.series[0], measure)
            each = f"{ours.median / n:.2f} us" if ours and "slots" in case.of else ""
            rows.append([f"{case.title}: {case.of}", number(n, 0), *cells, each])
    return rows
