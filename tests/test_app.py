"""App: the application within a program, over a fake engine."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from fakes import fake_engine

from llamahttp.api.state import STATE
from llamahttp.app import make_app, make_template
from llamahttp.builtin_templates import BUILTIN_TEMPLATES, CHATML
from llamahttp.config import EngineConfig, SamplingConfig, ServerConfig
from llamahttp.engine import Engine
from llamahttp.errors import ModelError, StartupError


async def test_the_application_loads_in_the_background_and_closes_its_engine() -> None:
    opened: list[Engine] = []

    async def open_engine(config: EngineConfig, on_progress: object) -> Engine:
        opened.append(fake_engine())
        return opened[0]

    app = make_app(ServerConfig(), open_engine)
    async with TestClient(TestServer(app)) as client:
        while (await client.get("/health")).status == 503:
            pass
        assert app[STATE].engine is opened[0]
    with pytest.raises(Exception, match="stopping"):
        await opened[0].snapshot()


async def test_an_application_without_its_model_says_so() -> None:
    async def open_engine(config: EngineConfig, on_progress: object) -> Engine:
        raise ModelError("unknown architecture")

    app = make_app(ServerConfig(), open_engine)
    async with TestClient(TestServer(app)) as client, client.get("/props") as response:
        assert response.status == 500
    assert str(app[STATE].error) == "unknown architecture"


@pytest.mark.parametrize(
    ("sampling", "reason"),
    [
        ({"grammar": 'root ::= "a'}, "--grammar: failed to parse grammar: "),
        ({"grammar": "root ::= root"}, "--grammar: failed to parse grammar: "),
        ({"json_schema": {"type": "string", "pattern": "a(b"}}, "--json-schema: JSON schema: at '/pattern': the"),
        (
            {"json_schema": {"properties": {"a": {"not": {}}}}},
            "--json-schema: JSON schema: at '/properties/a",
        ),
        (
            {"json_schema": {"type": "string", "minLength": 3, "maxLength": 2}},
            "--json-schema: JSON schema: at its root",
        ),
    ],
)
async def test_a_form_that_no_answer_can_have_ends_the_start(sampling: dict[str, Any], reason: str) -> None:
    """And not the first request."""

    async def open_engine(config: EngineConfig, on_progress: object) -> Engine:
        return fake_engine()

    app = make_app(ServerConfig(sampling=SamplingConfig(**sampling)), open_engine)
    async with TestClient(TestServer(app)):
        while app[STATE].error is None:
            await asyncio.sleep(0.01)
        assert str(app[STATE].error).startswith(reason)
        assert app[STATE].engine is None


async def test_templates_configured_and_of_the_model() -> None:
    async with fake_engine() as engine:
        assert make_template(ServerConfig(), engine).source == CHATML
        assert make_template(ServerConfig(chat_template="chatml"), engine).source == CHATML
        assert make_template(ServerConfig(chat_template="{{ 1 }}"), engine).source == "{{ 1 }}"
        assert make_template(ServerConfig(chat_template="llama3"), engine).source == BUILTIN_TEMPLATES["llama3"]
        with pytest.raises(StartupError, match=r"^--chat-template: chat template, line 2: [^\n]*$"):
            make_template(ServerConfig(chat_template="a\n{{"), engine)


async def test_a_template_that_renders_no_chat_is_told_of_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    async with fake_engine() as engine:
        make_template(ServerConfig(chat_template="{{ foo.bar.baz }}"), engine)
    (warning,) = caplog.messages
    assert warning.startswith("the chat template renders no chat, so that each will be refused: chat template, line 1:")
    assert "'foo' is undefined" in warning


async def test_the_model_s_variant_for_tools(caplog: pytest.LogCaptureFixture) -> None:
    async with fake_engine() as engine:
        variants = {"default": "plain", "tool_use": "tools"}
        for templates, expected in (
            (variants, ("plain", "tools")),
            ({"default": "plain"}, ("plain", "plain")),
            ({"tool_use": "tools"}, ("tools", "tools")),
            (variants | {"tool_use": "{{"}, ("plain", "plain")),
            (variants | {"default": "{{"}, ("tools", "tools")),
            ({}, (CHATML, CHATML)),
        ):
            engine.info = replace(engine.info, chat_templates=templates)
            template = make_template(ServerConfig(), engine)
            assert (template.source, template.for_tools([{}]).source) == expected
            configured = make_template(ServerConfig(chat_template="{{ 1 }}"), engine)
            assert configured.for_tools([{}]) is configured
    assert "(tool_use) cannot be used: chat template, line 1: " in caplog.text
