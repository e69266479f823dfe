"""Serve: the process: its sockets, its signals, its threads and its end.

The sockets are open and the application answers before the model is loaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from . import listen, terminal, tls
from .api.state import STATE, ServerState
from .app import LOADING, OpenEngine, make_app
from .config import Pooling, ServerConfig
from .connection import Connection
from .engine import Engine
from .loading import decide_sizes
from .log import OUTPUT, in_background
from .version import __version__

log = logging.getLogger(__name__)

LAST_S = 6.0
"""How long requests that run may take to end by themselves, after SIGTERM."""
DRAIN_S = 0.3
"""How long handlers may take, once the engine has ended its streams, to send the ends to their clients."""
THREADS_S = 0.2
"""How long other threads may take to end after everything is closed."""
IDLE_S = 650.0
"""How long a connection may be silent between requests: longer than load balancers keep theirs (Google's 600 s)."""
LINGER_S = 2.0
"""How long a client that was refused may go on sending, so that it reads why instead of a reset."""
SWITCH_INTERVAL_S = 0.0005
"""A thread that wants the GIL back after a decode waits this long at most, not the interpreter's 5 ms."""


def run(config: ServerConfig, began: float, open_engine: OpenEngine = Engine.open) -> int:
    """Serve until a signal comes; returns the exit status. Raises StartupError when nothing can be served.

    `began` is `time.perf_counter()` at the start of the process.
    """
    security = tls.context(config.http)
    listening = listen.listening(config.host, config.port, reuse_port=config.http.reuse_port)
    with listening as sockets, in_background():
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        listen.allow_connections()
        with contextlib.closing(_new_loop()) as loop:
            loop.run_until_complete(_serve(config, open_engine, Listeners(sockets, security), began))
    if not _threads_end():
        _leave()
    return 0


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _threads_end() -> bool:
    """Whether every other thread ends in time: none is loading, computing or tokenizing in C any more."""
    deadline = time.monotonic() + THREADS_S
    others = [thread for thread in threading.enumerate() if thread is not threading.current_thread()]
    for thread in others:
        thread.join(max(0.0, deadline - time.monotonic()))
    return not any(thread.is_alive() for thread in others)


def _leave() -> NoReturn:
    """End the process at once: what is under way in C cannot be interrupted, and the interpreter would wait for it."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


@dataclass(frozen=True, slots=True)
class Listeners:
    """The sockets, and what TLS on them needs; None is plain text."""

    sockets: Sequence[socket.socket]
    security: ssl.SSLContext | None

    @property
    def urls(self) -> list[str]:
        return listen.urls(self.sockets, "http" if self.security is None else "https")

    @property
    def paths(self) -> list[str]:
        return listen.paths(self.sockets)


async def _serve(config: ServerConfig, open_engine: OpenEngine, listeners: Listeners, began: float) -> None:
    stopping = _on_signals()
    app = make_app(config, open_engine)
    runner = web.AppRunner(
        app,
        handler_cancellation=True,
        access_log=None,
        logger=_http_log(),
        auto_decompress=False,  # compressed bodies are refused, not unpacked to whatever size they have
        keepalive_timeout=IDLE_S,
        lingering_time=LINGER_S,
        shutdown_timeout=DRAIN_S,
    )
    await runner.setup()
    servers = [await _accept(runner, sock, listeners.security) for sock in listeners.sockets]
    try:
        where = ", ".join([*listeners.urls, *listeners.paths])
        log.log(OUTPUT, "llamahttp %s is loading %s on %s", __version__, _model(app), where)
        if await _loaded(app, stopping):
            log.log(OUTPUT, "%s", terminal.greeting(_started(app, listeners, began)))
            gc.collect()
            gc.freeze()  # what start-up made stays: the collector need not walk it again
            await stopping.wait()
        log.log(OUTPUT, "stopping")
        for server in servers:
            server.close()
        if stopping.number == signal.SIGTERM:
            await _finish_work(app[STATE])
    finally:
        for server in servers:
            server.close()
        await runner.cleanup()


async def _finish_work(state: ServerState) -> None:
    """Let what runs come to its end, for a while. Whoever presses Ctrl-C does not want to wait."""
    state.is_stopping = True
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(state.activity.idle(), LAST_S)


async def _accept(runner: web.AppRunner, sock: socket.socket, security: ssl.SSLContext | None) -> asyncio.Server:
    handler = runner.server
    assert handler is not None, "the runner is set up"
    loop = asyncio.get_running_loop()
    return await loop.create_server(
        lambda: Connection(handler(), can_half_close=security is None),
        sock=sock,
        backlog=listen.BACKLOG,
        ssl=security,
    )


def _http_log() -> logging.Logger:
    """Where aiohttp reports faults, but not clients' malformed requests, nor clients that leave in mid-stream."""

    def is_fault(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, HttpProcessingError | ConnectionError)

    http_log = logging.getLogger(f"{__package__}.http")
    http_log.addFilter(is_fault)
    return http_log


class Stopping(asyncio.Event):
    """Set by the first signal that ends the program; `number` tells which."""

    number = 0


def _on_signals() -> Stopping:
    """An event that the first SIGINT or SIGTERM sets. The second one ends the process at once."""
    stopping = Stopping()

    def on_signal(number: int) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        stopping.number = number
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
    return stopping


async def _loaded(app: web.Application, stopping: asyncio.Event) -> bool:
    """Wait for the model. False when a signal came first. Raises the StartupError that ended loading."""
    state, loading = app[STATE], app[LOADING]
    progress = asyncio.create_task(terminal.show_progress(state.config.log, lambda: state.progress))
    signalled = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({loading, signalled}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (progress, signalled):
            task.cancel()
        await asyncio.gather(progress, signalled, return_exceptions=True)
    if not loading.done():
        return False
    loading.result()
    if state.error is not None:
        raise state.error
    return True


def _model(app: web.Application) -> str:
    return app[STATE].config.engine.model.name


def _started(app: web.Application, listeners: Listeners, began: float) -> terminal.Started:
    state = app[STATE]
    engine = state.require_engine()
    _, sizes = decide_sizes(state.config.engine, engine.info.n_ctx_train)
    return terminal.Started(
        config=state.config,
        model=engine.info,
        library=engine.library_version,
        compute=engine.compute,
        n_slots=engine.n_slots,
        n_ctx_slot=engine.n_ctx_slot,
        kv_unified=sizes.kv_unified,
        n_threads=sizes.n_threads,
        purpose=_purpose(engine),
        urls=listeners.urls,
        paths=listeners.paths,
        seconds=time.perf_counter() - began,
    )


def _purpose(engine: Engine) -> terminal.Purpose:
    if engine.generates or engine.embedder is None:
        return terminal.Purpose.CHAT
    is_ranker = engine.embedder.pooling is Pooling.RANK
    return terminal.Purpose.RERANKING if is_ranker else terminal.Purpose.EMBEDDING
