"""What becomes of the figures of a run: the guard's judgement, the page, the table of steps, the plots."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import Plan
from bench.case import Case, Take
from bench.contest import Bout, Series, hold
from bench.guard import Verdict, compare, judge, main, record_of
from bench.page import page_of
from bench.prefill import ShortBehindLong
from bench.scale import Slots, key_of, step_us
from bench.scenario import Streams
from bench.scoreboard import json_of, rows_of
from bench.startup import StartUp
from bench.steps import Step, figures_of, read, with_gaps
from bench.steps import rows_of as step_rows
from bench.suite import ENTRIES, NAMES, smallest
from bench.throughput import Throughput
from llamahttp.trace import HEADER

from .test_bench_load import outcome_of

LOAD = Throughput("streams", Streams(16), variant="16")


def played(case: Case, key: str, **values: Sequence[float]) -> Bout:
    """A bout in which each of the named servers had these values, round by round."""
    names = {"ours": "llamahttp", "theirs": "llama-server"}
    rounds = {names.get(name, name): [{key: value} for value in each] for name, each in values.items()}
    return Bout(case, [Series(name, figures) for name, figures in rounds.items()])


# the guard


@pytest.mark.parametrize(
    ("then", "now", "verdict"),
    [
        ([1.3, 1.31, 1.32, 1.33], [1.29, 1.3, 1.31, 1.33], Verdict.SAME),
        ([1.3, 1.31, 1.32, 1.33], [1.0, 1.02, 1.03, 1.05], Verdict.WORSE),
        ([1.3, 1.31, 1.32, 1.33], [1.5, 1.52, 1.53, 1.55], Verdict.BETTER),
        ([1.3, 1.31, 1.32, 1.33], [1.28, 1.285, 1.285, 1.29], Verdict.SAME),  # beyond the noise, but hardly less
        ([0.9, 1.1, 1.5, 1.9], [0.8, 1.0, 1.2, 1.8], Verdict.SAME),  # less, but not beyond the noise
        ([1.3, 1.31, 1.32, 4.0], [1.0, 1.02, 1.03, 1.9], Verdict.WORSE),  # one round of each was disturbed
        ([], [1.0], Verdict.NEW),
        ([1.0], [], Verdict.MISSING),
    ],
)
def test_a_change_counts_where_it_is_larger_than_the_noise(
    then: list[float], now: list[float], verdict: Verdict
) -> None:
    assert judge(then, now) is verdict


def results(ours: Sequence[float], gap: Sequence[float]) -> dict[str, Any]:
    rounds = [{"tokens_per_s": a, "gap_p50": b} for a, b in zip(ours, gap, strict=True)]
    theirs = [{"tokens_per_s": 100.0, "gap_p50": 10.0}] * len(rounds)
    bout = Bout(LOAD, [Series("llamahttp", rounds), Series("llama-server", theirs)])
    document: dict[str, Any] = json.loads(json_of([bout], {}, 1))
    return document


def test_the_guard_compares_every_gain_and_knows_which_stand_for_their_case() -> None:
    record = record_of(results([150.0, 152.0, 148.0], [5.0, 5.1, 4.9]))
    findings = compare(record, results([110.0, 111.0, 112.0], [5.0, 5.0, 5.1]))
    assert [(each.name, each.verdict, each.headline) for each in findings] == [
        ("streams 16 · tokens_per_s", Verdict.WORSE, True),
        ("streams 16 · gap_p50", Verdict.SAME, False),
    ]


def test_the_guard_fails_for_a_headline_that_is_worse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record, good, bad = tmp_path / "record.json", tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(results([150.0, 152.0, 148.0], [5.0, 5.1, 4.9])))
    bad.write_text(json.dumps(results([110.0, 111.0, 112.0], [5.0, 5.0, 5.1])))
    against = ["--against", str(record)]
    assert main([str(good), *against]) == 2  # there is no record yet
    assert main([str(good), *against, "--record"]) == 0
    assert main([str(good), *against]) == 0
    capsys.readouterr()
    assert main([str(bad), *against]) == 1
    printed = capsys.readouterr().out
    assert "streams 16 · tokens_per_s" in printed
    assert "1.50x (1.48 .. 1.52)" in printed
    assert "1 same, 1 worse" in printed


def test_a_record_keeps_the_cases_that_were_not_measured_again(tmp_path: Path) -> None:
    record, first, second = tmp_path / "record.json", tmp_path / "1.json", tmp_path / "2.json"
    document = results([150.0], [5.0])
    first.write_text(json.dumps(document))
    document["cases"][0]["variant"] = "32"
    second.write_text(json.dumps(document))
    for path in (first, second, second):
        assert main([str(path), "--against", str(record), "--record"]) == 0
    kept = json.loads(record.read_text())
    assert [case["variant"] for case in kept["cases"]] == ["32", "16"]
    assert str(tmp_path) not in record.read_text()


def test_a_file_that_holds_no_results_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results.json"
    path.write_text('{"cases": [{}]}')
    assert main([str(path)]) == 2
    assert "holds no results" in capsys.readouterr().err


# tables


def test_further_contenders_have_columns_with_what_ours_is_beside_them() -> None:
    bout = played(LOAD, "tokens_per_s", ours=[300.0], theirs=[200.0], libllama=[400.0])
    head, row = rows_of(bout)
    assert dict(zip(head, row, strict=True))["libllama"] == "400.0"
    assert [cell for name, cell in zip(head, row, strict=True) if name == "gain"] == ["1.50x", "0.75x"]


def test_the_page_has_a_table_for_what_there_is() -> None:
    bouts = [
        played(LOAD, "tokens_per_s", ours=[300.0, 330.0], theirs=[200.0, 200.0], libllama=[400.0, 400.0]),
        played(StartUp("warm"), "healthy_ms", ours=[500.0], theirs=[100.0], libllama=[50.0]),
        played(Slots(points=(1, 4)), key_of(4), ours=[2000.0]),
    ]
    bouts[1].series[1].faults["HTTP 500"] += 1
    lines = page_of(bouts, ["gains.png"], "-t 1").splitlines()
    assert "| streams 16 | tokens/s | 200.0 | 315.0 | 1.57x (1.50 .. 1.65) | 400.0 (79 %) |" in lines
    assert "| start-up warm | healthy after | 100 ms | 500 ms | 0.20x | 50 ms |" in lines
    assert "| a step as more slots generate: generating slots | 4 |  | 2 000 us | 500.00 us |" in lines
    assert "- start-up warm: ! llama-server: 1 x HTTP 500" in lines
    assert "![gains.png](gains.png)" in lines
    assert "## Peers" not in lines and "## Latency" not in lines


def test_the_page_tells_of_a_busy_machine() -> None:
    bout = played(LOAD, "others_cpu", ours=[55.0, 60.0], theirs=[1.0, 1.0])
    assert "Other programs took more than 10 % of a core during streams 16." in page_of([bout], [], "")


def test_plots_are_drawn_of_what_there_is(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from bench.plots import draw

    one = Throughput("streams", Streams(1), variant="1")
    bouts = [
        played(one, "tokens_per_s", ours=[100.0, 90.0], theirs=[80.0, 85.0]),
        played(LOAD, "tokens_per_s", ours=[300.0], theirs=[200.0], libllama=[400.0]),
    ]
    assert draw(bouts[1:], tmp_path) == ["gains.png"]
    bouts[1].series[0].figures[0] |= {"ttft_p50": 10.0, "gap_p50": 2.0}
    sweep = Bout(Slots(points=(1, 4)), [Series("llamahttp", [{key_of(1): 900.0, key_of(4): 1500.0}])])
    names = draw([*bouts, sweep], tmp_path)
    assert names == ["gains.png", "streams.png", "latency.png", "scale.png"]
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in names)


# steps


def beats(**given: float) -> dict[str, float]:
    return dict.fromkeys(("plan", "decode", "sample", "apply", "deliver", "rest"), 0.0) | given


def test_a_gap_is_from_one_decode_to_the_next_and_none_where_the_engine_was_idle() -> None:
    busy = Step(2, 0, beats(plan=5, decode=100, sample=10, apply=4, deliver=3, rest=2))
    first, second, last = with_gaps([(busy, 0.0), (busy, 1.0), (busy, 50_000.0)])
    assert first.gap == 10 + 4 + 3 + 2 + 5 + 1
    assert second.gap is None
    assert last.gap is None  # nothing follows
    figures = figures_of([first, second])
    assert figures["share"] == pytest.approx(100 * 24 / 124)
    assert (figures["plan_us"], figures["gap_p50_us"]) == (5, 25)


def test_steps_are_read_as_the_engine_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    lines = ["1.0,1,0,0,1,100,2,3,4,5", "1.1,1,0,0,1,300,2,3,4,5", "1.2,2,0,0,1,100,2,3,4,5"]
    path.write_text("\n".join([",".join(HEADER), *lines]))
    steps = read(path)
    assert [(step.n_generating, step.beats["decode"]) for step in steps] == [(1, 100), (1, 300), (2, 100)]
    _, one, two = step_rows(steps)
    assert one[:4] == ["1", "2", "1.0", "200.0"]
    assert two[:4] == ["2", "1", "1.0", "100.0"]
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="no trace of steps"):
        read(path)


# cases and plans


def test_the_time_of_a_step_does_not_depend_on_how_tokens_are_put_into_events() -> None:
    each, pairs = outcome_of([0.0, 0.01, 0.02, 0.03], 0.03), outcome_of([0.0, 0.0, 0.03, 0.03], 0.03)
    assert step_us([each]) == pytest.approx(10_000)
    assert step_us([pairs]) == pytest.approx(10_000)


def test_names_and_variants_are_one_case_each() -> None:
    labels = [(entry.case.name, entry.case.variant) for entry in ENTRIES]
    assert len(set(labels)) == len(labels)
    assert set(NAMES) == {name for name, _ in labels}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.case.name} {entry.case.variant}")
def test_the_least_form_of_a_case_is_the_same_case(entry: Any) -> None:
    least = smallest(entry.case)
    assert (least.name, least.model) == (entry.case.name, entry.case.model)
    assert entry.case.measures[0].higher is not None or entry.case.name == "leak"
    assert len({measure.key for measure in entry.case.measures}) == len(entry.case.measures)


def test_whole_and_quick_runs_fit_into_their_time() -> None:
    for kind, n_rounds, minutes in (("full", 5, 25), ("quick", 3, 5)):
        entries = [entry for entry in ENTRIES if kind in entry.kinds]
        plan = Plan(entries, n_rounds, None, time.monotonic())
        assert plan.minutes_of(entries, n_peers=2, n_main=2) < minutes


class Clock:
    """A player that remembers when it played."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.seeds = seconds, list[str]()

    def begin(self, heading: str) -> None: ...

    def play(self, case: Case, seed: str) -> Take:
        time.sleep(self.seconds)
        self.seeds.append(seed)
        return Take({"short_ms": 1.0})


def test_no_round_begins_when_the_time_is_over_but_a_round_is_finished() -> None:
    ours, theirs = Clock(0.02), Clock(0.02)
    bout = Bout.of(ShortBehindLong(), ["A", "B"])
    hold(bout, {"A": ours, "B": theirs}, 100, seed=7, until=time.monotonic() + 0.05)
    assert ours.seeds[0] == theirs.seeds[0] == "7/0"
    assert 1 <= len(ours.seeds) == len(theirs.seeds) < 100


def test_what_was_played_before_an_interruption_is_kept() -> None:
    class Impatient(Clock):
        def play(self, case: Case, seed: str) -> Take:
            if self.seeds:
                raise KeyboardInterrupt
            return super().play(case, seed)

    bout = Bout.of(ShortBehindLong(), ["A", "B"])
    with pytest.raises(KeyboardInterrupt):
        hold(bout, {"A": Clock(), "B": Impatient()}, 3, seed=1)
    assert [len(series.figures) for series in bout.series] == [1, 1]
    gain = bout.gain(bout.case.measures[0])
    assert gain is not None and gain.values == (1.0,)
