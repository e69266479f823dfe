"""The suite: which cases there are, how long each takes, and which of them a kind of run plays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from bench.case import Case, Flag
from bench.dialogue import MultiTurn
from bench.embeddings import RATE, EmbeddingsAmongStreams
from bench.endurance import Leak, Oversubscribed
from bench.overhead import Overhead
from bench.prefill import LeaveInPrefill, LongAmongStreams, SharedPrefix, ShortBehindLong
from bench.scale import Connections, Context, Entries, Slots
from bench.scenario import Streams
from bench.startup import StartUp
from bench.throughput import Memory, Throughput

Kind = Literal["full", "quick", "gpu", "long"]
ARCHITECTURES = ("dense", "swa", "recurrent", "hybrid")

SCHEMA: dict[str, Any] = {
    "type": "array",
    "minItems": 50,  # so long that no answer ends before it is cut
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 24},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "role": {"enum": ["admin", "user", "guest"]},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 3},
            "score": {"type": "number"},
        },
        "required": ["name", "age", "role", "tags", "score"],
        "additionalProperties": False,
    },
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": f"tool_{i}",
            "description": "Look something up.",
            "parameters": {
                "type": "object",
                "properties": {"query": {"type": "string"}, "limit": {"type": "integer"}},
                "required": ["query"],
            },
        },
    }
    for i in range(3)
]
TEMPLATE = Path(__file__).with_name("tools.jinja")
"""A chat template that knows tools, with calls as objects between `<tool_call>` tags."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A case and how it is played. `seconds`: of one run on two cores, the start of a server included."""

    case: Case
    seconds: float
    kinds: frozenset[Kind]
    alone: bool = False
    """Only ours plays: the others are known not to be of interest."""
    has_peers: bool = False
    most_rounds: int = 99


def entry(case: Case, seconds: float, *kinds: Kind, **how: Any) -> Entry:
    return Entry(case, seconds, frozenset(kinds), **how)


def streams(n: int, n_requests: int, **sizes: Any) -> Throughput:
    return Throughput("streams", Streams(n, n_requests=n_requests, **sizes), variant=str(n))


def large(n: int, n_predict: int, n_requests: int = 1) -> Throughput:
    sizes = Streams(n, n_predict, n_requests=n_requests, sampling="default")
    return Throughput("128k", sizes, model="128k", variant=str(n))


def chat(n: int, n_requests: int) -> Throughput:
    return Throughput("chat", Streams(n, n_predict=64, n_requests=n_requests, dialect="chat"), variant=str(n))


def held(model: str, variant: str) -> Throughput:
    sizes = Streams(16, n_predict=32, sampling="default", extra={"json_schema": SCHEMA})
    return Throughput("json-schema", sizes, model=model, variant=variant)


def eight_billion(n: int, n_requests: int) -> Throughput:
    flags: tuple[Flag, ...] = (("-np", "128"), ("-c", "65536"))
    return Throughput("8b", Streams(n, n_requests=n_requests, sampling="default"), "8b", flags, variant=str(n))


SIXTEEN = Streams(16, n_requests=2)

