"""Routes: every path of the server. The application is set up from this table, and `/openapi.json` is made from it."""

from __future__ import annotations

from typing import Any

from . import (
    admin,
    chat_completion,
    completion_shapes,
    embeddings,
    lora,
    native,
    openai,
    parameters,
    rerank,
    resume,
    shapes,
    slots,
)
from .anthropic import messages
from .anthropic import shapes as anthropic_shapes
from .anthropic.errors import anthropic_error_body
from .anthropic.parameters import COUNT_TABLE, MESSAGES_TABLE
from .body import openai_error_body
from .responses import handlers
from .responses import parameters as responses_parameters
from .responses import shapes as responses_shapes
from .route import Refusals, Route, disabled, missing

TWO_SHAPES = (completion_shapes.Completion, list[completion_shapes.Completion])
COMPLETION_EVENTS = (completion_shapes.CompletionChunk, completion_shapes.Completion)
EVENTS = "text/event-stream"
MEDIA = "it takes a model that hears, which this server cannot load"
ROUTER = "it belongs to a router of several models; this server serves one"
OPENAI = Refusals(responses_shapes.OpenAIError, openai_error_body)
ANTHROPIC = Refusals(anthropic_shapes.MessagesError, anthropic_error_body)


def both(path: str) -> tuple[str, str]:
    """A path with and without the version of OpenAI's API."""
    return path, f"/v1{path}"


TEXT: tuple[Route, ...] = (
    Route(
        "POST",
        ("/completion", "/completions"),
        native.completion,
        "Text",
        parameters.NATIVE_TABLE,
        answers=TWO_SHAPES,
        events=COMPLETION_EVENTS,
    ),
    Route(
        "POST",
        ("/infill",),
        native.infill,
        "Text",
        parameters.INFILL_TABLE,
        answers=TWO_SHAPES,
        events=COMPLETION_EVENTS,
    ),
    Route(
        "POST",
        ("/v1/completions",),
        openai.text_completion,
        "Text",
        parameters.TEXT_TABLE,
        answers=(completion_shapes.TextCompletion,),
        events=(completion_shapes.TextCompletionChunk,),
    ),
)

CHAT: tuple[Route, ...] = (
    Route(
        "POST",
        both("/chat/completions"),
        chat_completion.chat_completion,
        "Chat",
        parameters.CHAT_TABLE,
        answers=(completion_shapes.ChatCompletion,),
        events=(completion_shapes.ChatCompletionChunk,),
    ),
    Route(
        "POST",
        both("/chat/completions/input_tokens"),
        openai.input_tokens,
        "Chat",
        parameters.CHAT_TABLE,
        answers=(shapes.InputTokens,),
    ),
    Route(
        "POST",
        ("/v1/chat/completions/control",),
        openai.control,
        "Chat",
        parameters.CONTROL_TABLE,
        answers=(shapes.ControlResult,),
    ),
    Route(
        "POST",
        ("/apply-template",),
        native.apply_template,
        "Chat",
        parameters.CHAT_TABLE,
        answers=(shapes.RenderedPrompt,),
    ),
    Route(
        "POST",
        ("/v1/messages",),
        messages.messages,
        "Chat",
        MESSAGES_TABLE,
        answers=(anthropic_shapes.AnthropicMessage,),
        events=anthropic_shapes.MESSAGE_EVENTS,
        refusals=ANTHROPIC,
    ),
    Route(
        "POST",
        ("/v1/messages/count_tokens",),
        messages.count_message_tokens,
        "Chat",
        COUNT_TABLE,
        answers=(anthropic_shapes.MessageTokens,),
        refusals=ANTHROPIC,
    ),
    Route("POST", both("/audio/transcriptions"), missing(MEDIA), "Chat"),
)

RESPONSES: tuple[Route, ...] = (
    Route(
        "POST",
        both("/responses"),
        handlers.create,
        "Responses",
        responses_parameters.RESPONSE_TABLE,
        answers=(responses_shapes.Response,),
        events=responses_shapes.EVENTS,
        refusals=OPENAI,
    ),
    Route(
        "POST",
        both("/responses/input_tokens"),
        handlers.input_tokens,
        "Responses",
        responses_parameters.RESPONSE_TABLE,
        answers=(shapes.InputTokens,),
        refusals=OPENAI,
    ),
    Route(
        "GET",
        ("/v1/responses/{response_id}",),
        handlers.retrieve,
        "Responses",
        query=responses_parameters.RETRIEVE_QUERY,
        segments=responses_parameters.SEGMENTS,
        answers=(responses_shapes.Response,),
        refusals=OPENAI,
    ),
    Route(
        "DELETE",
        ("/v1/responses/{response_id}",),
        handlers.delete,
        "Responses",
        segments=responses_parameters.SEGMENTS,
        answers=(responses_shapes.DeletedResponse,),
        refusals=OPENAI,
    ),
    Route(
        "POST",
        ("/v1/responses/{response_id}/cancel",),
        handlers.cancel,
        "Responses",
        segments=responses_parameters.SEGMENTS,
        answers=(responses_shapes.Response,),
        refusals=OPENAI,
    ),
    Route(
        "GET",
        ("/v1/responses/{response_id}/input_items",),
        handlers.input_items,
        "Responses",
        query=responses_parameters.ITEMS_QUERY,
        segments=responses_parameters.SEGMENTS,
        answers=(responses_shapes.ItemList,),
        refusals=OPENAI,
    ),
)

