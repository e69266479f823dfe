"""The HTTP side: requests in the dialects that clients speak, to tasks for the engine and back."""

from __future__ import annotations

from aiohttp import web

from ..errors import NotSupported
from . import admin, embeddings, lora, native, openai, rerank, slots
from .middleware import add_headers
from .page import FILES, page

LATER = (
    "/infill",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/responses",
)
"""Routes of llama-server that are not there yet."""


async def later(http: web.Request) -> web.StreamResponse:
    """Refuse one of `LATER`, so that a client learns more than that it is not there."""
    raise NotSupported(f"this server does not have {http.path} yet")


def setup(app: web.Application) -> None:
    """Add the routes. The application must also have `state.STATE` and `middleware.MIDDLEWARES`."""
    app.on_response_prepare.append(add_headers)
    router = app.router
    for path in FILES:
        router.add_get(path, page)
    for prefix in ("", "/v1"):
        router.add_get(f"{prefix}/health", admin.health)
        router.add_get(f"{prefix}/models", openai.models)
        router.add_post(f"{prefix}/chat/completions", openai.chat_completion)
        router.add_post(f"{prefix}/rerank", rerank.rerank)
        router.add_post(f"{prefix}/reranking", rerank.rerank)
    router.add_get("/props", admin.props)
    router.add_post("/props", admin.change_props)
    router.add_get("/slots", slots.slots)
    router.add_post("/slots/{id_slot}", slots.slot_action)
    router.add_get("/metrics", admin.metrics)
    router.add_get("/lora-adapters", lora.show_adapters)
    router.add_post("/lora-adapters", lora.set_scales)
    router.add_post("/completion", native.completion)
    router.add_post("/completions", native.completion)
    router.add_post("/v1/completions", openai.text_completion)
    router.add_post("/v1/chat/completions/control", openai.control)
    router.add_post("/embedding", embeddings.embeddings)
    router.add_post("/embeddings", embeddings.embeddings)
    router.add_post("/v1/embeddings", embeddings.openai_embeddings)
    router.add_post("/tokenize", native.tokenize)
    router.add_post("/detokenize", native.detokenize)
    router.add_post("/apply-template", native.apply_template)
    for path in LATER:
        router.add_route("*", path, later)