# In an order in which a server serves as many cases as it can before another is needed.
ENTRIES: tuple[Entry, ...] = (
    entry(streams(1, 8, n_predict=256), 2.0, "full", "quick"),
    entry(streams(4, 4, n_predict=256), 2.0, "full"),
    entry(streams(16, 2), 2.0, "full", "quick"),
    entry(streams(32, 1), 2.0, "full"),
    entry(Throughput("default-sampling", replace(SIXTEEN, sampling="default")), 2.0, "full"),
    entry(Throughput("not-streamed", replace(SIXTEEN, stream=False)), 2.0, "full", "quick"),
    entry(
        Throughput("one-token", Streams(16, 1, n_requests=32, stream=False), headline="requests_per_s"),
        2.0,
        *("full", "quick"),
    ),
    entry(held("dense", ""), 2.0, "full", "quick"),
    entry(chat(1, 4), 1.5, "full", has_peers=True),
    entry(chat(16, 1), 1.5, "full", "quick", has_peers=True),
    entry(
        Throughput(
            "tools",
            Streams(16, n_predict=64, dialect="chat", sampling="default", extra={"tools": TOOLS}),
            flags=(("-np", "16"), ("-c", "32768"), ("--jinja",), ("--chat-template-file", str(TEMPLATE))),
        ),
        2.5,
        "full",
    ),
    entry(large(1, 128, 2), 2.0, "full"),
    entry(large(16, 64), 3.0, "full", "quick"),
    entry(held("128k", "128k"), 4.0, "full"),
    *(
        entry(eight_billion(n, n_requests), 6.0, "gpu")
        for n, n_requests in ((1, 2), (4, 2), (16, 1), (32, 1), (128, 1))
    ),
    entry(SharedPrefix(), 5.0, "full", "quick", most_rounds=4),
    entry(SharedPrefix(unified=True), 6.0, "full", most_rounds=4),
    entry(LongAmongStreams(), 6.0, "full", "quick", most_rounds=4),
    entry(ShortBehindLong(), 4.0, "full", "quick", most_rounds=4),
    entry(LeaveInPrefill(), 6.0, "full", most_rounds=4),
    entry(RATE, 4.0, "full", "quick"),
    entry(EmbeddingsAmongStreams(), 4.0, "full"),
    entry(StartUp("warm"), 0.7, "full", "quick"),
    entry(StartUp("cold"), 0.7, "full"),
    entry(Memory(), 3.0, "full", "quick", most_rounds=3),
    entry(Overhead(), 3.0, "full", "quick", alone=True),
    entry(Overhead(16, 64, "default", "128k"), 4.0, "full", alone=True),
    entry(Slots(), 12.0, "full", most_rounds=3),
    entry(Context(), 18.0, "full", most_rounds=2),
    entry(Entries(), 25.0, "full", alone=True, most_rounds=2),
    entry(Connections(0), 3.0, "full", alone=True, most_rounds=3),
    entry(Connections(), 3.0, "full", alone=True, most_rounds=3),
    entry(Oversubscribed(), 310.0, "long", most_rounds=1),
    *(entry(MultiTurn(each), 15.0, "long", most_rounds=4) for each in ARCHITECTURES),
    *(entry(MultiTurn(each, "completion"), 15.0, "long", most_rounds=4) for each in ARCHITECTURES),
    entry(Leak(), 60.0, "long", most_rounds=1),
)
NAMES = tuple(dict.fromkeys(each.case.name for each in ENTRIES))


def smallest(case: Case) -> Case:
    """The least form of a case, which only shows whether it runs."""
    match case:
        case Throughput(streams=sizes):
            return replace(case, streams=replace(sizes, n_streams=2, n_predict=min(sizes.n_predict, 4), n_requests=1))
        case SharedPrefix():
            return replace(case, n_clients=4, n_prefix=300)
        case LongAmongStreams():
            return replace(case, n_streams=2, n_long=2_000)
        case ShortBehindLong():
            return replace(case, n_long=2_000)
        case LeaveInPrefill():
            return replace(case, n_streams=2, n_long=4_000)
        case Oversubscribed():
            return replace(case, seconds=0.5, n_clients=4, n_pool=512, n_predict=64, n_checks=4)
        case MultiTurn():
            return replace(case, n_turns=3, n_first=100, n_user=40, n_predict=8)
        case Leak():
            return replace(case, n_requests=60, n_batch=20, n_clients=4)
        case EmbeddingsAmongStreams():
            return replace(case, n_predict=16, n_embeddings=2)
        case Overhead():
            return replace(case, n_streams=2, n_predict=16)
        case Memory():
            return replace(case, n_streams=2)
        case Slots():
            return replace(case, points=(1, 4), n_predict=8)
        case Context():
            return replace(case, points=(64, 512), n_predict=8)
        case Entries():
            return replace(case, points=(100, 200))
        case Connections():
            return replace(case, n_idle=min(case.n_idle, 20), points=(2, 4), n_requests=2)
    return case
