"""Control vectors: read, added up, and felt in the logits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest

from llamahttp.binding.adapter import LlamaAdapters
from llamahttp.binding.control_vector import read_control_vector
from llamahttp.binding.model import LlamaModel
from llamahttp.errors import ModelError

from .. import models
from .steps import CONFIG, MakeDecoder
from .test_adapter import logits

DEEP = replace(models.TINY, n_layers=4)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> LlamaModel:
    """A llama of four layers, of which three can be steered."""
    return LlamaModel(models.write_llama(tmp_path_factory.mktemp("deep") / "deep.gguf", DEEP))


def directions(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(path).tensors}


def test_files_are_added_up_by_layer_and_scale(deep: LlamaModel, tmp_path: Path) -> None:
    one = models.write_control_vector(tmp_path / "one.gguf", DEEP, layers=(1, 3), seed=1)
    two = models.write_control_vector(tmp_path / "two.gguf", DEEP, layers=(3, 9), seed=2)
    vector = read_control_vector(deep, [(one, 0.5), (two, -2.0)])
    rows, others = directions(one), directions(two)
    np.testing.assert_array_equal(vector.rows[0], rows["direction.1"] * np.float32(0.5))
    np.testing.assert_array_equal(vector.rows[1], np.zeros(DEEP.d_model, np.float32))
    expected = rows["direction.3"] * np.float32(0.5) + others["direction.3"] * np.float32(-2)
    np.testing.assert_array_equal(vector.rows[2], expected)
    assert vector.rows.shape == (3, DEEP.d_model), "a layer that the model has not was read"


@pytest.mark.parametrize(
    ("layers", "first", "last"), [(None, 1, 4), ((2, 3), 2, 3), ((0, 0), 1, 4), ((-1, 2), 1, 2), ((3, 2), 3, 2)]
)
def test_the_range_of_layers(
    deep: LlamaModel, tmp_path: Path, layers: tuple[int, int] | None, first: int, last: int
) -> None:
    path = models.write_control_vector(tmp_path / "vector.gguf", DEEP)
    vector = read_control_vector(deep, [(path, 1.0)], layers)
    assert (vector.first, vector.last) == (first, last)


def test_it_is_felt_in_the_layers_of_its_range_also_after_a_rebuild(
    deep: LlamaModel, make_decoder: MakeDecoder, tmp_path: Path
) -> None:
    path = models.write_control_vector(tmp_path / "vector.gguf", DEEP, layers=(1, 2, 3))
    plain = logits(make_decoder(deep))
    found = []
    for layers in (None, (1, 3), (2, 2), (3, 2)):
        vector = read_control_vector(deep, [(path, 1.0)], layers)
        decoder = make_decoder(deep, CONFIG, LlamaAdapters(deep, (), vector))
        found.append(logits(decoder))
        decoder.rebuild()
        np.testing.assert_array_equal(logits(decoder), found[-1])
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - found[2]).max() > 0.1 < np.abs(found[2] - plain).max()
    np.testing.assert_array_equal(found[3], plain)  # an empty range


def test_a_vector_of_another_model(llama: LlamaModel, tmp_path: Path) -> None:
    path = models.write_control_vector(tmp_path / "vector.gguf", replace(models.TINY, d_model=32))
    wrong = r"vector\.gguf is a control vector of another model: direction.1 has 32 numbers, .* embeddings have 64"
    with pytest.raises(ModelError, match=wrong):
        read_control_vector(llama, [(path, 1.0)])


@pytest.mark.parametrize(
    ("name", "layers"), [("direction", (0,)), ("direction", (-1,)), ("dir", (1,)), ("direction.x", (1,))]
)
def test_tensors_that_are_no_directions(llama: LlamaModel, tmp_path: Path, name: str, layers: tuple[int, ...]) -> None:
    path = models.write_control_vector(tmp_path / "vector.gguf", layers=layers, name=name)
    with pytest.raises(ModelError, match=rf"its tensor '{name}.{layers[0]}' is no direction.N"):
        read_control_vector(llama, [(path, 1.0)])


@pytest.mark.parametrize("data", [np.zeros(64, np.float16), np.zeros((2, 64), np.float32)])
def test_directions_of_another_kind(llama: LlamaModel, tmp_path: Path, data: np.ndarray) -> None:
    path = tmp_path / "vector.gguf"
    with models.new_model(path, "controlvector") as writer:
        writer.add_tensor("direction.1", data)
    with pytest.raises(ModelError, match=r"direction.1 must be one row of 32-bit floats"):
        read_control_vector(llama, [(path, 1.0)])


def test_a_direction_that_is_not_numbers(llama: LlamaModel, tmp_path: Path) -> None:
    path = tmp_path / "vector.gguf"
    with models.new_model(path, "controlvector") as writer:
        writer.add_tensor("direction.1", np.full(64, np.nan, np.float32))
    with pytest.raises(ModelError, match="holds what is not a number"):
        read_control_vector(llama, [(path, 1.0)])


def test_a_file_without_tensors(llama: LlamaModel, tmp_path: Path) -> None:
    path = models.write_control_vector(tmp_path / "vector.gguf", layers=())
    with pytest.raises(ModelError, match="is not a control vector: it has no tensor"):
        read_control_vector(llama, [(path, 1.0)])


def test_a_vector_that_was_cut_short(llama: LlamaModel, tmp_path: Path) -> None:
    path = models.write_control_vector(tmp_path / "vector.gguf")
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(ModelError, match=rf"was cut short: it has {len(whole) - 100} bytes of at least {len(whole)}"):
        read_control_vector(llama, [(path, 1.0)])
    path.write_bytes(whole[:50])
    with pytest.raises(ModelError, match="is not a GGUF file that can be read: "):
        read_control_vector(llama, [(path, 1.0)])


def test_a_text_is_no_control_vector(llama: LlamaModel, tmp_path: Path) -> None:
    path = tmp_path / "vector.gguf"
    path.write_text("steer to the left")
    with pytest.raises(ModelError, match="is not a GGUF file: it begins with b'stee'"):
        read_control_vector(llama, [(path, 1.0)])
