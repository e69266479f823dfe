from __future__ import annotations

from llamahttp.api.state import STATE
from llamahttp.chat_template import ChatTemplate

from .conftest import Client, Recorder, Start, get, post_error


async def test_props(start: Start) -> None:
    props = await get(await start(alias="mine"), "/props")
    assert (props["total_slots"], props["model_alias"], props["eos_token"]) == (4, "mine", "<eos>")
    assert props["bos_token"] == "", "the model has none"
    assert props["default_generation_settings"]["n_ctx"] == 4096
    assert props["default_generation_settings"]["params"]["top_k"] == 40
    assert "<|im_start|>" in props["chat_template"]
    assert props["chat_template_caps"]["supports_system_role"] is True


async def test_props_show_the_variant_of_the_template_for_tools(start: Start) -> None:
    client = await start()
    assert "chat_template_tool_use" not in await get(client, "/props")
    client.app[STATE].template = ChatTemplate("plain", tool_use=ChatTemplate("tools"))
    props = await get(client, "/props")
    assert (props["chat_template"], props["chat_template_tool_use"]) == ("plain", "tools")


async def test_props_cannot_be_changed(client: Client) -> None:
    await post_error(client, "/props", {}, 501)


class Rebuilding(Recorder):
    rebuilding = True


async def test_health_tells_of_a_context_that_is_made_anew(start: Start) -> None:
    assert await get(await start(), "/health") == {"status": "ok"}
    client = await start(around=Rebuilding)
    async with client.get("/health") as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        error = (await response.json())["error"]
    assert "Rebuilding" in error["message"]
    assert error["type"] == "unavailable_error"


async def test_metrics_are_off_unless_asked_for(start: Start) -> None:
    assert "--metrics" in str(await get(await start(), "/metrics", 501))
    props = [await get(await start(metrics=metrics), "/props") for metrics in (False, True)]
    assert [prop["endpoint_metrics"] for prop in props] == [False, True]


async def test_metrics(start: Start) -> None:
    client = await start(metrics=True)
    async with client.get("/metrics") as response:
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert int(response.headers["Process-Start-Time-Unix"]) > 0
        text = await response.text()
    assert "\nllamacpp:requests_processing 0.0\n" in text
    assert await client.get("/metrics"), "asking again is no error"


async def test_props_show_the_server_s_defaults(start: Start) -> None:
    props = await get(await start(n_keep=7, slots=False), "/props")
    assert props["default_generation_settings"]["params"]["n_keep"] == 7
    assert props["endpoint_slots"] is False
