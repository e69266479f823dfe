"""Fixtures for all tests: models written once a session, and what is opened over them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from llamahttp.binding.model import LlamaModel

from . import models
from .conversations import BASE, KINDS, Judge, Memory


@pytest.fixture(scope="session")
def models_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def llama_gguf(models_folder: Path) -> Path:
    return models.write_llama(models_folder / "llama.gguf")


@pytest.fixture(scope="session")
def llama_bpe_gguf(models_folder: Path) -> Path:
    return models.write_llama_bpe(models_folder / "llama-bpe.gguf")


@pytest.fixture(scope="session")
def gemma3_gguf(models_folder: Path) -> Path:
    """Layers with a sliding window of `models.WINDOW` tokens."""
    return models.write_gemma3(models_folder / "gemma3.gguf")


@pytest.fixture(scope="session")
def llama(llama_gguf: Path) -> Iterator[LlamaModel]:
    """An open llama with an SPM vocabulary."""
    model = LlamaModel(llama_gguf)
    yield model
    model.close()


@pytest.fixture(scope="session")
def llama_bpe(llama_bpe_gguf: Path) -> Iterator[LlamaModel]:
    """An open llama with a GPT-2-like vocabulary."""
    model = LlamaModel(llama_bpe_gguf)
    yield model
    model.close()


@pytest.fixture(scope="session")
def gemma3(gemma3_gguf: Path) -> Iterator[LlamaModel]:
    """An open gemma3."""
    model = LlamaModel(gemma3_gguf)
    yield model
    model.close()


@pytest.fixture(scope="session")
def mamba(models_folder: Path) -> Iterator[LlamaModel]:
    """An open mamba: nothing but a recurrent state."""
    model = LlamaModel(models.write_mamba(models_folder / "mamba.gguf"))
    yield model
    model.close()


@pytest.fixture(scope="session")
def lfm2(models_folder: Path) -> Iterator[LlamaModel]:
    """An open lfm2: attention and a recurrent state."""
    model = LlamaModel(models.write_lfm2(models_folder / "lfm2.gguf"))
    yield model
    model.close()


@pytest.fixture(scope="session")
def judges(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Judge]]:
    """A judge for each model, by the name of its fixture."""
    with contextlib.ExitStack() as opened:
        yield functools.cache(lambda name: opened.enter_context(Judge(request.getfixturevalue(name))))


@pytest.fixture(params=list(KINDS))
def memory(request: pytest.FixtureRequest, judges: Callable[[str], Judge]) -> Memory:
    """Each kind of memory in turn."""
    name, changes = KINDS[request.param]
    judge = judges(name)
    return Memory(request.param, replace(BASE, model=Path(judge.model.info.path), **changes), judge)
