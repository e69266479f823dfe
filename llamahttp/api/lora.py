"""LoRA adapters: their scales in requests, and the routes that show and set the server's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiohttp import web

from ..engine import Engine
from ..errors import InvalidRequest
from .body import json_response, read_json
from .field import Field, Kind, read, wrong_type
from .state import STATE

ID = Field("id", Kind.INTEGER, None, "Number of an adapter.")
SCALE = Field("scale", Kind.NUMBER, 0.0, "What it is multiplied with.")


def read_scales(entries: Sequence[object], n_adapters: int, name: str = "") -> tuple[float, ...]:
    """The scale of each adapter from `[{id, scale}, ...]`, where those not listed have 0. Raises InvalidRequest, in
    which `name` is the list's."""
    scales = [0.0] * n_adapters
    for i, entry in enumerate(entries):
        id_adapter, scale = _read_entry(f"{name}[{i}]", entry, n_adapters)
        scales[id_adapter] = scale
    return tuple(scales)


def _read_entry(name: str, entry: object, n_adapters: int) -> tuple[int, float]:
    """Id and scale; as in llama-server an entry without a scale has 0."""
    if not isinstance(entry, Mapping):
        raise wrong_type(name, "object", entry)
    id_adapter = read(ID, f"{name}.id", entry.get("id"))
    if not 0 <= id_adapter < n_adapters:
        raise InvalidRequest(
            f"Field '{name}.id': there is no adapter with the id {id_adapter}; the number of adapters is {n_adapters}"
        )
    return id_adapter, read(SCALE, f"{name}.scale", entry.get("scale", SCALE.default))


def active(scales: Sequence[float]) -> tuple[tuple[int, float], ...]:
    """Pairs (index, scale) of the adapters that have an effect."""
    return tuple((i, scale) for i, scale in enumerate(scales) if scale != 0)


async def show_adapters(http: web.Request) -> web.Response:
    """The LoRA adapters and their scales."""
    state = http.app[STATE]
    engine = state.require_engine()
    loras = zip(state.config.engine.loras, state.lora_scales, engine.invocations, strict=True)
    return json_response(
        [
            {"id": i, "path": str(path), "scale": scale, "task_name": "", "prompt_prefix": ""}
            | (_invocation(engine, tokens) if tokens else {})
            for i, ((path, _), scale, tokens) in enumerate(loras)
        ]
    )


def _invocation(engine: Engine, tokens: Sequence[int]) -> dict[str, object]:
    """What else is told of an activated LoRA."""
    text = b"".join(engine.vocab.special_pieces[token] for token in tokens)
    return {"alora_invocation_string": text.decode(errors="replace"), "alora_invocation_tokens": list(tokens)}


async def set_scales(http: web.Request) -> web.Response:
    """Set the scales for requests to come; what is running keeps its own."""
    state = http.app[STATE]
    entries = await read_json(http, state.config.max_body)
    if not isinstance(entries, list):
        raise InvalidRequest("Request body must be an array")
    state.lora_scales = read_scales(entries, len(state.lora_scales))
    return json_response({"success": True})
