"""Measure llamahttp beside llama-server: a table, plots and every raw figure.

    python -m bench                        # the whole suite, in 25 minutes at most
    python -m bench --quick                # the most important of it, in five
    python -m bench streams json-schema    # some cases; also those that take long and are left out otherwise
    python -m bench --smoke --alone        # does each of them run at all?

The servers take turns (A B, B A, ...) with the same flags, models and prompts; a flag that only one of them knows is
left out for the other. Interrupting it writes what there is so far.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from bench.case import Flag, label_of
from bench.ceiling import NAME as LIBLLAMA
from bench.ceiling import Ceiling
from bench.contender import Booth, Contender, Kept
from bench.contest import Bout, Player, hold
from bench.endurance import Leak, Oversubscribed
from bench.errors import BenchError
from bench.load import natural, on_terminate, positive
from bench.models import WRITERS, NoModelError, n_vocab_of
from bench.page import page_of
from bench.peers import FOLDER, contenders
from bench.progress import Progress, say
from bench.scale import allow_files
from bench.scoreboard import json_of, summary, text_of
from bench.suite import ENTRIES, NAMES, Entry, Kind, smallest

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "llamahttp" / "_lib" / "current" / "llama-server"
OURS, THEIRS = "llamahttp", "llama-server"
N_ROUNDS: dict[str, int] = {"full": 5, "quick": 3}
MINUTES: dict[str, float] = {"full": 25.0, "quick": 5.0}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog=meanings(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="CASE", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="fewer cases and rounds")
    parser.add_argument("--smoke", action="store_true", help="the least form of every case; the figures mean nothing")
    parser.add_argument("--variant", metavar="TEXT", help="only the variant of this name, or those with this in it")
    parser.add_argument("--rounds", type=positive, help="for each server (5; --quick: 3)")
    parser.add_argument(
        "--minutes", type=float, help="no further case or round begins then (25; --quick: 5; named: any)"
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="of oversubscribed (300)")
    parser.add_argument("--requests", type=positive, metavar="N", help="of leak (10000)")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "out", metavar="DIR", help="for what is written")
    parser.add_argument("--seed", type=natural, default=1, help="of the prompts (1)")
    group = parser.add_argument_group("servers")
    group.add_argument("--server", metavar="CMD", help="A: how to start llamahttp (that of this tree)")
    group.add_argument("--versus", metavar="CMD", help="B: how to start llama-server (the one built beside libllama)")
    group.add_argument("--alone", action="store_true", help="only A")
    group.add_argument("--peers", type=Path, default=FOLDER, metavar="DIR", help="where bench.peers has installed them")
    group.add_argument("--flags", default="", metavar="FLAGS", help='more flags for all servers, such as "-t 1"')
    group.add_argument("-m", "--model", type=Path, metavar="GGUF", help="instead of the tiny dense model")
    group.add_argument("--timeout", type=float, default=300.0, metavar="S", help="for each request (300)")
    group.add_argument("--start-timeout", type=float, default=120.0, metavar="S", help="until healthy (120)")
    return parser


def meanings() -> str:
    """What every figure means, for --help; cases of one name share theirs."""
    lines = ["figures (median of the rounds; gain is how many times better A is, 1.00 is equal):"]
    for case in {each.case.name: each.case for each in ENTRIES}.values():
        lines.append(f"\n{case.name}")
        lines += [f"  {measure.label:<32}{measure.meaning}" for measure in case.measures]
    return "\n".join(lines)


def entries_of(args: argparse.Namespace) -> list[Entry]:
    """The cases asked for. BenchError for a name or a variant that there is none of."""
    if unknown := [name for name in args.names if name not in NAMES]:
        raise BenchError(f"no case {unknown[0]!r}; there are {', '.join(NAMES)}")
    kinds = wanted_kinds(args)
    found = [each for each in ENTRIES if (each.case.name in args.names if args.names else each.kinds & kinds)]
    if args.variant is not None:
        exact = [each for each in found if each.case.variant == args.variant]
        found = exact or [each for each in found if args.variant in each.case.variant]
    if not found:
        raise BenchError(f"no variant with {args.variant!r} in its name")
    return [sized(each, args) for each in found]


def wanted_kinds(args: argparse.Namespace) -> set[Kind]:
    if args.smoke:
        return {"full", "long"}
    kinds: set[Kind] = {"quick" if args.quick else "full"}
    return kinds if args.names or not has_gpu() else kinds | {"gpu"}


def has_gpu() -> bool:
    """Asked in a process of its own: loading libllama leaves marks on the environment, which servers would get."""
    program = "from llamahttp.binding import devices; print(len(devices.gpus()))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    return done.returncode == 0 and done.stdout.strip() != "0"


def sized(entry: Entry, args: argparse.Namespace) -> Entry:
    case = smallest(entry.case) if args.smoke else entry.case
    match case:
        case Oversubscribed() if args.seconds is not None:
            case = replace(case, seconds=args.seconds)
        case Leak() if args.requests is not None:
            case = replace(case, n_requests=args.requests)
    return replace(entry, case=case)


def contenders_of(args: argparse.Namespace) -> list[Contender]:
    ours = args.server or shlex.join(["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "llamahttp"])
    found = [Contender.meet(OURS, ours)]
    if args.alone:
        return found
    if not args.versus and not REFERENCE.exists():
        raise BenchError(
            "there is no llama-server: `make reference` builds it; --versus CMD names one; --alone does without"
        )
    return [*found, Contender.meet(THEIRS, args.versus or str(REFERENCE))]


def flags_of(text: str) -> list[Flag]:
    """`-t 1 -kvu` as flags: a word that begins with a dash and is no number, with the words up to the next one."""
    flags: list[Flag] = []
    for word in shlex.split(text):
        if word.startswith("-") and not word[1:2].isdigit():
            flags.append((word,))
        elif flags:
            flags[-1] = (*flags[-1], word)
        else:
            raise BenchError(f"--flags begins with {word!r}, which is no flag")
    return flags


@dataclass(slots=True)
class Company:
    """Who plays: the servers with what they keep, and where their models are."""

    args: argparse.Namespace
    folder: Path
    progress: Progress
    flags: list[Flag]
    main: list[tuple[Contender, Kept]]
    peers: list[tuple[Contender, Kept]]

    @classmethod
    def gather(cls, args: argparse.Namespace, has_peers: bool, stack: ExitStack, progress: Progress) -> Company:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        peers = contenders(args.peers) if has_peers and not args.alone else []
        main, rest = (
            [(contender, stack.enter_context(Kept())) for contender in group] for group in (contenders_of(args), peers)
        )
        return cls(args, folder, progress, [("-lv", "1"), *flags_of(args.flags)], main, rest)

    def players(self, entry: Entry) -> dict[str, Player]:
        """In the order of the table's columns. NoModelError when the model cannot be made here."""
        model = self._model(entry.case.model)
        servers = self.main[: 1 if entry.alone else None] + (self.peers if entry.has_peers else [])
        players: dict[str, Player] = {
            contender.name: self._booth(contender, kept, model) for contender, kept in servers
        }
        if Ceiling.plays(entry.case) and not self.args.alone:
            players[LIBLLAMA] = Ceiling(model, self.args.timeout, self.progress)
        return players

    def _booth(self, contender: Contender, kept: Kept, model: Path) -> Booth:
        return Booth(
            contender=contender,
            model=model,
            n_vocab=n_vocab_of(model),
            folder=self.folder,
            flags=self.flags,
            timeout_s=self.args.timeout,
            start_timeout_s=self.args.start_timeout,
            progress=self.progress,
            kept=kept,
            is_small=self.args.smoke,
        )

    def _model(self, name: str) -> Path:
        """Written when it is first needed."""
        if name == "dense" and self.args.model is not None:
            given: Path = self.args.model
            return given
        path = self.folder / f"{name}.gguf"
        if not path.exists():
            self.progress.begin(f"writing the model {name}")
            WRITERS[name](path, self.args.smoke)
        return path


