"""Adapters: loaded for their own model only, and felt in the logits while they are set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from llamahttp.binding.adapter import LlamaAdapter
from llamahttp.binding.decoder import DecoderConfig, LlamaDecoder
from llamahttp.binding.model import LlamaModel
from llamahttp.errors import ModelError

from .. import models


def logits(decoder: LlamaDecoder) -> NDArray[np.float32]:
    """After three tokens in an empty context."""
    batch = decoder.batch
    batch.tokens[:3], batch.positions[:3], batch.outputs[:3] = (5, 6, 7), (0, 1, 2), (0, 0, 1)
    batch.set_sequence(0, 3, 0)
    decoder.remove(0, 0)
    decoder.decode(3)
    return decoder.logits(1)[0].copy()


CONFIG = DecoderConfig(
    n_ctx=256, n_seq_max=1, n_batch=256, n_ubatch=256, n_threads=1, n_threads_batch=1, kv_unified=False
)


def test_an_adapter_is_felt_by_its_scale_while_it_is_set(llama: LlamaModel, tmp_path: Path) -> None:
    decoder = LlamaDecoder(llama, replace(CONFIG, loras=((models.write_lora(tmp_path / "lora.gguf"), 0.0),)))
    plain = logits(decoder)
    changes = []
    for scale in (0.5, 1.0):
        decoder.set_adapters([(0, scale)])
        changes.append(np.abs(logits(decoder) - plain).max())
    assert changes[1] > changes[0] > 0
    decoder.set_adapters([])
    np.testing.assert_array_equal(logits(decoder), plain)
    decoder.close()


def test_adapters_are_applied_with_their_scales_at_first_and_after_a_rebuild(llama: LlamaModel, tmp_path: Path) -> None:
    decoder = LlamaDecoder(llama, replace(CONFIG, loras=((models.write_lora(tmp_path / "lora.gguf"), 0.5),)))
    half = logits(decoder)
    decoder.set_adapters([(0, 1.0)])
    whole = logits(decoder)
    assert np.abs(whole - half).max() > 0
    decoder.rebuild()
    np.testing.assert_array_equal(logits(decoder), whole)
    decoder.set_adapters([(0, 0.5)])
    np.testing.assert_array_equal(logits(decoder), half)
    decoder.close()


def test_a_wrong_adapter_is_one_clear_error_at_the_start(llama: LlamaModel, tmp_path: Path) -> None:
    right = models.write_lora(tmp_path / "right.gguf")
    wrong = models.write_lora(tmp_path / "wrong.gguf", replace(models.TINY, d_model=128))
    with pytest.raises(ModelError, match=r"cannot load the adapter .*wrong.gguf: ") as caught:
        LlamaDecoder(llama, replace(CONFIG, loras=((right, 1.0), (wrong, 1.0))))
    assert "\n" not in str(caught.value)


def test_closing_an_adapter_twice(llama: LlamaModel, tmp_path: Path) -> None:
    adapter = LlamaAdapter(llama, models.write_lora(tmp_path / "lora.gguf"))
    adapter.close()
    adapter.close()


def test_an_adapter_of_another_model_is_refused(llama: LlamaModel, tmp_path: Path) -> None:
    other = models.write_lora(tmp_path / "lora.gguf", replace(models.TINY, d_model=128))
    with pytest.raises(ModelError, match=r"cannot load the adapter .*lora.gguf: "):
        LlamaAdapter(llama, other)


def test_an_adapter_of_another_architecture_is_refused(llama: LlamaModel, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot load the adapter"):
        LlamaAdapter(llama, models.write_lora(tmp_path / "lora.gguf", architecture="gemma3"))


def test_a_model_is_no_adapter(llama: LlamaModel, llama_gguf: Path) -> None:
    with pytest.raises(ModelError, match="cannot load the adapter"):
        LlamaAdapter(llama, llama_gguf)


def test_a_missing_adapter(llama: LlamaModel, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        LlamaAdapter(llama, tmp_path / "none.gguf")
