"""Every parameter with every value, good and odd, beside llama-server: status, members, types, values, events."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from llamahttp.config import DEMO_MODEL

from .. import models
from . import servers
from .bodies import ROUTES, Route
from .compare import Answer, Client, difference
from .differences import DIFFERENCES, RANGE, TYPE, expected

FLAGS = {"embeds": ("--embeddings",), "ranks": ("--rerank",)}
CASES = [(route, name) for route in ROUTES for name in route.names.split()]
Ask = Callable[[Route, dict[str, object]], tuple[Answer, Answer]]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Asks ours and llama-server, both with the model that a route needs."""
    folder = tmp_path_factory.mktemp("bodies")
    with contextlib.ExitStack() as opened:

        @cache
        def clients(model: str) -> tuple[Client, Client]:
            flags = ["-c", "1024", *FLAGS.get(model, ())]
            pair = opened.enter_context(servers.pair(model_file(model, folder), folder / f"{model}.log", flags))
            ours, reference = Client(pair.ours), Client(pair.reference)
            opened.callback(ours.close)
            opened.callback(reference.close)
            return ours, reference

        def both(route: Route, body: dict[str, object]) -> tuple[Answer, Answer]:
            ours, reference = clients(route.model)
            return ours.ask("POST", route.path, body), reference.ask("POST", route.path, body)

        yield both


def model_file(name: str, folder: Path) -> Path:
    if name != "chats":
        write = {"generates": models.write_infill, "embeds": models.write_bert, "ranks": models.write_reranker}[name]
        return write(folder / f"{name}.gguf")
    if not DEMO_MODEL.exists():
        pytest.skip("there is no demo model")
    return DEMO_MODEL


def show(value: object) -> str | None:
    return f"{value.path}{' stream' if value.is_stream else ''}" if isinstance(value, Route) else None


@pytest.mark.parametrize(("route", "name"), CASES, ids=show)
def test_a_parameter(ask: Ask, route: Route, name: str) -> None:
    """Every value is answered as llama-server does, but for those with a reason, which are not."""
    reasons = expected(route.path, name, route.is_stream)
    wrong = []
    for key, body in route.bodies(name):
        ours, reference = ask(route, body)
        found, reason = difference(ours, reference), reasons.get(key)
        if bool(found) != (reason is not None):
            wrong.append(f"{name}={key}: {found or f'answered alike, but listed: {reason}'}")
        elif reason in (TYPE, RANGE):
            assert (ours.status, reference.status in (200, 500)) == (400, True), (key, ours.body, reference.body)
    assert wrong == []


def test_every_difference_is_of_a_case() -> None:
    known = {(route.path, name) for route, name in CASES}
    for row in DIFFERENCES:
        listed = {(path, name) for path in row.paths.split() for name in row.names.split()}
        assert listed & known, row
