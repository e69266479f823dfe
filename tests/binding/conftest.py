"""Fixtures for the tests of the binding."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llamahttp.binding.decoder import DecoderConfig, LlamaDecoder
from llamahttp.binding.model import LlamaModel

from .steps import CONFIG, MakeDecoder


@pytest.fixture
def make_decoder() -> Iterator[MakeDecoder]:
    """Opens contexts and closes them at the end of the test."""
    opened: list[LlamaDecoder] = []

    def make(model: LlamaModel, config: DecoderConfig = CONFIG) -> LlamaDecoder:
        opened.append(LlamaDecoder(model, config))
        return opened[-1]

    yield make
    for decoder in opened:
        decoder.close()
