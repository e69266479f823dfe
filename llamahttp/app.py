"""App: the composition root. Puts the application and the engine together, and takes them down again.

HTTP answers first, with 503 while the model loads behind it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from . import api
from .api.calls import Reading
from .api.constraints import compile_format
from .api.middleware import MIDDLEWARES
from .api.state import STATE, ServerState
from .builtin_templates import BUILTIN_TEMPLATES, CHATML
from .chat_template import ChatTemplate
from .config import EngineConfig, ServerConfig
from .engine import Engine
from .errors import LlamaHTTPError, StartupError
from .sleep import Sleep
from .structured.answer import JsonAnswer

log = logging.getLogger(__name__)

CLOSE_S = 1.0
"""How long the engine may take to end its streams before the process leaves without it."""

OpenEngine = Callable[[EngineConfig, Callable[[float], None]], Awaitable[Engine]]

LOADING: web.AppKey[asyncio.Task[None]] = web.AppKey("loading", asyncio.Task)
SLEEPING: web.AppKey[asyncio.Task[None]] = web.AppKey("sleeping", asyncio.Task)


def make_app(config: ServerConfig, open_engine: OpenEngine = Engine.open) -> web.Application:
    """The application. Starting it begins to load the model; shutting it down ends every stream, then the engine."""
    app = web.Application(middlewares=MIDDLEWARES)
    app[STATE] = ServerState(config)

    async def start(app: web.Application) -> None:
        app[LOADING] = asyncio.create_task(_load(app[STATE], open_engine))
        app[SLEEPING] = asyncio.create_task(_sleep(app, open_engine))

    app.on_startup.append(start)
    # Not at cleanup: that comes after the handlers have ended, and streams end only with the engine.
    app.on_shutdown.append(_stop)
    api.setup(app)
    return app


async def _load(state: ServerState, open_engine: OpenEngine) -> None:
    def on_progress(done: float) -> None:
        state.progress = done

    try:
        engine = await open_engine(state.config.engine, on_progress)
        try:
            check_biases(state.config, engine)
            await check_form(state.config, engine)
            state.template = make_template(state.config, engine)
        except StartupError:
            await engine.close()
            raise
        state.engine = engine
        state.prepare_chat()
    except StartupError as error:
        state.error = error
    except LlamaHTTPError as error:  # a configuration that no flag can make, from a caller's own program
        state.error = StartupError(str(error))


async def _sleep(app: web.Application, open_engine: OpenEngine) -> None:
    """Once the model is loaded, let it sleep when the configuration says so."""
    await asyncio.wait({app[LOADING]})
    state = app[STATE]
    if state.engine is None or state.config.sleep_idle_seconds < 0:
        return

    async def load() -> Engine:
        return await open_engine(state.config.engine, lambda done: None)

    sleep = Sleep(state, load)
    state.wake = sleep.wake
    await sleep.run()


async def _stop(app: web.Application) -> None:
    tasks = {app[LOADING], app[SLEEPING]}
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=CLOSE_S)  # an engine that is warming up is closed there
    await _close_engine(app)
    await app[STATE].sessions.close()
    app[STATE].renderer.close()


async def _close_engine(app: web.Application) -> None:
    engine = app[STATE].engine
    if engine is None:
        return
    done, _ = await asyncio.wait({asyncio.create_task(engine.close())}, timeout=CLOSE_S)
    for closing in done:
        closing.result()


def check_biases(config: ServerConfig, engine: Engine) -> None:
    """Raises StartupError for --logit-bias of what is not in the vocabulary: every request would fail."""
    n = engine.vocab.n_tokens
    for token, _ in config.sampling.logit_bias or ():
        if token >= n:
            raise StartupError(f"--logit-bias: there is no token {token}; the vocabulary has {n}")


async def check_form(config: ServerConfig, engine: Engine) -> None:
    """Raises StartupError for a --grammar or --json-schema that nothing can obey, or that cannot be seen to."""
    sampling = config.sampling
    try:
        if sampling.grammar:
            await engine.compile_grammar(sampling.grammar)
    except LlamaHTTPError as error:
        raise StartupError(f"--grammar: {error}") from None
    try:
        if sampling.json_schema is not None:
            await compile_format(engine, "json_schema", JsonAnswer(sampling.json_schema), Reading())
    except LlamaHTTPError as error:
        reason = str(error).removeprefix("Field 'json_schema': ")
        raise StartupError(f"--json-schema: {reason}") from None


def make_template(config: ServerConfig, engine: Engine) -> ChatTemplate:
    """The chat template: the one configured, else the model's, else ChatML. Raises StartupError for the first only."""
    vocab = engine.vocab
    bos, eos = (
        vocab.special_pieces[token].decode(errors="replace") if token >= 0 else "" for token in (vocab.bos, vocab.eos)
    )

    def make(source: str, tool_use: ChatTemplate | None = None) -> ChatTemplate:
        template = ChatTemplate(source, bos=bos, eos=eos, strip_bos=vocab.adds_bos, tool_use=tool_use)
        if template.fault:
            fault = " ".join(template.fault.split())
            log.warning("the chat template renders no chat, so that each will be refused: %s", fault)
        return template

    def make_models(variant: str, tool_use: ChatTemplate | None = None) -> ChatTemplate | None:
        source = engine.info.chat_templates.get(variant)
        try:
            return make(source, tool_use) if source else None
        except LlamaHTTPError as error:
            log.warning("the model's chat template (%s) cannot be used: %s", variant, error)
            return None

    if config.chat_template:
        try:
            return make(BUILTIN_TEMPLATES.get(config.chat_template, config.chat_template))
        except LlamaHTTPError as error:
            raise StartupError(f"--chat-template: {error}") from None
    tool_use = make_models("tool_use")
    return make_models("default", tool_use) or tool_use or make(CHATML)
