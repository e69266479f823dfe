"""CPU threads: how many, where, and how eager."""

from __future__ import annotations

import string

from .row import Flag, Value
from .values import N_THREADS_MAX, boolean, integer, n_threads


def cpu_mask(value: str) -> frozenset[int]:
    """Hexadecimal digits, the last of which stands for CPUs 0 to 3."""
    digits = value.removeprefix("0x")
    if not digits or set(digits) - set(string.hexdigits):
        raise ValueError(f"{value!r} is not a mask: give hexadecimal digits")
    bits = int(digits, 16)
    if bits == 0 or bits >> N_THREADS_MAX:
        raise ValueError(f"{value!r} names no CPU, or one above {N_THREADS_MAX - 1}")
    return frozenset(i for i in range(bits.bit_length()) if bits >> i & 1)


def cpu_range(value: str) -> frozenset[int]:
    """`LOW-HIGH`, both inclusive; either may be left out."""
    low, dash, high = value.partition("-")
    if not dash:
        raise ValueError(f"{value!r} is not a range: give LOW-HIGH")
    cpu = integer(0, N_THREADS_MAX - 1)
    first, last = cpu(low or "0"), cpu(high or str(N_THREADS_MAX - 1))
    if last < first:
        raise ValueError(f"{value!r} is an empty range")
    return frozenset(range(first, last + 1))


def _placement(suffix: str, letter: str, target: str, same: str) -> tuple[Flag, ...]:
    batch = bool(suffix)
    return (
        Value(
            names=(f"-C{letter}", f"--cpu-mask{suffix}"),
            target=f"{target}.cpus",
            metavar="M",
            parse=cpu_mask,
            help=f"CPUs to run on, as hexadecimal digits (default: {same or 'any'})",
        ),
        Value(
            names=(f"-Cr{letter}", f"--cpu-range{suffix}"),
            target=f"{target}.cpus",
            metavar="lo-hi",
            parse=cpu_range,
            help=f"the same as a range; adds to --cpu-mask{suffix}",
        ),
        Value(
            names=(f"--cpu-strict{suffix}",),
            target=f"{target}.is_strict",
            metavar="<0|1>",
            parse=boolean,
            help=f"one CPU for each thread (default: {same or '0'})",
        ),
        Value(
            names=(f"--prio{suffix}",),
            target=f"{target}.priority",
            metavar="N",
            parse=integer(0 if batch else -1, 3),
            help=f"priority:{'' if batch else ' -1 low,'} 0 normal, 1 medium, 2 high, 3 realtime "
            f"(default: {same or '0'})",
        ),
        Value(
            names=(f"--poll{suffix}",),
            target=f"{target}.poll",
            metavar="<0|1>" if batch else "<0...100>",
            parse=integer(0, 100),
            help="how long threads wait for work before they sleep, in builds of libllama without OpenMP "
            f"(default: {same or '50'})",
        ),
    )


CPU: tuple[Flag, ...] = (
    Value(
        names=("-t", "--threads"),
        target="engine.n_threads",
        metavar="N",
        parse=n_threads,
        env="LLAMA_ARG_THREADS",
        help="CPU threads while generating (default: {}, -1 = automatic)",
    ),
    Value(
        names=("-tb", "--threads-batch"),
        target="engine.n_threads_batch",
        metavar="N",
        parse=n_threads,
        help="CPU threads for prompts (default: the same as --threads)",
    ),
    *_placement("", "", "engine.compute.cpu", ""),
    *_placement("-batch", "b", "engine.compute.cpu_batch", "as without -batch"),
)
