"""Slots: what each of them does, and its memory saved to a file, restored and erased."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from ..errors import InvalidRequest, NotSupported, Unavailable
from ..task import EngineSnapshot, SamplingParams, SlotSnapshot, SlotState
from . import fragments
from .body import json_response, read_object
from .field import Field, Kind
from .parameters import COMPLETION_TABLE
from .state import STATE

if TYPE_CHECKING:
    from ..engine import Engine

MAX_NAME = 200
"""Bytes of a slot file's name; a file system takes 255, and the file has a longer name while it is written."""
RESERVED = frozenset('/\\:*?"<>|\u2215\u2216\uff0e\ufffd\ufeff')
"""Characters that separate paths somewhere, or look as if they did, or that some file system refuses."""


SEGMENTS = (Field("id_slot", Kind.INTEGER, None, "The number of the slot.", required=True, low=0),)
"""Parameters in the path of a slot."""
QUERY = (
    Field("model", Kind.STRING, None, "Any name is fine: there is one model.", inert=True),
    Field("fail_on_no_slot", Kind.STRING, None, "With any text: 503 unless a slot is idle."),
)
ACTION_QUERY = (
    Field("model", Kind.STRING, None, "Any name is fine: there is one model.", inert=True),
    Field("action", Kind.STRING, None, "What to do.", required=True, one_of=("save", "restore", "erase")),
)
"""Parameters after the paths of `/slots`, and of a slot."""


async def slots(http: web.Request) -> web.Response:
    """What each slot does. Switched off by `--no-slots`."""
    state = http.app[STATE]
    if not state.config.slots:
        raise NotSupported("This server does not support slots endpoint. Start it with `--slots`")
    snapshot = await state.snapshot()
    if http.query.get("fail_on_no_slot") and not has_idle(snapshot):
        raise Unavailable("no slot available")
    return json_response([show_slot(slot) for slot in snapshot.slots])


def has_idle(snapshot: EngineSnapshot) -> bool:
    return any(slot.state is SlotState.IDLE for slot in snapshot.slots)


def show_slot(slot: SlotSnapshot) -> dict[str, object]:
    """One slot. Of the last task of an idle one llama-server shows no counts; nor does this."""
    is_busy = slot.state is not SlotState.IDLE
    shown: dict[str, object] = {
        "id": slot.id_slot,
        "n_ctx": slot.n_ctx,
        "speculative": False,
        "is_processing": is_busy,
        "state": slot.state.value,
    }
    if slot.sampling is None:
        return shown
    next_token = {
        "has_next_token": slot.state is SlotState.GENERATING,
        "has_new_line": False,
        "n_remain": slot.n_predict - slot.n_predicted if is_busy and slot.n_predict >= 0 else -1,
        "n_decoded": slot.n_predicted if is_busy else 0,
    }
    n_cached = slot.cache.n_cached
    return shown | {
        "id_task": slot.id_task,
        "n_prompt_tokens": slot.n_past,
        "n_prompt_tokens_processed": max(0, min(slot.n_past, slot.n_prompt) - n_cached) if is_busy else 0,
        "n_prompt_tokens_cache": n_cached if is_busy else 0,
        "cache": fragments.cache_use(slot.cache),
        "n_preempted": slot.n_preempted,
        "params": show_settings(slot.sampling, slot),
        "next_token": [next_token],
    }


def show_settings(sampling: SamplingParams, slot: SlotSnapshot) -> dict[str, object]:
    values = COMPLETION_TABLE.decode({})
    values |= {field.name: getattr(sampling, field.name) for field in fields(sampling)}
    values["n_predict"] = slot.n_predict
    return fragments.generation_settings(values | dict(slot.settings), sampling, brief=True)


# --- slot files


async def slot_action(http: web.Request) -> web.Response:
    """Save, restore or erase what a slot's last task left in memory. Waits while the slot is busy."""
    state = http.app[STATE]
    folder = state.config.slot_save_path
    if folder is None:
        raise NotSupported("This server does not support slots action. Start it with `--slot-save-path`")
    engine = state.require_engine()
    id_slot = read_id(http.match_info["id_slot"], engine.n_slots)
    action = http.query.get("action", "")
    if action == "erase":
        return json_response({"id_slot": id_slot, "n_erased": await engine.erase_slot(id_slot)})
    if action not in ("save", "restore"):
        raise InvalidRequest(f"Invalid action {action!r}: it must be save, restore or erase")
    name = read_name(await read_object(http, state.config.max_body))
    do = save if action == "save" else restore
    return json_response(await do(engine, id_slot, folder, name))


async def save(engine: Engine, id_slot: int, folder: Path, name: str) -> dict[str, object]:
    file = await engine.save_slot(id_slot, folder / name)
    return {
        "id_slot": id_slot,
        "filename": name,
        "n_saved": file.n_tokens,
        "n_written": file.n_bytes,
        "timings": {"save_ms": file.ms},
    }


async def restore(engine: Engine, id_slot: int, folder: Path, name: str) -> dict[str, object]:
    file = await engine.restore_slot(id_slot, folder / name)
    return {
        "id_slot": id_slot,
        "filename": name,
        "n_restored": file.n_tokens,
        "n_read": file.n_bytes,
        "timings": {"restore_ms": file.ms},
    }


def read_id(text: str, n_slots: int) -> int:
    """The number of a slot from a path. Raises InvalidRequest."""
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) < n_slots:
        return int(text)
    raise InvalidRequest(f"Invalid slot ID {text!r}: it must be between 0 and {n_slots - 1}")


def read_name(body: Mapping[str, object]) -> str:
    """The plain name of a file. Raises InvalidRequest for what is not there or could lead elsewhere."""
    name = body.get("filename")
    if not isinstance(name, str):
        raise InvalidRequest("'filename' is required, and must be a string")
    wrong = name_fault(name)
    if wrong:
        raise InvalidRequest(f"Invalid filename {name[:MAX_NAME]!r}: {wrong}")
    return name


def name_fault(name: str) -> str:
    """What is wrong with a file's name; empty if nothing is. The rules are llama-server's."""
    if not name:
        return "it is empty"
    if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME:
        return f"it has more than {MAX_NAME} bytes"
    for character in name:
        if character in RESERVED or unicodedata.category(character) in ("Cc", "Cs"):
            return f"it must not contain {character!r}"
    if ".." in name:
        return "it must not contain '..'"
    if name[0] == " " or name[-1] in " .":
        return "it must not begin or end with a space, nor end with a dot"
    return ""
