"""An engine over a fake decoder."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from fakes import FakeDecoder, fake_engine

from llamahttp.engine import Engine


@pytest.fixture
def decoder() -> FakeDecoder:
    return FakeDecoder()


@pytest.fixture
async def engine(decoder: FakeDecoder) -> AsyncIterator[Engine]:
    engine = fake_engine(decoder)
    yield engine
    decoder.gate.set()
    await engine.close()
