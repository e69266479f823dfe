"""Split models: the first part brings the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llamahttp.binding.decoder import LlamaDecoder
from llamahttp.binding.model import LlamaModel
from llamahttp.errors import ModelError

from .. import models
from .steps import CONFIG, prefill, text


@pytest.fixture
def parts(llama_gguf: Path, tmp_path: Path) -> list[Path]:
    found = models.split(llama_gguf, tmp_path, 3)
    assert [path.name for path in found] == [f"model-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    return found


def logits(path: Path) -> np.ndarray:
    model = LlamaModel(path)
    decoder = LlamaDecoder(model, CONFIG)
    found = prefill(decoder, text(20))
    decoder.close()
    model.close()
    return found


def test_the_first_part_loads_all(llama_gguf: Path, parts: list[Path]) -> None:
    np.testing.assert_array_equal(logits(parts[0]), logits(llama_gguf))


def test_a_missing_part_is_named(parts: list[Path]) -> None:
    parts[1].unlink()
    with pytest.raises(ModelError, match=parts[1].name):
        LlamaModel(parts[0])


def test_another_part_than_the_first_is_refused(parts: list[Path]) -> None:
    with pytest.raises(ModelError, match="split"):
        LlamaModel(parts[1])
