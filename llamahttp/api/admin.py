"""Admin: how the server is and what it serves: health, properties, metrics."""

from __future__ import annotations

import asyncio
import contextlib
import functools

from aiohttp import web

from ..errors import NotSupported, Unavailable
from ..version import __version__
from . import fragments
from .body import json_response, read_optional
from .state import STATE

SNAPSHOT_S = 1.0
"""How long monitors wait for the engine; it answers between two steps."""


DOCUMENT: web.AppKey[functools.partial[bytes]] = web.AppKey("document", functools.partial)
"""Gives `/openapi.json`; `setup` knows the routes."""


async def health(http: web.Request) -> web.Response:
    """`ok` while the engine runs; its error once it has given up. Loading is answered by the middleware."""
    engine = http.app[STATE].require_engine()
    if engine.failed is not None:
        raise engine.failed.with_traceback(None)  # else it would grow by its frames with every question
    if engine.rebuilding:
        raise Unavailable("Rebuilding the context after a fatal error", retry_after=1)
    return json_response({"status": "ok"})


async def props(http: web.Request) -> web.Response:
    """What the server is: model, template, slots, and what requests get that set nothing."""
    state = http.app[STATE]
    engine, template = state.require_engine(), state.require_template()
    variants = {"chat_template_tool_use": template.tool_use.source} if template.tool_use else {}
    return json_response(
        {
            "default_generation_settings": {
                "params": fragments.default_settings(state.defaults),
                "n_ctx": engine.n_ctx_slot,
            },
            "total_slots": engine.n_slots,
            "model_alias": state.model_name,
            "model_ftype": engine.info.ftype,
            "model_path": engine.info.path,
            "modalities": {"vision": False, "video": False, "audio": False},
            "media_marker": "<__media__>",
            "endpoint_slots": state.config.slots,
            "endpoint_props": state.config.props,
            "endpoint_metrics": state.config.metrics,
            "ui": state.config.http.ui,
            "ui_settings": dict(state.config.ui_settings),
            "chat_template": template.source.removesuffix("\n"),  # as in llama-server
            "chat_template_caps": template.caps.to_props(),
            "bos_token": template.bos,
            "eos_token": template.eos,
            "build_info": state.fingerprint,
            "is_sleeping": state.is_sleeping,
            "cors_proxy_enabled": False,
            **variants,
        }
    )


async def change_props(http: web.Request) -> web.Response:
    """Change properties, of which llama-server has none that can be changed. Needs `--props`."""
    state = http.app[STATE]
    if not state.config.props:
        raise NotSupported("This server does not support changing global properties. Start it with `--props`")
    await read_optional(http, state.config.max_body)
    return json_response({"success": True})


async def openapi(http: web.Request) -> web.Response:
    """This document."""
    return web.Response(body=http.app[DOCUMENT](), content_type="application/json", charset="utf-8")


async def metrics(http: web.Request) -> web.Response:
    """Counters and histograms for Prometheus. Needs `--metrics`."""
    state = http.app[STATE]
    if not state.config.metrics:
        raise NotSupported("This server does not support metrics endpoint. Start it with `--metrics`")
    engine = state.require_engine()
    if not state.is_sleeping:
        state.metrics.introduce(engine.meter)
        with contextlib.suppress(asyncio.TimeoutError):  # a long step: then the last snapshot is shown, and its age
            state.metrics.update(await asyncio.wait_for(engine.snapshot(), SNAPSHOT_S))
    labels = {"model": state.model_name, "version": __version__, "llama_cpp": engine.library_version}
    body, content_type = state.metrics.render(http.headers.get("Accept", ""), labels)
    return web.Response(
        body=body, headers={"Content-Type": content_type, "Process-Start-Time-Unix": str(state.created)}
    )