@dataclass(slots=True)
class Plan:
    """What is to be played, how often, and until when."""

    entries: list[Entry]
    n_rounds: int
    minutes: float | None
    began: float

    @classmethod
    def of(cls, args: argparse.Namespace) -> Plan:
        kind = "quick" if args.quick else "full"
        minutes = args.minutes if args.minutes is not None or args.names or args.smoke else MINUTES[kind]
        return cls(entries_of(args), args.rounds or N_ROUNDS[kind], minutes, time.monotonic())

    @property
    def until(self) -> float | None:
        return None if self.minutes is None else self.began + 60 * self.minutes

    @property
    def is_over(self) -> bool:
        return self.until is not None and time.monotonic() > self.until

    def rounds(self, entry: Entry) -> int:
        return min(self.n_rounds, entry.most_rounds)

    def pace(self, n_played: int, n_peers: int, n_main: int) -> float:
        """How much longer than expected the first cases took."""
        expected = self.minutes_of(self.entries[:n_played], n_peers, n_main)
        return (time.monotonic() - self.began) / 60 / expected if expected else 1.0

    def minutes_of(self, entries: list[Entry], n_peers: int, n_main: int) -> float:
        """How long these are expected to take; peers, of which some answer one at a time, longest."""
        n_runs = [
            self.rounds(each)
            * ((1 if each.alone else n_main) + 2 * n_peers * each.has_peers + Ceiling.plays(each.case))
            for each in entries
        ]
        return sum(n * each.seconds for n, each in zip(n_runs, entries, strict=True)) / 60


