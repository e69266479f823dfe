from __future__ import annotations

import asyncio

import pytest

from tests.fakes import FakeDecoder

from .conftest import Client, Start, get, post, post_error


async def test_props(start: Start) -> None:
    props = await get(await start(alias="mine"), "/props")
    assert (props["total_slots"], props["model_alias"], props["eos_token"]) == (4, "mine", "<eos>")
    assert props["bos_token"] == "", "the model has none"
    assert props["default_generation_settings"]["n_ctx"] == 4096
    assert props["default_generation_settings"]["params"]["top_k"] == 40
    assert "<|im_start|>" in props["chat_template"]
    assert props["chat_template_caps"]["supports_system_role"] is True


async def test_props_cannot_be_changed(client: Client) -> None:
    await post_error(client, "/props", {}, 501)
    await post_error(client, "/slots/0?action=save", {}, 501)


async def test_slots_that_are_idle(client: Client) -> None:
    idle = {"n_ctx": 4096, "speculative": False, "is_processing": False}
    assert await get(client, "/slots") == [{"id": i} | idle for i in range(4)]


async def test_slots_that_work(start: Start) -> None:
    decoder = FakeDecoder(n_seq_max=1)
    decoder.step_seconds = 0.002
    client = await start(decoder)
    body = {"prompt": "abc", "n_predict": 4000, "temperature": 0, "top_k": 7}
    request = asyncio.create_task(post(client, "/completion", body))
    while len(decoder.batches) < 3:
        await asyncio.sleep(0.001)
    slots = await get(client, "/slots")
    (slot,) = slots
    assert slot["is_processing"] is True
    assert (slot["n_prompt_tokens"], slot["params"]["n_predict"], slot["params"]["top_k"]) == (3, 4000, 7)
    assert 0 < slot["next_token"][0]["n_decoded"] == 4000 - slot["next_token"][0]["n_remain"]
    answer = await get(client, "/slots?fail_on_no_slot=1", 503)
    assert answer == {"error": {"message": "no slot available", "type": "unavailable_error", "code": 503}}
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request


async def test_a_free_slot_is_no_failure(client: Client) -> None:
    assert len(await get(client, "/slots?fail_on_no_slot=1")) == 4
