"""Admin: how the server is and what it serves: health, properties, slots."""

from __future__ import annotations

from dataclasses import fields

from aiohttp import web

from ..errors import NotSupported, Unavailable
from ..task import EngineSnapshot, SlotSnapshot, SlotState
from . import fragments
from .body import json_response
from .schema import NATIVE_TABLE
from .state import STATE


async def health(http: web.Request) -> web.Response:
    """`ok` while the engine runs; its error once it has given up. Loading is answered by the middleware."""
    engine = http.app[STATE].require_engine()
    if engine.failed is not None:
        raise engine.failed.with_traceback(None)  # else it would grow by its frames with every question
    return json_response({"status": "ok"})


async def props(http: web.Request) -> web.Response:
    state = http.app[STATE]
    engine, template = state.require_engine(), state.require_template()
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
            "endpoint_slots": True,
            "endpoint_props": False,
            "endpoint_metrics": False,
            "ui": True,
            "ui_settings": {},
            "chat_template": template.source,
            "chat_template_caps": template.caps.to_props(),
            "bos_token": template.bos,
            "eos_token": template.eos,
            "build_info": state.fingerprint,
            "is_sleeping": False,
            "cors_proxy_enabled": False,
        }
    )


async def change_props(http: web.Request) -> web.Response:
    raise NotSupported("This server does not support changing global properties.")


async def slots(http: web.Request) -> web.Response:
    snapshot = await http.app[STATE].require_engine().snapshot()
    if http.query.get("fail_on_no_slot") and not has_idle(snapshot):
        raise Unavailable("no slot available")
    return json_response([show_slot(slot) for slot in snapshot.slots])


async def slot_action(http: web.Request) -> web.Response:
    raise NotSupported("This server does not support slots action.")


def has_idle(snapshot: EngineSnapshot) -> bool:
    return any(slot.state is SlotState.IDLE for slot in snapshot.slots)


def show_slot(slot: SlotSnapshot) -> dict[str, object]:
    """One slot. What it runs is told only while it runs something."""
    shown: dict[str, object] = {
        "id": slot.id_slot,
        "n_ctx": slot.n_ctx,
        "speculative": False,
        "is_processing": slot.state is not SlotState.IDLE,
    }
    if slot.sampling is None:
        return shown
    values = NATIVE_TABLE.decode({})
    values |= {field.name: getattr(slot.sampling, field.name) for field in fields(slot.sampling)}
    values["n_predict"] = slot.n_predict
    next_token = {
        "has_next_token": slot.state is SlotState.GENERATING,
        "has_new_line": False,
        "n_remain": slot.n_predict - slot.n_predicted if slot.n_predict >= 0 else -1,
        "n_decoded": slot.n_predicted,
    }
    return shown | {
        "id_task": slot.id_task,
        "n_prompt_tokens": slot.n_prompt,
        "n_prompt_tokens_processed": min(slot.n_past, slot.n_prompt),
        "params": fragments.generation_settings(values, slot.sampling, brief=True),
        "next_token": [next_token],
    }
