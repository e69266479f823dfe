"""Fingerprint: the same for what can share states, another for what cannot."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from llamahttp.binding.adapter import LlamaAdapters
from llamahttp.binding.control_vector import ControlVector, read_control_vector
from llamahttp.binding.fingerprint import HEAD_BYTES, fingerprint, parts
from llamahttp.binding.llama_context import ContextSizes
from llamahttp.binding.model import LlamaModel

from .. import models
from .steps import CONFIG, SEPARATE, MakeDecoder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with a head and a rest that is small enough to be read whole."""
    path = tmp_path / "model.gguf"
    path.write_bytes(bytes(HEAD_BYTES + 10_000))
    return path


@pytest.mark.parametrize("at", [0, HEAD_BYTES - 1, HEAD_BYTES, HEAD_BYTES + 5000, HEAD_BYTES + 9999])
def test_a_changed_byte_makes_another(file: Path, at: int) -> None:
    before = fingerprint(file, [])
    assert fingerprint(file, []) == before
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(b"x")
    assert fingerprint(file, []) != before


def test_a_large_file_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "large.gguf"
    with path.open("wb") as opened:
        opened.truncate(100 << 30)  # no block of it is on the disk
    before = fingerprint(path, [])
    with path.open("r+b") as opened:
        opened.seek(-1, 2)
        opened.write(b"x")
    assert fingerprint(path, []) != before


def test_the_length_of_a_file_counts(file: Path) -> None:
    before = fingerprint(file, [])
    with file.open("ab") as opened:
        opened.write(b"\0")
    assert fingerprint(file, []) != before


def test_adapters_count_in_their_order_and_settings_too(file: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"one")
    second.write_bytes(b"two")
    choices = [([], ()), ([first], ()), ([first, second], ()), ([second, first], ()), ([], (1,)), ([], (2,))]
    assert len({fingerprint(file, adapters, *settings) for adapters, settings in choices}) == len(choices)


def test_every_part_of_a_split_model_counts(tmp_path: Path) -> None:
    names = [f"m-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    first = tmp_path / names[0]
    assert [part.name for part in parts(first)] == names
    before = fingerprint(first, [])
    (tmp_path / names[2]).write_bytes(b"another")
    assert fingerprint(first, []) != before
    assert parts(tmp_path / "m.gguf") == [tmp_path / "m.gguf"]


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fingerprint(tmp_path / "none.gguf", [])


@pytest.mark.parametrize(
    ("config", "is_same"),
    [
        (CONFIG, True),
        (replace(CONFIG, n_ctx=2048, n_seq_max=9, n_batch=64, n_ubatch=32, n_threads=2), True),
        (SEPARATE, False),
    ],
    ids=["again", "other sizes", "separate"],
)
def test_contexts_whose_states_fit_each_other(
    llama: LlamaModel, make_decoder: MakeDecoder, config: ContextSizes, is_same: bool
) -> None:
    assert (make_decoder(llama).fingerprint == make_decoder(llama, config).fingerprint) == is_same


def test_states_of_separate_streams_fit_the_same_number_only(llama: LlamaModel, make_decoder: MakeDecoder) -> None:
    two = make_decoder(llama, replace(SEPARATE, n_seq_max=2))
    assert two.fingerprint != make_decoder(llama, SEPARATE).fingerprint


def test_an_adapter_makes_another(llama: LlamaModel, make_decoder: MakeDecoder, tmp_path: Path) -> None:
    lora = models.write_lora(tmp_path / "lora.gguf")
    vectors = [(models.write_control_vector(tmp_path / "vector.gguf"), scale) for scale in (0.5, 0.5, 1.0)]
    with contextlib.ExitStack() as opened:
        kinds: list[tuple[list[Path], ControlVector | None]] = [([], None), ([lora], None), ([lora, lora], None)]
        kinds += [([lora], read_control_vector(llama, [vector])) for vector in vectors]
        kinds.append(([lora], read_control_vector(llama, vectors[:1], (1, 1))))
        adapters = [opened.enter_context(contextlib.closing(LlamaAdapters(llama, *kind))) for kind in kinds]
        found = [make_decoder(llama, CONFIG, each).fingerprint for each in adapters]
    assert found[3] == found[4]
    assert len({*found}) == len(found) - 1
