"""Terminal: what a user sees between starting the server and its first request."""

from __future__ import annotations

import asyncio
import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NoReturn

from .abc import ModelInfo
from .config import DEMO_MODEL, LogConfig, ServerConfig
from .listen import is_loopback
from .log import OUTPUT, is_terminal
from .version import __version__

log = logging.getLogger(__name__)

BAR_WIDTH = 30
REDRAW_S = 0.1
SPARSE_S = 5.0
"""Seconds between progress lines where there is no terminal to draw on."""


class Purpose(Enum):
    """What a model is for: a route, and a body to try it with."""

    CHAT = "chat/completions", '{"messages": [{"role": "user", "content": "Hello!"}]}'
    EMBEDDING = "embeddings", '{"input": ["a cat", "a dog"]}'
    RERANKING = "rerank", '{"query": "What purrs?", "documents": ["a car", "a cat"]}'


@dataclass(frozen=True, slots=True)
class Started:
    """What is known once the server is ready."""

    config: ServerConfig
    model: ModelInfo
    library: str
    """Version line of libllama."""
    compute: str
    """What computes, in words."""
    n_slots: int
    n_ctx_slot: int
    kv_unified: bool
    n_threads: int
    purpose: Purpose
    urls: Sequence[str]
    """Without the prefix of every path."""
    paths: Sequence[str]
    """Of UNIX sockets; there is a URL or a path."""
    seconds: float
    """From the start of the process."""


def greeting(started: Started) -> str:
    """Everything a user wants to know, several lines of text."""
    lines = [f"llamahttp {__version__}, llama.cpp {started.library}", ""]
    lines += [f"  {name:<9} {value}" for name, value in _facts(started)]
    lines += [
        "",
        f"  ready in {started.seconds:.1f} s; Ctrl-C stops it",
        "",
        "Try it:",
        "",
        *_curl(started),
        "",
    ]
    return "\n".join(lines)


def _facts(started: Started) -> list[tuple[str, str]]:
    model = started.model
    desc = model.desc.replace(" ?B", "")  # libllama's word for a size that it has no name for
    about = f"{desc}, {_count(model.n_params)} parameters, {size(model.n_bytes)}"
    facts = [("model", f"{started.config.engine.model.name}: {about}")]
    if started.config.engine.model == DEMO_MODEL:
        facts.append(("", "the built-in demo, a toy; load your own with -m model.gguf"))
    facts.append(("slots", _slots(started)))
    facts.append(("compute", f"{started.compute}; {started.n_threads} threads"))
    facts.append(("API key", _key(started.config)))
    prefix = started.config.http.api_prefix
    if started.config.http.ui:
        facts += _listed("web page", [f"{url}{prefix}/" if prefix else url for url in started.urls])
    facts += _listed("API", [f"{url}{prefix}/v1" for url in started.urls[:1]])
    facts += _listed("socket", started.paths)
    return facts


def _listed(name: str, values: Sequence[str]) -> list[tuple[str, str]]:
    return [("" if i else name, value) for i, value in enumerate(values)]


def _key(config: ServerConfig) -> str:
    if config.api_keys:
        return "needed"
    return "not needed" if is_loopback(config.host) else "not needed: whoever reaches this machine may use it"


def _slots(started: Started) -> str:
    if started.kv_unified and started.n_slots > 1:
        return f"{started.n_slots}, sharing {started.n_ctx_slot} tokens of context"
    return f"{started.n_slots} x {started.n_ctx_slot} tokens of context"


def _curl(started: Started) -> list[str]:
    where = started.urls[0] if started.urls else f"--unix-socket {shlex.quote(started.paths[0])} http://localhost"
    where += started.config.http.api_prefix
    route, body = started.purpose.value
    key = " -H 'Authorization: Bearer YOUR-KEY'" if started.config.api_keys else ""
    return [
        f"  curl {where}/v1/{route} -H 'Content-Type: application/json'{key} \\",
        f"    -d '{body}'",
    ]


def _count(number: int) -> str:
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g} {unit}"
    return str(number)


def size(n_bytes: int) -> str:
    """Bytes in the unit that suits them."""
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if n_bytes >= 1 << power:
            return f"{n_bytes / (1 << power):.1f} {unit}"
    return f"{n_bytes} bytes"


async def show_progress(
    config: LogConfig, progress: Callable[[], float], what: str = "loading", detail: Callable[[], str] = str
) -> None:
    """Show how far something is (0 to 1), and perhaps more about it, until cancelled: a bar on a terminal, else a line
    now and then."""
    if is_terminal(sys.stdout) and not config.disable and not config.jsonl:
        await _draw_bar(progress, what, detail)
    while True:
        await asyncio.sleep(SPARSE_S)
        more = detail()
        log.log(OUTPUT, "%s: %.0f %%%s", what, 100 * progress(), f", {more}" if more else "")


async def _draw_bar(progress: Callable[[], float], what: str, detail: Callable[[], str]) -> NoReturn:
    try:
        while True:
            done = min(max(progress(), 0.0), 1.0)
            n_full = round(done * BAR_WIDTH)
            bar = "#" * n_full + "." * (BAR_WIDTH - n_full)
            sys.stdout.write(f"\r\x1b[K{what} [{bar}] {100 * done:3.0f} %  {detail()}".rstrip())
            sys.stdout.flush()
            await asyncio.sleep(REDRAW_S)
    finally:
        sys.stdout.write("\r\x1b[K")
        sys.stdout.flush()
