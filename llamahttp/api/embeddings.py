"""Embeddings: the native routes, which can give a vector a token, and OpenAI's."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from aiohttp import web
from numpy.typing import NDArray

from ..config import Pooling
from ..engine import Engine
from ..errors import InvalidRequest, NotSupported
from ..pooling import Vectors, normalize, shorten
from ..task import EmbeddingTask
from .body import encode, json_response, read_object
from .chat import MEDIA
from .field import Field, Kind, Table, out_of_range, wrong_type
from .lora import active
from .parameters import MODEL
from .prompt import split_prompts, tokenize_prompt
from .state import STATE

MAX_NORM = 1000
MAX_INPUTS = 16384
MAX_NUMBERS = 16 << 20
"""Inputs of a request, and numbers of its answer, which take about 20 bytes each as text: both are bounded, as they
stay in memory until the answer is whole."""

TABLE = Table(
    (
        MODEL,
        Field("input", Kind.PROMPT, None, "A text, whole or in parts, a list of token ids, or a list of these."),
        Field("content", Kind.PROMPT, None, "The same; the answer then has the native shape."),
        Field("encoding_format", Kind.STRING, "float", "OpenAI's route: how vectors look.", one_of=("float", "base64")),
        Field("dimensions", Kind.INTEGER, None, "Numbers to keep of each vector, which is then normalised again."),
        Field(
            "embd_normalize",
            Kind.INTEGER,
            2,
            "What is made 1: -1 nothing, 0 the largest number (32760, not 1), 1 the sum, 2 the length, p the p-norm.",
            low=-1,
            high=MAX_NORM,
        ),
    )
)

Encode = Callable[[Vectors], bytes]


@dataclass(frozen=True, slots=True)
class Request:
    """A decoded request."""

    inputs: tuple[NDArray[np.int32], ...]
    adapters: tuple[tuple[int, float], ...]
    norm: int
    n_dimensions: int
    is_base64: bool

    @property
    def usage(self) -> dict[str, int]:
        n_tokens = sum(map(len, self.inputs))
        return {"prompt_tokens": n_tokens, "total_tokens": n_tokens}


async def embeddings(http: web.Request) -> web.Response:
    """The vectors of texts; llama-server's own shape. Needs `--embeddings`.

    A list of vectors for each input, which is one unless there is no pooling.
    """
    http.app[STATE].require_engine().require_embedder()
    request = await _read(http, await _body(http))
    return await _answer_native(http, request)


async def openai_embeddings(http: web.Request) -> web.Response:
    """The vectors of texts; OpenAI's shape, or llama-server's own for a body with `content`. Needs `--embeddings`."""
    engine = http.app[STATE].require_engine()
    if engine.require_embedder().pooling is Pooling.NONE:
        raise InvalidRequest("Pooling type 'none' is not OAI compatible. Please use a different pooling type")
    body = await _body(http)
    request = await _read(http, body)
    if "input" not in body:
        return await _answer_native(http, request)
    vectors = await _compute(engine, request, _encode_base64 if request.is_base64 else _encode_first)
    extra = {"encoding_format": "base64"} if request.is_base64 else {}
    data = [{"embedding": v, "index": i, "object": "embedding"} | extra for i, v in enumerate(vectors)]
    model = model_name(http, body)
    return json_response({"model": model, "object": "list", "usage": request.usage, "data": data})


def model_name(http: web.Request, body: Mapping[str, object]) -> str:
    """What the client calls the model, else what the server calls it."""
    name = body.get("model")
    return name if isinstance(name, str) else http.app[STATE].model_name


async def _body(http: web.Request) -> dict[str, object]:
    return await read_object(http, http.app[STATE].config.max_body)


async def _read(http: web.Request, body: Mapping[str, object]) -> Request:
    state = http.app[STATE]
    engine = state.require_engine()
    values = TABLE.decode(body, {"embd_normalize": state.config.embd_normalize})
    name = "input" if values["input"] is not None else "content"
    if values[name] is None:
        raise InvalidRequest('"input" or "content" must be provided')
    n_out = engine.require_embedder().n_out
    n_dimensions = _dimensions(values, n_out)
    inputs = await _tokenize(engine, values[name], name)
    check_size(engine, inputs)
    adapters = active(state.lora_scales)
    return Request(inputs, adapters, values["embd_normalize"], n_dimensions, values["encoding_format"] == "base64")


def _dimensions(values: Mapping[str, Any], n_out: int) -> int:
    wanted = values["dimensions"]
    if wanted is None:
        return n_out
    if not 1 <= wanted <= n_out:
        raise out_of_range("dimensions", 1, n_out, wanted)
    return int(wanted)


async def _tokenize(engine: Engine, value: object, name: str) -> tuple[NDArray[np.int32], ...]:
    entries = split_prompts(value, name)
    if len(entries) > MAX_INPUTS:
        raise InvalidRequest(f'"{name}" has {len(entries)} entries, but at most {MAX_INPUTS} are allowed')
    inputs = []
    for entry in entries:
        inputs.append(await tokenize_prompt(engine, in_one(entry, name), name))
        if len(inputs[-1]) == 0:
            raise InvalidRequest("Input content cannot be empty")
        await asyncio.sleep(0)  # many short texts would hold up everybody else
    return tuple(inputs)


def in_one(entry: object, name: str) -> object:
    """The text of an input that comes in parts, `{"content": [{"type": "text", "text": ...}]}`; others as they are.
    Raises InvalidRequest for parts that are none, NotSupported for media."""
    if not isinstance(entry, dict) or "content" not in entry:
        return entry
    parts = entry["content"]
    if not isinstance(parts, list):
        raise wrong_type(f"{name}.content", "array", parts)
    texts = []
    for i, part in enumerate(parts):
        match part:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": str(kind)} if kind in MEDIA:
                raise NotSupported(f"Field '{name}.content[{i}]': {MEDIA[kind]} input is not supported")
            case _:
                raise InvalidRequest(f'Field \'{name}.content[{i}]\': it must be {{"type": "text", "text": string}}')
    return "".join(texts)


def check_size(engine: Engine, inputs: Sequence[NDArray[np.int32]]) -> None:
    """Raises InvalidRequest for an answer that would be too large to keep."""
    embedder = engine.require_embedder()
    n_vectors = sum(map(len, inputs)) if embedder.pooling is Pooling.NONE else len(inputs)
    if n_vectors * embedder.n_out > MAX_NUMBERS:
        raise InvalidRequest(
            f"the answer would hold {n_vectors} vectors of {embedder.n_out} numbers, but at most {MAX_NUMBERS} numbers "
            "are allowed: send fewer inputs at once"
        )


async def _compute(engine: Engine, request: Request, encode_vectors: Encode) -> list[msgspec.Raw]:
    """The vectors of each input as JSON, encoded as they come so that no moment has much to do."""
    has_pooling = engine.require_embedder().pooling is not Pooling.NONE
    found = [msgspec.Raw()] * len(request.inputs)
    async with engine.submit_embedding(EmbeddingTask(request.inputs, request.adapters)) as stream:
        async for result in stream:
            for index, vectors in result.vectors:
                vectors = shorten(vectors, request.n_dimensions)
                found[index] = msgspec.Raw(encode_vectors(normalize(vectors, request.norm) if has_pooling else vectors))
    return found


async def _answer_native(http: web.Request, request: Request) -> web.Response:
    vectors = await _compute(http.app[STATE].require_engine(), request, _encode_all)
    return json_response([{"index": i, "embedding": v} for i, v in enumerate(vectors)])


def _encode_all(vectors: Vectors) -> bytes:
    return encode(vectors.tolist())


def _encode_first(vectors: Vectors) -> bytes:
    return encode(vectors[0].tolist())


def _encode_base64(vectors: Vectors) -> bytes:
    return b'"%b"' % base64.b64encode(vectors[0].astype("<f4").tobytes())
