"""Fixtures for the tests of the binding."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from llamahttp.binding import manifest
from llamahttp.binding.adapter import LlamaAdapters
from llamahttp.binding.decoder import LlamaDecoder
from llamahttp.binding.llama_context import ContextSizes
from llamahttp.binding.model import LlamaModel

from .steps import CONFIG, MakeDecoder


@pytest.fixture
def make_decoder() -> Iterator[MakeDecoder]:
    """Opens contexts and closes them at the end of the test."""
    opened: list[LlamaDecoder] = []

    def make(model: LlamaModel, config: ContextSizes = CONFIG, adapters: LlamaAdapters | None = None) -> LlamaDecoder:
        opened.append(LlamaDecoder(model, config, adapters))
        return opened[-1]

    yield make
    for decoder in opened:
        decoder.close()


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the library in use, its large files as links until a test replaces them."""
    where = tmp_path / "lib"
    where.mkdir()
    for path in manifest.directory().iterdir():
        if path.name == "manifest.json":
            shutil.copy(path, where)
        elif path.name.startswith("lib"):
            (where / path.name).symlink_to(path.resolve())
    return where
