"""LoRA adapters: their scales in requests, and the routes that show and set the server's own."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from ..errors import InvalidRequest
from .body import json_response, read_json
from .field import FLOAT32_MAX
from .state import STATE


def read_scales(entries: Sequence[object], n_adapters: int) -> tuple[float, ...]:
    """The scale of each adapter from `[{id, scale}, ...]`, where those not listed have 0. Raises InvalidRequest."""
    scales = [0.0] * n_adapters
    for i, entry in enumerate(entries):
        id_adapter, scale = _read_entry(i, entry)
        if not 0 <= id_adapter < n_adapters:
            raise InvalidRequest(
                f"Field 'lora': there is no adapter with the id {id_adapter}; the number of adapters is {n_adapters}"
            )
        scales[id_adapter] = scale
    return tuple(scales)


def _read_entry(i: int, entry: object) -> tuple[int, float]:
    """Id and scale; as in llama-server an entry without a scale has 0."""
    match entry:
        case {"id": int(id_adapter), **others}:
            scale = others.get("scale", 0.0)
            if isinstance(scale, int | float) and abs(scale) <= FLOAT32_MAX:
                return id_adapter, float(scale)
    raise InvalidRequest(f"Field 'lora': entry {i} must be {{id, scale}}, a whole number and a number")


def active(scales: Sequence[float]) -> tuple[tuple[int, float], ...]:
    """Pairs (index, scale) of the adapters that have an effect."""
    return tuple((i, scale) for i, scale in enumerate(scales) if scale != 0)


async def show_adapters(http: web.Request) -> web.Response:
    state = http.app[STATE]
    loras = zip(state.config.engine.loras, state.lora_scales, strict=True)
    return json_response(
        [
            {"id": i, "path": str(path), "scale": scale, "task_name": "", "prompt_prefix": ""}
            for i, ((path, _), scale) in enumerate(loras)
        ]
    )


async def set_scales(http: web.Request) -> web.Response:
    """Set the scales for requests to come; what is running keeps its own."""
    state = http.app[STATE]
    entries = await read_json(http, state.config.max_body)
    if not isinstance(entries, list):
        raise InvalidRequest("Request body must be an array")
    state.lora_scales = read_scales(entries, len(state.lora_scales))
    return json_response({"success": True})
