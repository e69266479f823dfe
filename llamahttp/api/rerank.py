"""Rerank: documents by how well they answer a query, in the shapes of Jina and of Text Embeddings Inference."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
from aiohttp import web
from numpy.typing import NDArray

from ..engine import Engine
from ..errors import InvalidRequest
from ..task import EmbeddingTask
from .body import json_response, read_object
from .embeddings import MAX_INPUTS, model_name
from .field import INT32_MAX, Field, Kind, Table
from .lora import active
from .parameters import MODEL
from .state import STATE

TABLE = Table(
    (
        MODEL,
        Field("query", Kind.ANY, None, "What is asked. Has to be given.", shape=str),
        Field(
            "documents",
            Kind.ANY,
            None,
            "Texts to be ranked; Jina's shape. These or `texts` are given.",
            shape=list[str],
        ),
        Field("texts", Kind.ANY, None, "The same in TEI's shape.", shape=list[str]),
        Field("top_n", Kind.INTEGER, None, "Documents to give, the best; all unless given.", low=0, high=INT32_MAX),
        Field("return_text", Kind.BOOLEAN, False, "With `texts`: give each text too."),
    )
)


async def rerank(http: web.Request) -> web.Response:
    """Rank documents by how well they answer a query. Needs `--rerank`.

    A body with `texts` is answered in TEI's shape, one with `documents` in Jina's.
    """
    state = http.app[STATE]
    engine = state.require_engine()
    engine.require_embedder(ranks=True)
    body = await read_object(http, state.config.max_body)
    query, documents = _query(body), _documents(body)
    values = TABLE.decode(body)
    prompts = await _tokenize(engine, query, documents)
    scores = await _score(engine, EmbeddingTask(prompts, active(state.lora_scales)))
    best = sorted(range(len(scores)), key=lambda index: -scores[index])[: values["top_n"]]
    if "texts" in body:
        texts = [{"text": documents[index]} if values["return_text"] else {} for index in best]
        return json_response([{"index": i, "score": scores[i]} | text for i, text in zip(best, texts, strict=True)])
    return json_response(_jina(model_name(http, body), prompts, scores, best))


def _query(body: Mapping[str, object]) -> str:
    query = body.get("query")
    if query is None:
        raise InvalidRequest('"query" must be provided')
    if not isinstance(query, str):
        raise InvalidRequest('"query" must be a string')
    return query


def _documents(body: Mapping[str, object]) -> list[str]:
    documents = body.get("documents", body.get("texts"))
    if not isinstance(documents, list) or not documents or not all(isinstance(text, str) for text in documents):
        raise InvalidRequest('"documents" must be a non-empty string array')
    if len(documents) > MAX_INPUTS:
        raise InvalidRequest(f'"documents" has {len(documents)} entries, but at most {MAX_INPUTS} are allowed')
    return documents


async def _tokenize(engine: Engine, query: str, documents: list[str]) -> tuple[NDArray[np.int32], ...]:
    prompts = []
    for document in documents:
        prompts.append(await engine.tokenize_pair(query, document))
        await asyncio.sleep(0)  # many short texts would hold up everybody else
    return tuple(prompts)


async def _score(engine: Engine, task: EmbeddingTask) -> list[float]:
    scores = [0.0] * len(task.inputs)
    async with engine.submit_embedding(task) as stream:
        async for result in stream:
            for index, vectors in result.vectors:
                scores[index] = float(vectors[0, 0])
    return scores


def _jina(model: str, prompts: tuple[NDArray[np.int32], ...], scores: list[float], best: list[int]) -> dict[str, Any]:
    n_tokens = sum(map(len, prompts))
    return {
        "model": model,
        "object": "list",
        "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
        "results": [{"index": index, "relevance_score": scores[index]} for index in best],
    }
