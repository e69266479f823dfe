from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple

import pytest

from llamahttp.api.slots import MAX_NAME, name_fault, show_slot
from llamahttp.engine import Engine
from llamahttp.errors import EngineError, InvalidRequest, LlamaHTTPError
from llamahttp.task import CacheUse, Miss, SamplingParams, SlotSnapshot, SlotState
from tests.fakes import FakeDecoder

from .conftest import Client, Recorder, Start, get, post, post_error, recorder


async def test_slots_that_are_idle(client: Client) -> None:
    idle = {"n_ctx": 4096, "speculative": False, "is_processing": False, "state": "idle"}
    assert await get(client, "/slots") == [{"id": i} | idle for i in range(4)]


async def test_slots_that_work(start: Start) -> None:
    decoder = FakeDecoder(n_slots=1)
    decoder.step_seconds = 0.002
    client = await start(decoder)
    body = {"prompt": "abc", "n_predict": 4000, "temperature": 0, "top_k": 7}
    request = asyncio.create_task(post(client, "/completion", body))
    while len(decoder.batches) < 3:
        await asyncio.sleep(0.001)
    (slot,) = await get(client, "/slots")
    assert (slot["is_processing"], slot["state"]) == (True, "generating")
    assert (slot["n_prompt_tokens_processed"], slot["params"]["n_predict"], slot["params"]["top_k"]) == (3, 4000, 7)
    assert 3 <= slot["n_prompt_tokens"] <= 3 + slot["next_token"][0]["n_decoded"]
    assert 0 < slot["next_token"][0]["n_decoded"] == 4000 - slot["next_token"][0]["n_remain"]
    answer = await get(client, "/slots?fail_on_no_slot=1", 503)
    assert answer == {"error": {"message": "no slot available", "type": "unavailable_error", "code": 503}}
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request


async def test_an_idle_slot_tells_of_its_last_task(start: Start) -> None:
    client = await start(FakeDecoder(n_slots=2))
    body = {"prompt": "abc", "n_predict": 2, "top_k": 7, "stream": True, "timings_per_token": True, "id_slot": 1}
    async with client.post("/completion", json=body) as response:
        await response.read()
    first, last = await get(client, "/slots")
    assert "id_task" not in first
    assert (last["is_processing"], last["state"], last["n_prompt_tokens"]) == (False, "idle", 4)
    assert {name: last["params"][name] for name in body.keys() - {"prompt", "id_slot"}} == {
        **{"n_predict": 2, "top_k": 7, "stream": True, "timings_per_token": True}
    }
    assert last["next_token"] == [{"has_next_token": False, "has_new_line": False, "n_remain": -1, "n_decoded": 0}]


async def test_a_free_slot_is_no_failure(client: Client) -> None:
    assert len(await get(client, "/slots?fail_on_no_slot=1")) == 4


async def test_slots_can_be_kept_secret(start: Start) -> None:
    assert "--slots" in str(await get(await start(slots=False), "/slots", 501))


def test_a_slot_tells_what_its_task_reused() -> None:
    slot = SlotSnapshot(
        id_slot=0,
        id_task=5,
        state=SlotState.WAITING,
        n_ctx=64,
        n_past=9,
        n_prompt=20,
        n_predicted=0,
        n_predict=-1,
        sampling=SamplingParams(),
        cache=CacheUse(4, 3, 2, Miss.DIVERGED),
        n_preempted=1,
    )
    shown = show_slot(slot)
    assert (shown["state"], shown["n_preempted"], shown["n_prompt_tokens_cache"]) == ("waiting", 1, 9)
    assert shown["cache"] == {"resident": 4, "ram": 3, "disk": 2, "miss": "diverged"}


# --- slot files


class File(NamedTuple):
    n_tokens: int
    n_bytes: int
    ms: float


class SlotKeeper(Recorder):
    """Keeps what it is asked of the slots, and answers or raises as if it had done it."""

    def __init__(self, engine: Engine, error: LlamaHTTPError | None = None) -> None:
        super().__init__(engine)
        self.asked: list[tuple[object, ...]] = []
        self.error = error

    async def save_slot(self, id_slot: int, path: Path) -> File:
        return self._do("save", id_slot, path)

    async def restore_slot(self, id_slot: int, path: Path) -> File:
        return self._do("restore", id_slot, path)

    async def erase_slot(self, id_slot: int) -> int:
        return self._do("erase", id_slot).n_tokens

    def _do(self, *asked: object) -> File:
        self.asked.append(asked)
        if self.error is not None:
            raise self.error
        return File(12, 3456, 7.5)


def asked(client: Client) -> list[tuple[object, ...]]:
    engine = recorder(client)
    assert isinstance(engine, SlotKeeper)
    return engine.asked


Keeper = tuple[Client, list[tuple[object, ...]]]