TOKENS: tuple[Route, ...] = (
    Route("POST", ("/tokenize",), native.tokenize, "Tokens", parameters.TOKENIZE_TABLE, answers=(shapes.TokenIds,)),
    Route("POST", ("/detokenize",), native.detokenize, "Tokens", parameters.DETOKENIZE_TABLE, answers=(shapes.Text,)),
)

VECTORS: tuple[Route, ...] = (
    Route(
        "POST",
        ("/embedding", "/embeddings"),
        embeddings.embeddings,
        "Vectors",
        embeddings.TABLE,
        answers=(list[shapes.Embedding],),
    ),
    Route(
        "POST",
        ("/v1/embeddings",),
        embeddings.openai_embeddings,
        "Vectors",
        embeddings.TABLE,
        answers=(shapes.OpenAIEmbeddings, list[shapes.Embedding]),
    ),
    Route(
        "POST",
        (*both("/rerank"), *both("/reranking")),
        rerank.rerank,
        "Vectors",
        rerank.TABLE,
        answers=(shapes.JinaRanking, list[shapes.TeiRank]),
    ),
)

SERVER: tuple[Route, ...] = (
    Route("GET", both("/health"), admin.health, "Server", answers=(shapes.Health,)),
    Route("GET", both("/models"), openai.models, "Server", answers=(shapes.Models,)),
    Route("GET", both("/models/{model}"), openai.model, "Server", segments=openai.SEGMENTS, answers=(shapes.Model,)),
    Route("GET", ("/props",), admin.props, "Server", answers=(shapes.Props,)),
    Route("POST", ("/props",), admin.change_props, "Server", Any, answers=(shapes.Success,)),
    Route("GET", ("/metrics",), admin.metrics, "Server", content_type="text/plain"),
    Route("GET", ("/slots",), slots.slots, "Server", query=slots.QUERY, answers=(list[shapes.Slot],)),
    Route(
        "POST",
        ("/slots/{id_slot}",),
        slots.slot_action,
        "Server",
        parameters.SLOT_FILE_TABLE,
        query=slots.ACTION_QUERY,
        segments=slots.SEGMENTS,
        answers=(shapes.SavedSlot, shapes.RestoredSlot, shapes.ErasedSlot),
    ),
    Route("GET", ("/lora-adapters",), lora.show_adapters, "Server", answers=(list[shapes.Adapter],)),
    Route(
        "POST",
        ("/lora-adapters",),
        lora.set_scales,
        "Server",
        list[parameters.AdapterScale],
        answers=(shapes.Success,),
    ),
    Route("GET", ("/openapi.json",), admin.openapi, "Server", answers=(dict[str, Any],)),
)

STREAMS: tuple[Route, ...] = (
    Route("GET", ("/v1/stream",), resume.resume, "Streams", query=resume.QUERY, content_type=EVENTS),
    Route("DELETE", ("/v1/stream",), resume.stop, "Streams", query=resume.QUERY[:1], content_type=""),
    Route("POST", ("/v1/streams/lookup",), resume.lookup, "Streams", resume.TABLE, answers=(list[resume.Found],)),
)

ELSEWHERE: tuple[Route, ...] = (
    Route("POST", ("/models",), missing(ROUTER), "Router"),
    Route("DELETE", ("/models",), missing(ROUTER), "Router"),
    Route("POST", ("/models/load",), missing(ROUTER), "Router"),
    Route("POST", ("/models/unload",), missing(ROUTER), "Router"),
    Route("GET", ("/models/sse",), missing(ROUTER), "Router"),
    Route("GET", ("/cors-proxy",), disabled, "Router"),
    Route("POST", ("/cors-proxy",), disabled, "Router"),
    Route("GET", ("/tools",), disabled, "Router"),
    Route("POST", ("/tools",), disabled, "Router"),
)
"""What llama-server has, and this server does not."""

ROUTES: tuple[Route, ...] = (*TEXT, *CHAT, *RESPONSES, *TOKENS, *VECTORS, *SERVER, *STREAMS, *ELSEWHERE)
