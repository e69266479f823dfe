"""The named scenarios: their arithmetic, their clients against made-up answers, and each of them on our server."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import flags_of, main
from bench.case import Case, Flag, Measure, Take, completion, gaps_before, gaps_during
from bench.contender import Booth, Contender, Kept
from bench.contest import Bout, Series, hold, order
from bench.endurance import Leak, Oversubscribed, slope
from bench.equality import Answer, Equality, compare
from bench.errors import BenchError
from bench.exchange import Outcome
from bench.figures import Figures
from bench.peers import contenders
from bench.prefill import ShortBehindLong
from bench.progress import Progress
from bench.round import play_round
from bench.scenario import Lane
from bench.scoreboard import summary, text_of
from bench.server import Server
from bench.slots import SlotWatch, n_busy
from bench.stage import LEFT, Stage
from bench.suite import NAMES

from .test_bench_load import (
    HEALTHY,
    STREAM_END,
    STREAM_HEAD,
    FakeServer,
    event,
    json_response,
    serving,
    token,
)

FINAL = event({"content": "", "stop": True, "tokens_predicted": 2, "tokens_evaluated": 3})


@dataclass
class FakeHost:
    """A host whose servers are one fake server that is always there."""

    fake: FakeServer
    timeout_s: float = 5.0
    n_vocab: int = 1000
    model: Path = Path("fake.gguf")

    def play(self, case: Case, seed: str) -> Take:
        return case.run(self, seed)

    def measure(self, server: Server, lanes: list[Lane]) -> tuple[list[Outcome], Figures]:
        return play_round(server, lanes, self.timeout_s, [server])

    def keep(self, *flags: Flag) -> Server:
        return Server("A", "fake", self.fake.address)

    @contextmanager
    def open(self, *flags: Flag, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
        yield Server("A", "fake", self.fake.address)

    def knows(self, flag: str) -> bool:
        return False

    def begin(self, heading: str) -> None: ...

    def tell(self, text: str) -> None: ...


# arithmetic


def test_contenders_take_turns_so_that_none_always_comes_second() -> None:
    assert order(3, 2) == [(0, 0), (0, 1), (1, 1), (1, 0), (2, 0), (2, 1)]
    assert order(2, 1) == [(0, 0), (1, 0)]


def test_gaps_are_those_that_touch_the_time_in_question() -> None:
    clocks = [[0.0, 1.0, 3.0, 4.0], [2.5, 9.0]]
    assert gaps_during(clocks, 1.0, 2.0) == [2.0]
    assert gaps_during(clocks, 2.0, 2.6) == [2.0, 6.5]
    assert gaps_before(clocks, 3.0) == [1.0, 2.0]


def test_slope_is_that_of_the_nearest_line() -> None:
    assert slope([(0, 5.0), (10, 7.0), (20, 9.0)]) == pytest.approx(0.2)
    assert slope([(0, 1.0), (10, 1.0), (20, 1.0)]) == 0
    assert slope([(3, 1.0)]) is None


def probable(*tops: dict[int, float]) -> Answer:
    return Answer([next(iter(top)) for top in tops], list(tops))


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([7, 8], Equality.EQUAL),
        ([7, 9], Equality.TIE),  # almost as likely as the 8
        ([6, 8], Equality.DIFFERENT),  # far less likely than the 7
        ([7, 5], Equality.DIFFERENT),  # not among the likely ones at all
        ([7], Equality.DIFFERENT),
        ([], Equality.DIFFERENT),
    ],
)
def test_answers_are_equal_up_to_a_choice_between_equally_likely_tokens(ids: list[int], expected: Equality) -> None:
    alone = probable({7: -0.1, 6: -3.0}, {8: -1.0, 9: -1.004})
    assert compare(Answer(ids, []), alone) is expected


def test_token_ids_are_found_in_both_dialects() -> None:
    entry = {"id": 4, "logprob": -1.0, "top_logprobs": [{"id": 4, "logprob": -1.0}, {"id": 5, "logprob": -2.0}]}
    expected = Answer([4], [{4: -1.0, 5: -2.0}])
    assert Answer.of({"tokens": [], "completion_probabilities": [entry]}) == expected
    assert Answer.of({"choices": [{"logprobs": {"content": [entry]}}]}) == expected
    assert Answer.of({"tokens": [4, 5]}) == Answer([4, 5], [])
    assert Answer.of({"choices": [{"logprobs": None}]}) == Answer([], [])


def test_flags_keep_their_values_and_only_known_ones_are_passed_on() -> None:
    flags = flags_of("-t 1 -kvu --temp -1")
    assert flags == [("-t", "1"), ("-kvu",), ("--temp", "-1")]
    assert Contender("A", "x", frozenset({"-t", "--temp"})).understood(flags) == ["-t", "1", "--temp", "-1"]
    with pytest.raises(BenchError, match="'1', which is no flag"):
        flags_of("1 -t")


def test_a_contender_is_asked_which_flags_it_knows(tmp_path: Path) -> None:
    script = tmp_path / "server.sh"
    script.write_text("echo '  -c,  --ctx-size N   half-open; see --no-such: -kvu, --kv-unified'")
    assert Contender.meet("A", f"sh {script}").known >= {"-c", "--ctx-size", "-kvu", "--kv-unified"}
    assert "-open" not in Contender.meet("A", f"sh {script}").known
    with pytest.raises(BenchError, match="cannot start"):
        Contender.meet("A", str(tmp_path / "missing"))
    with pytest.raises(BenchError, match="--help fails"):
        Contender.meet("A", "false")


def bout(ours: list[float], theirs: list[float], key: str) -> Bout:
    series = [Series(name, [{key: value} for value in values]) for name, values in (("A", ours), ("B", theirs))]
    return Bout(Leak(), series)


def measure(key: str, higher: bool | None) -> Measure:
    return Measure(key, key, "s", 1, higher, "")


def test_a_gain_is_how_many_times_better_ours_is_round_by_round() -> None:
    times = bout([1.0, 2.0], [10.0, 8.0], "t").gain(measure("t", higher=False))
    assert times is not None and (times.median, times.low, times.high) == (7.0, 4.0, 10.0)
    rates = bout([10.0], [5.0], "r").gain(measure("r", higher=True))
    assert rates is not None and rates.median == 2.0
    assert bout([1.0], [2.0], "n").gain(measure("n", higher=None)) is None


def test_the_summary_goes_from_the_other_to_ours() -> None:
    case = ShortBehindLong()
    ours, theirs = Series("llamahttp", [{"short_ms": 20.0}]), Series("llama-server", [{"short_ms": 2200.0}])
    theirs.faults["HTTP 500"] += 2
    lines = summary([Bout(case, [ours, theirs])])
    assert lines == ("short-behind-long  2 200.0 ms -> 20.0 ms  110x  first token of the short prompt  faults 2 -> 0")
    text = text_of(Bout(case, [ours, theirs]))
    assert "! llama-server: 2 x HTTP 500" in text
    assert "first token of the long prompt" not in text  # of which there is no figure


# clients


def test_a_client_comes_late_and_another_leaves() -> None:
    endless = [STREAM_HEAD, *[part for _ in range(50) for part in (token(), 0.02)]]
    whole = [STREAM_HEAD, token(), token(), FINAL + STREAM_END]
    with serving(endless, whole) as fake, Stage(fake.address, 5.0) as stage:
        first = stage.ask([completion([1], 500)])[0]
        assert stage.play(lambda: len(first.reads) > 3, 5.0)
        second = stage.ask([completion([2], 2)])[0]
        stage.finish([second])
        stage.leave(first)
        take = Take()
        outcomes = take.check([first, second])
    assert outcomes[0].fault == LEFT
    assert len(outcomes[0].token_times) >= 2
    assert outcomes[1].fault is None and outcomes[1].n_predicted == 2
    assert take.faults == {LEFT: 1}


def test_playing_ends_in_time_though_nothing_comes() -> None:
    with serving([30.0]) as fake, Stage(fake.address, 0.2) as stage:
        stage.ask([completion([1], 1)])
        began = time.monotonic()
        assert not stage.play(lambda: False, 0.05)
        silent = stage.ask([completion([1], 1)])
        stage.finish(silent)
        assert time.monotonic() - began < 5
        assert silent[0].fault == "time-out after 0.2 s"


def test_a_kept_connection_that_the_server_closed_is_opened_again() -> None:
    answer = json_response({"content": "x", "stop": True, "tokens_predicted": 1})
    with serving([answer, b"\0close"], [answer]) as fake, Stage(fake.address, 5.0) as stage:
        client = stage.join(1)[0]
        for _ in range(2):
            exchange = stage.send(client, completion([1], 1, stream=False))
            stage.finish([exchange])
            assert exchange.fault is None
        assert fake.n_connections == 2


def test_slots_are_watched() -> None:
    with serving([b""], info={"unexpected": 1}) as fake:
        assert n_busy(fake.address) is None
    slots: Any = [{"is_processing": True}, {"is_processing": False}]
    with serving([b""], info=slots) as fake:
        assert n_busy(fake.address) == 1
        with SlotWatch(fake.address) as watch:
            while not watch.sights:
                time.sleep(0.001)
        sight = watch.sights[0]
        assert sight.asked_at < sight.seen_at
        assert watch.at_most(1, sight.asked_at) == sight
        assert watch.at_most(0, 0.0) is None
    assert n_busy(fake.address) is None


def test_a_server_that_refuses_everything_is_asked_until_the_time_is_over() -> None:
    refusal = json_response({"error": {"message": "Context size has been exceeded."}}, "500 Internal Server Error")
    case = Oversubscribed(seconds=0.3, n_clients=2, n_pool=64, n_predict=8)
    with serving([refusal], info={}) as fake:
        bout = Bout.of(case, ["A"])
        hold(bout, {"A": FakeHost(fake)}, 1, seed=1)
    series = bout.series[0]
    n_failed = series.figures[0]["n_failed"]
    assert 2 <= n_failed <= 10  # 2 clients, each at most once in 0.1 s
    assert series.figures[0]["n_ok"] == series.figures[0]["tokens_per_s"] == 0
    assert dict(series.faults) == {"HTTP 500: Context size has been exceeded.": n_failed}
    assert "right" not in series.figures[0]


def test_a_foreign_answer_is_a_fault() -> None:
    final: dict[str, Any] = {"content": "x", "stop": True, "tokens_predicted": 8}
    probs = [{"id": 1, "top_logprobs": [{"id": 1, "logprob": -0.1}]}]
    loaded, alone = (json_response(final | extra) for extra in ({"tokens": [2]}, {"completion_probabilities": probs}))
    case = Oversubscribed(seconds=0.0, n_clients=1, n_pool=64, n_predict=8)
    with serving([loaded], [alone], info={}) as fake:
        take = case.run(FakeHost(fake), "1")
        assert take.faults == {}  # no time, no request
        case = Oversubscribed(seconds=0.01, n_clients=1, n_pool=64, n_predict=8, n_checks=1)
        take = case.run(FakeHost(fake), "1")
    assert take.figures["right"] == 0
    assert list(take.faults) == ["the answer is not that of the same request alone"]


def test_a_server_that_dies_costs_its_round_only() -> None:
    class Dying(FakeHost):
        @contextmanager
        def open(self, *flags: Flag, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
            raise BenchError("the server ended with status 3")
            yield

    with serving([b""]) as fake:
        bout = Bout.of(ShortBehindLong(), ["A"])
        hold(bout, {"A": Dying(fake)}, 2, seed=1)
    assert bout.series[0].faults == {"the server ended with status 3": 2}
    assert bout.series[0].figures == [{}, {}]


def test_a_server_is_kept_until_another_is_needed(tmp_path: Path) -> None:
    script = tmp_path / "healthy.py"
    script.write_text(HEALTHY)
    contender = Contender("A", f"{sys.executable} {script}", frozenset({"-np"}))
    with Kept() as kept, Progress(io.StringIO()) as progress:
        booth = Booth(contender, Path("m.gguf"), 1000, tmp_path, [], 5.0, 10.0, progress, kept, is_small=True)
        four = booth.keep(("-np", "4"), ("--unknown", "1"))
        assert booth.keep(("-np", "4")) is four
        eight = booth.keep(("-np", "8"))
        assert eight is not four
        assert four.process is not None and four.process.popen.poll() is not None
        with booth.open(("-np", "8"), environment={"NAME": "value"}) as fresh:
            assert fresh.label.startswith("env NAME=value ")
            assert eight.process is not None and eight.process.popen.poll() is not None
    assert fresh.process is not None and fresh.process.popen.poll() is not None


def test_peers_that_are_not_installed_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert contenders(tmp_path) == []
    assert "xllamacpp is not installed" in capsys.readouterr().err


# the program, with our server


SMALL: dict[str, list[str]] = {
    "8b": ["--variant=32"],
    "streams": ["--variant=4"],
    "128k": ["--variant=16"],
    "shared-prefix": ["--variant=-kvu"],
    "multi-turn": ["--variant=swa"],
}


@pytest.mark.parametrize("name", NAMES)
def test_every_scenario_runs_on_our_server(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = ["--start-timeout", "30", "--timeout", "60"]
    code = main([name, "--smoke", "--alone", "--rounds", "1", "--out", str(tmp_path), *limits, *SMALL.get(name, [])])
    document, printed = json.loads((tmp_path / "results.json").read_text()), capsys.readouterr().out
    for case in document["cases"]:
        series = case["series"][0]
        assert case["name"] == name
        check_figures(name, series["rounds"][0], series["faults"])
        assert set(case["measures"]) >= set(series["rounds"][0])
        assert case["title"] in printed
    assert code == int(any(case["series"][0]["faults"] for case in document["cases"]))


def check_figures(name: str, figures: dict[str, float], faults: dict[str, int]) -> None:
    match name:
        case "oversubscribed":
            assert figures["n_ok"] > 0
            assert (figures["right"], figures["busy_after"]) == (100, 0)
        case "multi-turn":
            assert faults == {}
            assert figures["right"] == 100
            assert figures["reused"] > 0
        case "leak":
            assert faults == {}
            assert (figures["n_ok"], figures["n_left"], figures["n_failed"]) == (54, 6, 0)
            assert figures["busy_after"] == 0
        case _:
            assert faults == {}
            assert figures
            assert all(value >= 0 for value in figures.values())


def test_wrong_arguments_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shared-prefixes"]) == 2
    assert "no case 'shared-prefixes'; there are streams," in capsys.readouterr().err
    assert main(["leak", "--variant", "nothing"]) == 2
    assert "no variant with 'nothing'" in capsys.readouterr().err
    assert main(["leak", "--alone", "--server", "/nonexistent/server"]) == 2
    assert "cannot start" in capsys.readouterr().err
