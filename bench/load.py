"""Load on one llama-server-compatible server, or on two in turn: tokens/s, TTFT, inter-token times, ratios.

    python bench/load.py --url http://127.0.0.1:8080 --streams 16 --n-predict 128
    python bench/load.py --server "llamahttp -np 16 -c 16384" --versus "llama-server -np 16 -c 16384" \
        -m model.gguf --streams 1,4,16

With two servers the rounds alternate (A B B A), only one has load at a time, and gains are taken round by round.
`--help` says what each figure means. Needs nothing but the standard library.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

if __package__ in (
    None,
    "",
):  # run as a script: make the siblings importable under the name that the tests use
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.address import Address
from bench.case import Case, Flag, Take, label_of
from bench.contest import Bout, hold
from bench.errors import BenchError
from bench.exchange import Outcome
from bench.figures import METRICS, Figures
from bench.progress import Progress, say
from bench.round import play_round
from bench.scenario import Lane, Streams
from bench.scoreboard import json_of, text_of
from bench.server import Server, started
from bench.throughput import Throughput

ONE_TOKEN_REQUESTS = 32  # a round of one-token answers would else be over in milliseconds


@dataclass(frozen=True, slots=True)
class Options:
    """The run, apart from what the scenarios say. `servers` holds URLs or commands, at most two."""

    servers: list[str]
    model: str | None
    n_rounds: int
    timeout_s: float
    start_timeout_s: float
    allow_remote: bool
    api_key: str | None
    n_vocab: int | None
    json_path: Path | None
    seed: int


def build_parser() -> argparse.ArgumentParser:
    rows = "\n".join(f"  {metric.label:<24}{metric.meaning}" for metric in METRICS)
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        epilog=f"figures (percentiles within a round, then the median over rounds):\n{rows}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_server_arguments(parser)
    add_scenario_arguments(parser)
    run = parser.add_argument_group("run")
    run.add_argument("--rounds", type=positive, default=5, help="rounds a server (5)")
    run.add_argument("--timeout", type=float, default=120.0, metavar="S", help="for each request (120)")
    run.add_argument("--json", type=Path, metavar="FILE", help="write every raw figure there")
    return parser


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("servers")
    one = group.add_mutually_exclusive_group(required=True)
    one.add_argument("--url", help="A: a running server, http://127.0.0.1:PORT")
    one.add_argument("--server", metavar="CMD", help="A: started here; --host and --port are appended")
    group.add_argument("--versus", metavar="CMD|URL", help="B: the server to compare with")
    group.add_argument("-m", "--model", metavar="GGUF", help="appended to the commands as -m GGUF")
    group.add_argument("--start-timeout", type=float, default=120.0, metavar="S", help="until healthy (120)")
    group.add_argument("--api-key", metavar="KEY")
    group.add_argument("--allow-remote", action="store_true", help="let a URL lead to another machine")


def add_scenario_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("scenario")
    group.add_argument("--streams", type=stream_counts, default=[16], metavar="N[,N]", help="clients at once (16)")
    group.add_argument("--n-predict", type=positive, default=128, metavar="N", help="tokens to generate (128)")
    group.add_argument("--n-prompt", type=positive, default=32, metavar="N", help="own tokens of a prompt (32)")
    group.add_argument("--shared-prefix", type=natural, default=0, metavar="N", help="tokens in common before them (0)")
    group.add_argument("--requests", type=positive, metavar="N", help="requests a stream and round (1)")
    group.add_argument("--chat", action="store_true", help="/v1/chat/completions instead of /completion")
    group.add_argument("--no-stream", action="store_true", help="one answer instead of events")
    group.add_argument(
        "--one-token",
        action="store_true",
        help=f"n_predict 1, not streamed, {ONE_TOKEN_REQUESTS} requests a stream",
    )
    group.add_argument("--sampling", choices=["greedy", "default"], default="greedy", help="(greedy)")
    group.add_argument("--body", type=json_object, default={}, metavar="JSON", help="merged into every request")
    group.add_argument("--n-vocab", type=positive, metavar="N", help="for prompts, where the server does not tell")
    group.add_argument("--seed", type=int, default=1, help="of the prompts (1)")


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def stream_counts(text: str) -> list[int]:
    return [positive(part) for part in text.split(",")]


def json_object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text} is not a JSON object")
    return value


def cases_of(args: argparse.Namespace) -> list[Throughput]:
    streams = Streams(
        n_streams=1,
        n_predict=1 if args.one_token else args.n_predict,
        n_prompt=args.n_prompt,
        n_shared=args.shared_prefix,
        n_requests=args.requests or (ONE_TOKEN_REQUESTS if args.one_token else 1),
        dialect="chat" if args.chat else "native",
        stream=not (args.no_stream or args.one_token),
        sampling=args.sampling,
        extra=args.body,
    )
    return [Throughput("load", replace(streams, n_streams=n), variant=str(n)) for n in args.streams]


def options_of(args: argparse.Namespace) -> Options:
    return Options(
        servers=[server for server in (args.url or args.server, args.versus) if server],
        model=args.model,
        n_rounds=args.rounds,
        timeout_s=args.timeout,
        start_timeout_s=args.start_timeout,
        allow_remote=args.allow_remote,
        api_key=args.api_key,
        n_vocab=args.n_vocab,
        json_path=args.json,
        seed=args.seed,
    )


def open_servers(options: Options, stack: ExitStack) -> list[Server]:
    """Start or find the servers, one after the other; those started are ended by `stack`."""
    log_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
    servers = []
    for name, target in zip("AB", options.servers, strict=False):
        if "://" in target:
            server = Server(name, target, Address.parse(target, options.allow_remote))
            server.wait_healthy(options.start_timeout_s)
        else:
            say(f"starting {name}: {target}")
            opening = started(name, target, options.model, log_dir, options.start_timeout_s)
            server = stack.enter_context(opening)
        server.inspect(options.api_key, options.n_vocab)
        servers.append(server)
    return servers


@dataclass(slots=True)
class Open:
    """A server that is up: plays cases (`bench.contest.Player`), which all run on it, whatever they ask for."""

    server: Server
    servers: list[Server]
    options: Options
    n_vocab: int
    progress: Progress
    heading: str = ""

    @property
    def timeout_s(self) -> float:
        return self.options.timeout_s

    @property
    def model(self) -> Path:
        return Path(self.options.model or "")

    def begin(self, heading: str) -> None:
        self.heading = f"{heading} · {self.server.name}"
        self.progress.begin(self.heading)

    def tell(self, text: str) -> None:
        self.progress.show(f"{self.heading} · {text}")

    def play(self, case: Case, seed: str) -> Take:
        return case.run(self, seed)

    def knows(self, flag: str) -> bool:
        return False

    def keep(self, *flags: Flag) -> Server:
        return self.server

    def open(self, *flags: Flag, environment: Mapping[str, str] | None = None) -> AbstractContextManager[Server]:
        return nullcontext(self.server)

    def measure(self, server: Server, lanes: list[Lane]) -> tuple[list[Outcome], Figures]:
        return play_round(server, lanes, self.timeout_s, self.servers, self.options.api_key)


def warn_of_slots(servers: list[Server], cases: list[Throughput]) -> None:
    """More streams than slots measures the queue as well: allowed, but said."""
    most = max(case.streams.n_streams for case in cases)
    for server in servers:
        if server.n_slots is not None and server.n_slots < most:
            say(f"! {server.name} has {server.n_slots} slots for {most} streams: the others wait (-np {most})")


def server_line(server: Server) -> str:
    parts = [f"{server.name}  {server.label}  at {server.address}"]
    if server.n_slots is not None:
        parts.append(f"{server.n_slots} slots")
    if server.start_s is not None:
        parts.append(f"healthy after {server.start_s:.2f} s")
    return " · ".join(parts)


def memory_line(servers: list[Server]) -> str:
    """Resident memory after all rounds, where it is known; empty when it is for no server."""
    known = [f"{server.name} {rss / 2**20:.0f} MiB" for server in servers if (rss := server.rss_bytes()) is not None]
    return f"memory after the run: {', '.join(known)}" if known else ""


def run(cases: list[Throughput], options: Options) -> int:
    """Measure all cases and print the tables. Returns 1 when any request had a fault."""
    bouts: list[Bout] = []
    with ExitStack() as stack, Progress(sys.stderr) as progress:
        servers = open_servers(options, stack)
        warn_of_slots(servers, cases)
        print("\n".join(server_line(server) for server in servers))
        # All get the same token ids, so the smallest vocabulary decides.
        n_vocab = min(server.n_vocab for server in servers)
        players = {server.name: Open(server, servers, options, n_vocab, progress) for server in servers}
        for case in cases:
            progress.head = label_of(case)
            bouts.append(Bout.of(case, list(players)))
            hold(bouts[-1], players, options.n_rounds, options.seed)
            progress.clear()
            print(f"\n{text_of(bouts[-1])}", flush=True)
        if line := memory_line(servers):
            print(f"\n{line}")
        if options.json_path is not None:
            options.json_path.write_text(
                json_of(bouts, {server.name: server.label for server in servers}, options.seed)
            )
    return 1 if any(series.faults for bout in bouts for series in bout.series) else 0


def on_terminate(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # unwinds, so that the servers are ended


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    signal.signal(signal.SIGTERM, on_terminate)
    try:
        return run(cases_of(args), options_of(args))
    except BenchError as error:
        say(f"error: {error}")
        return 2
    except OSError as error:
        say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        say("interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main())
