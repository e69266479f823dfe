"""Fixtures of the parity tests: both servers, with each of the models in turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llamahttp.config import DEMO_MODEL

from . import servers


@pytest.fixture(scope="session", params=["llama", "llama_bpe", "gemma3", "demo"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Pair]:
    """Both servers, with each model in turn."""
    if request.param != "demo":
        model: Path = request.getfixturevalue(f"{request.param}_gguf")
    elif DEMO_MODEL.exists():
        model = DEMO_MODEL
    else:
        pytest.skip("there is no demo model")
    with servers.pair(model, tmp_path_factory.mktemp("reference") / "log") as both:
        yield both
