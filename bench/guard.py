"""The guard: has anything become slower than what was last recorded, beyond the noise of the rounds?

    python -m bench                                  # measure, on a quiet machine
    python -m bench.guard                            # compare with bench/record.json; 1 if something is slower
    python -m bench.guard --record                   # let these figures be the record from now on

Compared are gains over llama-server, which a slower machine leaves alone, not times.
"""

from __future__ import annotations

import argparse
import enum
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.errors import BenchError
from bench.figures import percentile
from bench.scoreboard import factor
from bench.table import table

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "out" / "results.json"
RECORD = FOLDER / "record.json"
REFERENCE = "llama-server"
LEAST = 0.05
"""A change of the median by a smaller share than this is none."""

Gains = dict[str, list[float]]
"""By case and measure, `streams 16 · tokens_per_s`, the gain of each round."""


class Verdict(enum.Enum):
    SAME = "same"
    BETTER = "better"
    WORSE = "worse"
    NEW = "new"
    MISSING = "not measured"


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure then and now; `headline`: it stands for its case."""

    name: str
    verdict: Verdict
    then: Sequence[float]
    now: Sequence[float]
    headline: bool


def judge(then: Sequence[float], now: Sequence[float]) -> Verdict:
    """Better or worse only if the medians differ by LEAST and the middle halves of the rounds do not touch."""
    if not then or not now:
        return Verdict.NEW if now else Verdict.MISSING
    change = median(now) / median(then) - 1
    if change < -LEAST and percentile(now, 75) < percentile(then, 25):
        return Verdict.WORSE
    if change > LEAST and percentile(now, 25) > percentile(then, 75):
        return Verdict.BETTER
    return Verdict.SAME


def compare(record: Mapping[str, Any], results: Mapping[str, Any]) -> list[Finding]:
    """Every figure that either has, in the order of the results; what was not measured comes last."""
    then, now = gains_of(record), gains_of(results)
    heads = headlines(record) | headlines(results)
    pairs = {name: (then.get(name, []), now.get(name, [])) for name in dict.fromkeys([*now, *then])}
    return [Finding(name, judge(*pair), *pair, headline=name in heads) for name, pair in pairs.items()]


def gains_of(document: Mapping[str, Any]) -> Gains:
    return {
        name_of(case, key): gains
        for case in document["cases"]
        for key, gains in case["gains"].get(REFERENCE, {}).items()
    }


def headlines(document: Mapping[str, Any]) -> set[str]:
    return {name_of(case, next(iter(case["measures"]))) for case in document["cases"]}


def name_of(case: Mapping[str, Any], key: str) -> str:
    return f"{case['name']} {case['variant']}".rstrip() + f" · {key}"


def record_of(results: Mapping[str, Any]) -> dict[str, Any]:
    """What of the results is kept: nothing that names the machine or takes room."""
    cases = [
        {"name": case["name"], "variant": case["variant"], "measures": list(case["measures"]), "gains": case["gains"]}
        for case in results["cases"]
        if case["gains"].get(REFERENCE)
    ]
    return {"date": results["date"], "cores": results["machine"]["cores"], "cases": cases}


def merged(record: Mapping[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The new record, with the cases of the old one that were not measured again."""
    measured = {(case["name"], case["variant"]) for case in new["cases"]}
    old = [case for case in record["cases"] if (case["name"], case["variant"]) not in measured]
    return new | {"cases": [*new["cases"], *old]}


def text_of(findings: Sequence[Finding], every: bool) -> str:
    """A table of what has changed, or of all; then a line that counts."""
    shown = [each for each in findings if every or each.verdict in (Verdict.BETTER, Verdict.WORSE)]
    rows = [["", "then", "now", ""]]
    rows += [[each.name, gain_text(each.then), gain_text(each.now), each.verdict.value] for each in shown]
    counts = {verdict: sum(each.verdict is verdict for each in findings) for verdict in Verdict}
    counted = ", ".join(f"{n} {verdict.value}" for verdict, n in counts.items() if n)
    return f"{table(rows)}\n\n{counted}" if shown else counted


def gain_text(gains: Sequence[float]) -> str:
    return f"{factor(median(gains))}x ({factor(min(gains))} .. {factor(max(gains))})" if gains else "-"


def load(path: Path) -> dict[str, Any]:
    """BenchError for a file that is not there or is none of ours."""
    try:
        document = json.loads(path.read_text())
        gains_of(document)
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BenchError(f"{path} holds no results: {error!r}") from None
    assert isinstance(document, dict)
    return document


def run(args: argparse.Namespace) -> int:
    results = load(args.results)
    if args.record:
        new = record_of(results)
        if args.against.exists():
            new = merged(load(args.against), new)
        args.against.write_text(json.dumps(new, indent=1) + "\n")
        print(f"{len(new['cases'])} cases recorded in {args.against}")
        return 0
    findings = compare(load(args.against), results)
    print(text_of(findings, args.all))
    # of twenty figures a case some are worse by chance: the exit status is about those that stand for the cases
    return 1 if any(each.verdict is Verdict.WORSE and each.headline for each in findings) else 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("results", type=Path, nargs="?", default=RESULTS, help="results.json of a run (bench/out)")
    parser.add_argument("--against", type=Path, default=RECORD, metavar="FILE", help="the record (bench/record.json)")
    parser.add_argument("--record", action="store_true", help="make the results the record")
    parser.add_argument("--all", action="store_true", help="show what has not changed, too")
    try:
        return run(parser.parse_args(argv))
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