@pytest.fixture
async def keeper(start: Start, tmp_path: Path) -> Keeper:
    """A server with a folder for slot files, and what it asks of its engine."""
    client = await start(around=SlotKeeper, slot_save_path=tmp_path)
    return client, asked(client)


async def test_slots_are_saved_restored_and_erased(keeper: Keeper, tmp_path: Path) -> None:
    client, log = keeper
    assert await post(client, "/slots/1?action=save", {"filename": "a b.bin"}) == {
        "id_slot": 1,
        "filename": "a b.bin",
        "n_saved": 12,
        "n_written": 3456,
        "timings": {"save_ms": 7.5},
    }
    assert await post(client, "/slots/2?action=restore", {"filename": "ä.bin"}) == {
        "id_slot": 2,
        "filename": "ä.bin",
        "n_restored": 12,
        "n_read": 3456,
        "timings": {"restore_ms": 7.5},
    }
    async with client.post("/slots/3?action=erase") as response:
        assert await response.json() == {"id_slot": 3, "n_erased": 12}
    assert log == [("save", 1, tmp_path / "a b.bin"), ("restore", 2, tmp_path / "ä.bin"), ("erase", 3)]


@pytest.mark.parametrize("action", ["save", "restore", "erase"])
async def test_without_a_folder_there_are_no_slot_actions(start: Start, action: str) -> None:
    client = await start(around=SlotKeeper)
    message = await post_error(client, f"/slots/0?action={action}", {"filename": "a"}, 501)
    assert "--slot-save-path" in message
    assert asked(client) == []


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/slots/4?action=save", {"filename": "a"}, "Invalid slot ID '4': it must be between 0 and 3"),
        ("/slots/-1?action=erase", {}, "Invalid slot ID '-1': it must be between 0 and 3"),
        ("/slots/x?action=erase", {}, "Invalid slot ID 'x': it must be between 0 and 3"),
        ("/slots/%C2%B2?action=erase", {}, "Invalid slot ID '²': it must be between 0 and 3"),
        ("/slots/99999999999?action=erase", {}, "Invalid slot ID '99999999999': it must be between 0 and 3"),
        ("/slots/0", {}, "Invalid action '': it must be save, restore or erase"),
        ("/slots/0?action=load", {}, "Invalid action 'load': it must be save, restore or erase"),
        ("/slots/0?action=save", {}, "'filename' is required, and must be a string"),
        ("/slots/0?action=save", {"filename": 5}, "'filename' is required, and must be a string"),
        ("/slots/0?action=save", {"filename": ""}, "Invalid filename '': it is empty"),
        (
            "/slots/0?action=restore",
            {"filename": "../x"},
            "Invalid filename '../x': it must not contain '/'",
        ),
        ("/slots/0?action=save", [], "the request body must be a JSON object, but is array"),
    ],
)
async def test_wrong_slot_actions_are_named_and_not_done(keeper: Keeper, path: str, body: object, message: str) -> None:
    client, log = keeper
    assert await post_error(client, path, body) == message
    assert log == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (EngineError("cannot write a: No space left on device"), 500),
        (InvalidRequest("a was made with another model"), 400),
    ],
    ids=["full", "foreign"],
)
async def test_what_goes_wrong_in_the_engine_is_said(
    start: Start, tmp_path: Path, error: LlamaHTTPError, status: int
) -> None:
    client = await start(around=lambda engine: SlotKeeper(engine, error), slot_save_path=tmp_path)
    for action in ("save", "restore"):
        assert await post_error(client, f"/slots/0?action={action}", {"filename": "a"}, status) == str(error)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "it is empty"),
        ("x" * (MAX_NAME + 1), f"it has more than {MAX_NAME} bytes"),
        ("ä" * (MAX_NAME // 2 + 1), f"it has more than {MAX_NAME} bytes"),
        ("/etc/passwd", "it must not contain '/'"),
        ("a\\b", r"it must not contain '\\'"),
        ("a\0b", r"it must not contain '\x00'"),
        ("a\x9fb", r"it must not contain '\x9f'"),
        ("a\nb", r"it must not contain '\n'"),
        ("C:x", "it must not contain ':'"),
        ("a\u2215b", "it must not contain '∕'"),  # noqa: RUF001
        ("a\ud800", r"it must not contain '\ud800'"),
        ("..", "it must not contain '..'"),
        ("a..b", "it must not contain '..'"),
        (".", "it must not begin or end with a space, nor end with a dot"),
        (" a", "it must not begin or end with a space, nor end with a dot"),
        ("a ", "it must not begin or end with a space, nor end with a dot"),
    ],
)
def test_names_that_could_lead_elsewhere(name: str, fault: str) -> None:
    assert name_fault(name) == fault


@pytest.mark.parametrize("name", ["a", "x" * MAX_NAME, "slot 1.bin", ".hidden", "漢字", "a-b_c.d"])
def test_names_that_are_fine(name: str) -> None:
    assert name_fault(name) == ""
