"""The smallest server: the real Engine over fakes, the routes, and aiohttp's test client."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from llamahttp.api import setup
from llamahttp.api.middleware import MIDDLEWARES
from llamahttp.api.state import STATE, ServerState
from llamahttp.builtin_templates import CHATML
from llamahttp.chat_template import ChatTemplate
from llamahttp.config import ServerConfig
from llamahttp.engine import Engine
from llamahttp.queue import ResultStream
from llamahttp.task import CompletionTask
from tests.fake_embedder import FakeEmbedder
from tests.fakes import FakeDecoder, fake_engine


class Recorder:
    """An engine that keeps the tasks it is given; what else is asked of it, the real one answers."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.tasks: list[CompletionTask] = []

    def submit(self, task: CompletionTask) -> ResultStream:
        self.tasks.append(task)
        return self.engine.submit(task)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)


Client = TestClient[web.Request, web.Application]
Start = Callable[..., Awaitable[Client]]


def make_app(state: ServerState) -> web.Application:
    app = web.Application(middlewares=MIDDLEWARES)
    app[STATE] = state
    setup(app)
    return app


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start a server over `decoder` with fields of ServerConfig; more than one a test is fine. `around` makes what
    stands for the engine from a real one."""
    clients: list[Client] = []
    engines: list[Any] = []  # also of servers that did not come to be

    async def start_one(
        decoder: FakeDecoder | None = None,
        template: str = CHATML,
        queue_size: int = 1024,
        around: Callable[[Engine], Any] = lambda engine: engine,
        embedder: FakeEmbedder | None = None,
        **config: Any,
    ) -> Client:
        state = ServerState(ServerConfig(**config))
        n_loras = len(state.config.engine.loras)
        state.engine = around(fake_engine(decoder, queue_size=queue_size, loras=n_loras, embedder=embedder))
        engines.append(state.engine)
        state.template = ChatTemplate(template, eos="<eos>")
        server = TestServer(make_app(state))
        await server.start_server(auto_decompress=False)
        clients.append(TestClient(server))
        await clients[-1].start_server()
        return clients[-1]

    yield start_one
    for client in clients:
        assert client.app is not None
        engines.append(client.app[STATE].engine)  # perhaps another one by now
        await client.close()
    for engine in filter(None, engines):
        await engine.close()  # safe twice


@pytest.fixture
async def client(start: Start) -> Client:
    return await start()


def recorder(client: Client) -> Recorder:
    """What a client was started with `around=Recorder` for."""
    assert client.app is not None
    engine: Any = client.app[STATE].engine
    assert isinstance(engine, Recorder)
    return engine


async def get(client: Client, path: str, status: int = 200) -> Any:
    """The JSON answer to a GET."""
    async with client.get(path) as response:
        assert response.status == status, await response.text()
        return await response.json()


async def post(client: Client, path: str, body: object, status: int = 200) -> Any:
    """The JSON answer to a JSON request."""
    # a file, since aiohttp's client warns of large bodies in any other form
    data = io.BytesIO(json.dumps(body).encode())
    async with client.post(path, data=data) as response:
        text = await response.text()
        assert response.status == status, text
        return json.loads(text)


async def post_error(client: Client, path: str, body: object, status: int = 400) -> str:
    """The message of an error."""
    answer = await post(client, path, body, status)
    assert answer["error"]["code"] == status
    return str(answer["error"]["message"])


async def stream(client: Client, path: str, body: dict[str, object]) -> list[Any]:
    """The events of a streamed answer, decoded; `[DONE]` stays a string."""
    async with client.post(path, json=body | {"stream": True}) as response:
        data = await response.read()
        assert response.status == 200, data
    return decode_events(data)


def decode_events(data: bytes) -> list[Any]:
    assert data.endswith(b"\n\n"), "the last event is not complete"
    lines = data.decode().removesuffix("\n\n").split("\n\n")
    assert all(line.startswith("data: ") for line in lines), lines
    payloads = [line.removeprefix("data: ") for line in lines]
    return [payload if payload == "[DONE]" else json.loads(payload) for payload in payloads]
