"""Adapters: loaded for their own model only, and felt in the logits while they are set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from llamahttp.binding.adapter import LlamaAdapter, LlamaAdapters
from llamahttp.binding.decoder import LlamaDecoder
from llamahttp.binding.llama_context import ContextSizes
from llamahttp.binding.model import LlamaModel
from llamahttp.errors import ModelError

from .. import models

SIZES = ContextSizes(
    n_ctx=256, n_seq_max=1, n_batch=256, n_ubatch=256, n_threads=1, n_threads_batch=1, kv_unified=False
)


def logits(decoder: LlamaDecoder) -> NDArray[np.float32]:
    """After three tokens in an empty context."""
    batch = decoder.batch
    batch.tokens[:3], batch.positions[:3], batch.outputs[:3] = (5, 6, 7), (0, 1, 2), (0, 0, 1)
    batch.set_sequence(0, 3, 0)
    decoder.remove(0, 0)
    decoder.decode(3)
    return decoder.logits(1)[0].copy()


@pytest.fixture
def adapted(llama: LlamaModel, tmp_path: Path) -> Iterator[LlamaDecoder]:
    """A decoder over a model with one LoRA."""
    adapters = LlamaAdapters(llama, [models.write_lora(tmp_path / "lora.gguf")])
    decoder = LlamaDecoder(llama, SIZES, adapters)
    yield decoder
    decoder.close()
    adapters.close()


def test_an_adapter_is_felt_by_its_scale_while_it_is_set(adapted: LlamaDecoder) -> None:
    plain = logits(adapted)
    changes = []
    for scale in (0.5, 1.0):
        adapted.set_adapters([(0, scale)])
        changes.append(np.abs(logits(adapted) - plain).max())
    assert changes[1] > changes[0] > 0
    adapted.set_adapters([])
    np.testing.assert_array_equal(logits(adapted), plain)


def test_what_was_set_last_is_applied_after_a_rebuild(adapted: LlamaDecoder) -> None:
    plain = logits(adapted)
    adapted.set_adapters([(0, 1.0)])
    whole = logits(adapted)
    adapted.rebuild()
    np.testing.assert_array_equal(logits(adapted), whole)
    adapted.set_adapters([])
    np.testing.assert_array_equal(logits(adapted), plain)


def test_a_wrong_adapter_is_one_clear_error_and_frees_the_others(llama: LlamaModel, tmp_path: Path) -> None:
    right = models.write_lora(tmp_path / "right.gguf")
    wrong = models.write_lora(tmp_path / "wrong.gguf", replace(models.TINY, d_model=128))
    with pytest.raises(ModelError, match=r"cannot load the adapter .*wrong.gguf: ") as caught:
        LlamaAdapters(llama, [right, wrong])
    assert "\n" not in str(caught.value)


def test_closing_adapters_twice(llama: LlamaModel, tmp_path: Path) -> None:
    adapters = LlamaAdapters(llama, [models.write_lora(tmp_path / "lora.gguf")])
    [lora] = adapters.loras
    adapters.close()
    adapters.close()
    lora.close()


def test_the_tokens_that_invoke_an_adapter(llama: LlamaModel, tmp_path: Path) -> None:
    plain = models.write_lora(tmp_path / "plain.gguf")
    activated = models.write_lora(tmp_path / "activated.gguf", invocation=(300, 301, 300))
    adapters = LlamaAdapters(llama, [plain, activated])
    assert [lora.invocation for lora in adapters.loras] == [(), (300, 301, 300)]
    adapters.close()


def test_an_invocation_that_no_prompt_can_hold_is_refused(llama: LlamaModel, tmp_path: Path) -> None:
    path = models.write_lora(tmp_path / "lora.gguf", invocation=(300, llama.info.n_vocab))
    with pytest.raises(ModelError, match=r"its invocation tokens \[300, 1200\] are not all in the vocabulary of 1200"):
        LlamaAdapter(llama, path)


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


def test_an_adapter_that_was_cut_short(llama: LlamaModel, tmp_path: Path) -> None:
    path = models.write_lora(tmp_path / "lora.gguf")
    whole = path.read_bytes()
    for n in (3, 20, len(whole) // 2, len(whole) - 100):
        path.write_bytes(whole[:n])
        with pytest.raises(ModelError, match=r"lora\.gguf") as caught:
            LlamaAdapter(llama, path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "metadata", [{"general.type": 1}, {"general.architecture": 1}, {"adapter.type": 1}, {"adapter.lora.alpha": 1}]
)
def test_metadata_of_a_wrong_type_does_not_end_the_process(
    llama: LlamaModel, tmp_path: Path, metadata: Mapping[str, int]
) -> None:
    """libllama asserts that they are what it expects, and aborts."""
    path = models.write_lora(tmp_path / "lora.gguf", metadata=metadata)
    with pytest.raises(ModelError, match=rf"its {next(iter(metadata))} is of a wrong type"):
        LlamaAdapter(llama, path)


@pytest.mark.parametrize("tensor", [np.zeros((2, 64), np.int32), np.zeros((3, 2, 64), np.float32)])
def test_tensors_that_are_no_weights_do_not_end_the_process(
    llama: LlamaModel, tmp_path: Path, tensor: NDArray[np.float32]
) -> None:
    path = tmp_path / "lora.gguf"
    with models.new_model(path, "llama") as writer:
        writer.add_string("general.type", "adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_tensor("blk.0.attn_q.weight.lora_a", tensor)
        writer.add_tensor("blk.0.attn_q.weight.lora_b", np.zeros((64, 2), np.float32))
    with pytest.raises(ModelError, match=r"its tensor 'blk.0.attn_q.weight.lora_a' holds no weights"):
        LlamaAdapter(llama, path)
