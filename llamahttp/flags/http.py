"""Where the server listens, to whom, and what it tells."""

from __future__ import annotations

from .row import Constant, Flag, Switch, Value
from .values import alias, api_key_file, api_keys, integer

HTTP: tuple[Flag, ...] = (
    Value(
        names=("--host",),
        target="host",
        metavar="HOST",
        parse=str,
        env="LLAMA_ARG_HOST",
        help="addresses to listen on, comma-separated; a path ending in .sock is a UNIX socket (default: {})",
    ),
    Value(
        names=("--port",),
        target="port",
        metavar="PORT",
        parse=integer(0, 65535),
        env="LLAMA_ARG_PORT",
        help="port to listen on, 0 = any that is free (default: {})",
    ),
    Switch(
        names=("--slots",),
        off=("--no-slots",),
        target="slots",
        env="LLAMA_ARG_ENDPOINT_SLOTS",
        help="tell at GET /slots what the slots do (default: {})",
    ),
    Constant(
        names=("--metrics",),
        target="metrics",
        value=True,
        env="LLAMA_ARG_ENDPOINT_METRICS",
        help="serve counters for Prometheus at GET /metrics",
    ),
    Value(
        names=("-a", "--alias"),
        target="alias",
        metavar="STRING",
        parse=alias,
        env="LLAMA_ARG_ALIAS",
        help="the model's name for clients (default: the name of its file)",
    ),
    Value(
        names=("--api-key",),
        target="api_keys",
        metavar="KEY",
        parse=api_keys,
        env="LLAMA_API_KEY",
        help="keys that clients may use, comma-separated (default: none is needed)",
    ),
    Value(
        names=("--api-key-file",),
        target="api_keys",
        metavar="FNAME",
        parse=api_key_file,
        env="LLAMA_ARG_API_KEY_FILE",
        help="file with one key a line; lines that begin with # are comments",
    ),
)