def run(args: argparse.Namespace) -> int:
    """Play all cases, print their tables and write everything. Returns 1 when llamahttp had any fault."""
    plan = Plan.of(args)
    allow_files()
    bouts: list[Bout] = []
    with ExitStack() as stack, Progress(sys.stderr) as progress:
        company = Company.gather(args, any(each.has_peers for each in plan.entries), stack, progress)
        try:
            play(plan, company, bouts)
        finally:
            progress.clear()
            played = [bout for bout in bouts if bout.has_figures]
            write(args, company, played)
    return 1 if any(bout.series[0].faults for bout in bouts) else 0


def play(plan: Plan, company: Company, bouts: list[Bout]) -> None:
    n_main, n_peers = len(company.main), len(company.peers)
    expected = plan.minutes_of(plan.entries, n_peers, n_main)
    limit = "" if plan.minutes is None else f", at most about {plan.minutes:g}"
    say(f"{len(plan.entries)} cases, expected to take {expected:.0f} minutes{limit}; results go to {company.args.out}")
    for i, entry in enumerate(plan.entries):
        if plan.is_over:
            say(f"no time left for {', '.join(label_of(each.case) for each in plan.entries[i:])}")
            return
        left = plan.minutes_of(plan.entries[i:], n_peers, n_main) * plan.pace(i, n_peers, n_main)
        head = f"[{i + 1}/{len(plan.entries)}, {left:.0f} min left] {label_of(entry.case)}"
        company.progress.head = head
        try:
            players = company.players(entry)
        except NoModelError as error:
            company.progress.begin(f"left out: {error}")
            continue
        bouts.append(Bout.of(entry.case, list(players)))
        hold(bouts[-1], players, plan.rounds(entry), company.args.seed, plan.until)
        company.progress.clear()
        print(f"{text_of(bouts[-1])}\n", flush=True)
        write_json(company.args, company, bouts)  # should the end never come


def write_json(args: argparse.Namespace, company: Company, bouts: list[Bout]) -> None:
    args.out.mkdir(parents=True, exist_ok=True)
    commands = {contender.name: contender.command for contender, _ in company.main + company.peers}
    (args.out / "results.json").write_text(json_of(bouts, commands, args.seed))


def write(args: argparse.Namespace, company: Company, bouts: list[Bout]) -> None:
    """Every raw figure, the tables and, where matplotlib is installed, the plots."""
    if not bouts:
        return
    if len(bouts) > 1:
        print(summary(bouts))
    write_json(args, company, bouts)
    try:
        from bench import plots
    except ImportError:
        say("no plots: matplotlib is not installed (pip install -e '.[bench]')")
        names = []
    else:
        names = plots.draw(bouts, args.out)
    (args.out / "results.md").write_text(page_of(bouts, names, args.flags))
    say(f"written to {args.out}: results.json, results.md{''.join(f', {name}' for name in names)}")


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    before = signal.signal(signal.SIGTERM, on_terminate)
    try:
        return run(args)
    except (BenchError, OSError) as error:
        say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
