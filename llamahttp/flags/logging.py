"""What is logged, how, and where to."""

from __future__ import annotations

from pathlib import Path

from .row import Constant, Flag, Switch, Value
from .values import INT_MAX, integer, on_off_auto

LOGGING: tuple[Flag, ...] = (
    Constant(names=("--log-disable",), target="log.disable", value=True, help="log nothing"),
    Value(
        names=("--log-file",),
        target="log.file",
        metavar="FNAME",
        parse=Path,
        env="LLAMA_ARG_LOG_FILE",
        help="log to this file as well",
    ),
    Value(
        names=("--log-colors",),
        target="log.colors",
        metavar="[on|off|auto]",
        parse=on_off_auto,
        env="LLAMA_ARG_LOG_COLORS",
        help="colours on the terminal (default: auto)",
    ),
    Switch(
        names=("--log-jsonl",),
        off=("--no-log-jsonl",),
        target="log.jsonl",
        env="LLAMA_ARG_LOG_JSONL",
        help="log to stdout as one JSON object a line (default: {})",
    ),
    Constant(
        names=("-v", "--verbose", "--log-verbose"),
        target="log.verbosity",
        value=INT_MAX,
        help="log everything",
    ),
    Value(
        names=("-lv", "--verbosity", "--log-verbosity"),
        target="log.verbosity",
        metavar="N",
        parse=integer(0),
        env="LLAMA_ARG_LOG_VERBOSITY",
        help="how much to log: 0 output only, 1 errors, 2 warnings, 3 info, 4 trace, 5 debug (default: {})",
    ),
    Switch(
        names=("--log-prefix",),
        off=("--no-log-prefix",),
        target="log.prefix",
        env="LLAMA_ARG_LOG_PREFIX",
        help="a letter for the level before each message (default: {})",
    ),
    Switch(
        names=("--log-timestamps",),
        off=("--no-log-timestamps",),
        target="log.timestamps",
        env="LLAMA_ARG_LOG_TIMESTAMPS",
        help="the time before each message (default: {})",
    ),
)
