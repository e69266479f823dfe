"""Predict: the route of Google's Vertex AI, whose requests hold several of other routes.

https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable

import msgspec
from aiohttp import web
from yarl import URL

from ..errors import InvalidRequest, LlamaHTTPError
from .body import GIVEN, error_body, json_response, json_type, read_object
from .route import Handler, Route
from .state import STATE

MAX_INSTANCES = 128
"""Requests in one, as in llama-server."""
FORMAT = "@requestFormat"


class Predict:
    """The handler. A request is for the route that it names by its path, or in words: `chatCompletions`."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._handlers: dict[str, tuple[str, Handler]] = {}
        paths = [(path, route.handler) for route in routes if route.method == "POST" for path in route.paths]
        for path, handler in paths:
            if "{" not in path:
                self._handlers[path] = path, handler
        # chats and texts are OpenAI's where two routes are called the same
        for path, handler in sorted(paths, key=lambda entry: not entry[0].startswith("/v1/")):
            self._handlers.setdefault(in_words(path), (path, handler))

    async def answer(self, http: web.Request) -> web.Response:
        """All answers in one, in the order of the requests; of one that is wrong its error."""
        body = await read_object(http, http.app[STATE].config.max_body)
        instances = body.get("instances")
        if not isinstance(instances, list):
            raise InvalidRequest("the request body must include an array 'instances'")
        if len(instances) > MAX_INSTANCES:
            raise InvalidRequest(f"'instances' has {len(instances)} entries, but at most {MAX_INSTANCES} are taken")
        tasks = [asyncio.ensure_future(self._predict(http, instance)) for instance in instances]
        try:
            return json_response({"predictions": await asyncio.gather(*tasks)})
        finally:
            for task in tasks:
                task.cancel()

    async def _predict(self, http: web.Request, instance: object) -> object:
        try:
            path, handler, body = self._read(instance)
            inner = http.clone(rel_url=URL.build(path=http.app[STATE].config.http.api_prefix + path))
            inner[GIVEN] = body
            response = await handler(inner)
        except LlamaHTTPError as error:
            return error_body(error)
        assert isinstance(response, web.Response), "nothing is streamed"
        assert isinstance(response.body, bytes), "every answer is JSON"
        return msgspec.Raw(response.body)

    def _read(self, instance: object) -> tuple[str, Handler, dict[str, object]]:
        """Where a request goes, and its body. Raises InvalidRequest."""
        if not isinstance(instance, dict):
            raise InvalidRequest(f"each of 'instances' must be an object, but one is {json_type(instance)}")
        name = instance.get(FORMAT)
        if not isinstance(name, str):
            raise InvalidRequest(f"each of 'instances' must have a string {FORMAT!r}")
        if name not in self._handlers:
            raise InvalidRequest(f"{FORMAT!r} is {name[:100]!r}, which is no route")
        body = {key: value for key, value in instance.items() if key != FORMAT}
        return *self._handlers[name], body | ({"stream": False} if "stream" in body else {})


def in_words(path: str) -> str:
    """`/v1/chat/completions` as `chatCompletions`."""
    first, *others = re.split(r"[/_-]", path.removeprefix("/v1").strip("/").partition("{")[0])
    return first + "".join(word[:1].upper() + word[1:] for word in others)
