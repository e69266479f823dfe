"""Split models: the first part brings the others."""

from __future__ import annotations

import contextlib
from pathlib import Path

import gguf
import numpy as np
import pytest

from llamahttp.binding.decoder import LlamaDecoder
from llamahttp.binding.model import LlamaModel
from llamahttp.errors import ModelError

from .steps import CONFIG, prefill, text


def split(source: Path, folder: Path, n_tensors: int) -> list[Path]:
    """The parts of a model with so many tensors each."""
    reader = gguf.GGUFReader(source)
    with contextlib.redirect_stderr(None):
        writer = gguf.GGUFWriter(folder / "model.gguf", "llama", split_max_tensors=n_tensors)
        for field in reader.fields.values():
            if field.name.startswith("GGUF.") or field.name == "general.architecture":
                continue
            kind = field.types[0]
            item = field.types[-1] if kind is gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), kind, item)
        for tensor in reader.tensors:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return sorted(folder.glob("model-*.gguf"))


@pytest.fixture
def parts(llama_gguf: Path, tmp_path: Path) -> list[Path]:
    found = split(llama_gguf, tmp_path, 9)
    assert len(found) > 1
    assert found[0].name == f"model-00001-of-{len(found):05}.gguf"
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
