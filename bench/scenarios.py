"""Named scenarios, played by two servers in turn: what long prompts, full caches and long runs do to each.

    python bench/scenarios.py                              # all of them, llamahttp against llama-server
    python bench/scenarios.py shared-prefix leak           # some of them
    python bench/scenarios.py --alone --quick              # a look at llamahttp only, in seconds

Every round starts fresh servers on free loopback ports, with the same flags and the same model, in the order
A B B A, and ends them. A flag that only one of them knows is left out for the other.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

if __package__ in (None, ""):  # run as a script: make the siblings importable under the name that the tests use
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.case import Case, Flag, Host, label_of
from bench.contender import Booth, Contender
from bench.contest import Bout, hold
from bench.dialogue import MultiTurn
from bench.endurance import Leak, Oversubscribed
from bench.errors import BenchError
from bench.load import natural, on_terminate, positive
from bench.meter import say
from bench.models import WRITERS, NoModelError, n_vocab_of
from bench.prefill import LeaveInPrefill, LongAmongStreams, SharedPrefix, ShortBehindLong
from bench.progress import Progress
from bench.scoreboard import json_of, summary, text_of

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "llamahttp" / "_lib" / "current" / "llama-server"
OURS = "llamahttp"
ARCHITECTURES = ("dense", "swa", "recurrent", "hybrid")

FULL: tuple[Case, ...] = (
    SharedPrefix(),
    SharedPrefix(unified=True),
    LongAmongStreams(),
    ShortBehindLong(),
    Oversubscribed(),
    *(MultiTurn(architecture) for architecture in ARCHITECTURES),
    *(MultiTurn(architecture, "completion") for architecture in ARCHITECTURES),
    LeaveInPrefill(),
    Leak(),
)
QUICK: tuple[Case, ...] = (
    SharedPrefix(n_clients=4, n_prefix=300),
    SharedPrefix(n_clients=4, n_prefix=300, unified=True),
    LongAmongStreams(n_streams=2, n_long=2_000),
    ShortBehindLong(n_long=2_000),
    Oversubscribed(seconds=0.5, n_clients=4, n_pool=512, n_predict=64, n_checks=4),
    *(MultiTurn(name, n_turns=3, n_first=100, n_user=40, n_predict=8) for name in ARCHITECTURES),
    *(MultiTurn(name, "completion", n_turns=3, n_first=100, n_user=40, n_predict=8) for name in ARCHITECTURES),
    LeaveInPrefill(n_streams=2, n_long=4_000),
    Leak(n_requests=60, n_batch=20, n_clients=4),
)
NAMES = tuple(dict.fromkeys(case.name for case in FULL))


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        epilog=meanings(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="SCENARIO", help=f"of {', '.join(NAMES)} (all)")
    parser.add_argument("--rounds", type=positive, default=4, help="for each server (4)")
    parser.add_argument("--seconds", type=float, metavar="S", help="of oversubscribed (300)")
    parser.add_argument("--requests", type=positive, metavar="N", help="of leak (10000)")
    parser.add_argument(
        "--variant", metavar="TEXT", help="only the variant of this name, or those that have this in it"
    )
    parser.add_argument("--quick", action="store_true", help="the smallest form of each: does it run at all?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every raw figure there")
    parser.add_argument("--seed", type=natural, default=1, help="of the prompts (1)")
    group = parser.add_argument_group("servers")
    group.add_argument("--server", metavar="CMD", help="A: how to start llamahttp (that of this tree)")
    group.add_argument("--versus", metavar="CMD", help="B: how to start llama-server (the one built beside libllama)")
    group.add_argument("--alone", action="store_true", help="only A")
    group.add_argument("--flags", default="", metavar="FLAGS", help='more flags for both, such as "-t 1"')
    group.add_argument("-m", "--model", type=Path, metavar="GGUF", help="instead of the tiny dense model")
    group.add_argument("--timeout", type=float, default=300.0, metavar="S", help="for each request (300)")
    group.add_argument("--start-timeout", type=float, default=120.0, metavar="S", help="until healthy (120)")
    return parser


def meanings() -> str:
    """What every figure means, for --help; cases of one name share theirs."""
    lines = ["figures (median of the rounds; gain is how many times better A is, 1.00 is equal):"]
    for case in {case.name: case for case in FULL}.values():
        lines.append(f"\n{case.name}")
        lines += [f"  {measure.label:<32}{measure.meaning}" for measure in case.measures]
    return "\n".join(lines)


def cases_of(args: argparse.Namespace) -> list[Case]:
    """The cases asked for. BenchError for a name or a variant that there is none of."""
    if unknown := [name for name in args.names if name not in NAMES]:
        raise BenchError(f"no scenario {unknown[0]!r}; there are {', '.join(NAMES)}")
    cases = [case for case in (QUICK if args.quick else FULL) if not args.names or case.name in args.names]
    if args.variant is not None:
        exact = [case for case in cases if case.variant == args.variant]
        cases = exact or [case for case in cases if args.variant in case.variant]
    if not cases:
        raise BenchError(f"no variant with {args.variant!r} in its name")
    return [sized(case, args) for case in cases]


def sized(case: Case, args: argparse.Namespace) -> Case:
    match case:
        case Oversubscribed() if args.seconds is not None:
            return replace(case, seconds=args.seconds)
        case Leak() if args.requests is not None:
            return replace(case, n_requests=args.requests)
    return case


def contenders_of(args: argparse.Namespace) -> list[Contender]:
    ours = args.server or shlex.join(["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "llamahttp"])
    found = [Contender.meet(OURS, ours)]
    if args.alone:
        return found
    if not args.versus and not REFERENCE.exists():
        raise BenchError(
            "there is no llama-server: `make reference` builds it; --versus CMD names one; --alone does without"
        )
    return [*found, Contender.meet("llama-server", args.versus or str(REFERENCE))]


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


def model_of(architecture: str, args: argparse.Namespace, folder: Path) -> Path:
    """The model of a case, written when it is first needed."""
    if architecture == "dense" and args.model is not None:
        given: Path = args.model
        return given
    path = folder / f"{architecture}.gguf"
    if not path.exists():
        WRITERS[architecture](path, args.quick)
    return path


def run(args: argparse.Namespace) -> int:
    """Play all cases and print their tables. Returns 1 when llamahttp had any fault."""
    cases, extra, contenders = cases_of(args), flags_of(args.flags), contenders_of(args)
    bouts: list[Bout] = []
    with tempfile.TemporaryDirectory(prefix="bench-scenarios-") as folder, Progress(sys.stderr) as progress:
        for i, case in enumerate(cases):
            progress.head = f"[{i + 1}/{len(cases)}] {label_of(case)}"
            try:
                hosts = hosts_of(case, contenders, extra, args, Path(folder), progress)
            except NoModelError as error:
                progress.begin(f"left out: {error}")
                continue
            bouts.append(hold(case, hosts, args.rounds, args.seed))
            progress.clear()
            print(f"{text_of(bouts[-1])}\n", flush=True)
    if len(bouts) > 1:
        print(summary(bouts))
    if args.json is not None:
        args.json.write_text(json_of(bouts, {each.name: each.command for each in contenders}, args.seed))
    return 1 if any(bout.series[0].faults for bout in bouts) else 0


def hosts_of(
    case: Case,
    contenders: list[Contender],
    extra: list[Flag],
    args: argparse.Namespace,
    folder: Path,
    progress: Progress,
) -> dict[str, Host]:
    model = model_of(case.architecture, args, folder)
    n_vocab = n_vocab_of(model)
    return {
        contender.name: Booth(
            contender=contender,
            model=model,
            n_vocab=n_vocab,
            folder=folder,
            flags=[("-lv", "1"), *extra],
            timeout_s=args.timeout,
            start_timeout_s=args.start_timeout,
            progress=progress,
            is_small=args.quick,
        )
        for contender in contenders
    }


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
