"""Decoder: batches in, logits out, and memory that is what the sequences hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llamahttp.abc import BatchError
from llamahttp.binding.decoder import LlamaDecoder
from llamahttp.binding.llama_context import SPARSE, ContextSizes, kv_bytes
from llamahttp.binding.model import LlamaModel
from llamahttp.errors import ModelError

from ..models import WINDOW
from .steps import CONFIG, SEPARATE, WINDOWED, MakeDecoder, assert_same, fill, prefill, text

# --- sizes


def test_sizes_are_as_asked_for(llama: LlamaModel, make_decoder: MakeDecoder) -> None:
    unified, separate = make_decoder(llama), make_decoder(llama, SEPARATE)
    assert (unified.n_ctx, unified.n_ctx_seq, unified.n_seq_max) == (1024, 1024, 4)
    assert (separate.n_ctx, separate.n_ctx_seq, separate.n_seq_max) == (1024, 256, 4)
    assert (unified.n_batch, unified.n_ubatch, len(unified.batch.tokens)) == (256, 64, 256)


@pytest.mark.parametrize("n_ctx", [1 << 31, 4_000_000_000])
def test_a_context_that_no_memory_holds_is_one_clear_error(llama: LlamaModel, n_ctx: int) -> None:
    with pytest.raises(ModelError, match=rf"a context of {n_ctx} tokens needs .* GiB .* try a smaller --ctx-size") as e:
        LlamaDecoder(llama, replace(CONFIG, n_ctx=n_ctx))
    assert "\n" not in str(e.value)


def test_the_memory_of_a_cache_is_that_of_its_keys_and_values() -> None:
    metadata = {
        "general.architecture": "x",
        "x.block_count": "32",
        "x.embedding_length": "4096",
        "x.attention.head_count": "32",
        "x.attention.head_count_kv": "8",
    }
    full = 8192 * 32 * 8 * (128 + 128) * 2
    assert kv_bytes(metadata, 8192) == full
    assert kv_bytes(metadata | {"x.attention.key_length": "64", "x.attention.value_length": "64"}, 8192) == full // 2


@pytest.mark.parametrize(
    ("changes", "share"),
    [
        ({"x.attention.sliding_window": "512"}, SPARSE),  # other layers keep their window only
        ({"x.ssm.state_size": "16"}, SPARSE),  # hybrid
        ({"x.attention.head_count_kv": ""}, 8),  # a table: not among the metadata
    ],
    ids=str,
)
def test_what_needs_less_than_full_attention_is_not_refused_for_it(changes: dict[str, str], share: int) -> None:
    metadata = {
        "general.architecture": "x",
        "x.block_count": "32",
        "x.embedding_length": "4096",
        "x.attention.head_count": "32",
        "x.attention.head_count_kv": "8",
    }
    known = {key: value for key, value in (metadata | changes).items() if value}
    assert kv_bytes(known, 8192) == kv_bytes(metadata, 8192) // share


@pytest.mark.parametrize("metadata", [{}, {"general.architecture": "mamba", "mamba.block_count": "64"}])
def test_a_model_without_attention_has_no_cache(metadata: dict[str, str]) -> None:
    assert kv_bytes(metadata, 1 << 20) == 0


# --- logits


@pytest.mark.parametrize("config", [CONFIG, SEPARATE], ids=["unified", "separate"])
def test_logits_come_in_the_order_of_the_rows_that_asked(
    llama: LlamaModel, make_decoder: MakeDecoder, config: ContextSizes
) -> None:
    """Also where libllama computes the rows in another order: several sequences over several physical batches."""
    decoder, alone = make_decoder(llama, config), make_decoder(llama, config)
    prompts = {id_seq: text(n, seed=id_seq) for id_seq, n in ((2, 90), (0, 5), (3, 70), (1, 40))}
    row = 0
    for id_seq, prompt in prompts.items():
        row = fill(decoder, row, prompt, 0, id_seq, output=True)
    decoder.decode(row)
    together = decoder.logits(4).copy()
    for logits, (id_seq, prompt) in zip(together, prompts.items(), strict=True):
        assert_same(logits, prefill(alone, prompt, id_seq=id_seq))


def test_rows_without_output_have_no_logits(llama: LlamaModel, make_decoder: MakeDecoder) -> None:
    decoder = make_decoder(llama)
    row = fill(decoder, 0, text(30, 1), 0, 0, output=False)
    row = fill(decoder, row, text(30, 2), 0, 1, output=True)
    decoder.decode(row)
    logits = decoder.logits(1)[0].copy()
    assert_same(logits, prefill(make_decoder(llama), text(30, 2)))


def test_a_batch_may_ask_for_more_rows_than_there_are_sequences(llama: LlamaModel, make_decoder: MakeDecoder) -> None:
    decoder = make_decoder(llama, replace(CONFIG, n_seq_max=1, n_outputs=3))
    tokens, clean = text(30), make_decoder(llama)
    fill(decoder, 0, tokens, 0, 0, output=True)
    decoder.batch.outputs[[9, 19]] = 1
    decoder.decode(30)
    for logits, start, stop in zip(decoder.logits(3), (0, 10, 20), (10, 20, 30), strict=True):
        assert_same(logits, prefill(clean, tokens[start:stop], start))


def test_parts_of_a_prompt_give_what_the_whole_gives(llama: LlamaModel, make_decoder: MakeDecoder) -> None:
    tokens = text(200)
    whole = prefill(make_decoder(llama), tokens)
    decoder = make_decoder(llama)
    for start, stop in ((0, 1), (1, 64), (64, 199), (199, 200)):
        logits = prefill(decoder, tokens[start:stop], start)
    assert_same(logits, whole)


def test_sequences_do_not_see_each_other(llama: LlamaModel, make_decoder: MakeDecoder) -> None:
    decoder = make_decoder(llama)
    prefill(decoder, text(100, 1), id_seq=1)
    prefill(decoder, text(100, 2), id_seq=2)
    assert_same(prefill(decoder, text(50, 3), id_seq=0), prefill(make_decoder(llama), text(50, 3)))


# --- forgetting


def test_what_is_removed_is_as_if_it_had_never_been(llama: LlamaModel, make_decoder: MakeDecoder) -> None:
    decoder = make_decoder(llama)
    first, second = text(120, 1), text(80, 2)
    prefill(decoder, first)
    assert decoder.remove(0, 40)
    expected = prefill(make_decoder(llama), np.concatenate((first[:40], second)))
    assert_same(prefill(decoder, second, start=40), expected)


def test_removing_all_frees_the_cells_for_others(llama: LlamaModel, make_decoder: MakeDecoder) -> None:
    decoder = make_decoder(llama)
    for id_seq in range(4):
        prefill(decoder, text(250, id_seq), id_seq=id_seq)
    with pytest.raises(BatchError):
        prefill(decoder, text(100), start=250)
    assert decoder.remove(1, 0)
    prefill(decoder, text(100), start=250)


def test_removing_what_is_not_there_is_no_error(llama: LlamaModel, make_decoder: MakeDecoder) -> None:
    decoder = make_decoder(llama)
    assert decoder.remove(0, 0)
    assert decoder.remove(3, 10)
    prefill(decoder, text(20))
    assert decoder.remove(0, 20)


# --- errors


@pytest.mark.parametrize(("config", "n_room"), [(CONFIG, 1024), (SEPARATE, 256)], ids=["unified", "separate"])
def test_a_full_cache_refuses_the_batch_and_keeps_what_it_has(
    llama: LlamaModel, make_decoder: MakeDecoder, config: ContextSizes, n_room: int
) -> None:
    decoder = make_decoder(llama, config)
    tokens = text(n_room + 10)
    prefill(decoder, tokens[: n_room - 10])
    with pytest.raises(BatchError, match="Context size has been exceeded") as caught:
        prefill(decoder, tokens[n_room - 10 :], start=n_room - 10)
    assert caught.value.no_cells
    assert not caught.value.fatal
    # the ten cells that are left still take the tokens that fit
    logits = prefill(decoder, tokens[n_room - 10 : n_room], start=n_room - 10)
    larger = make_decoder(llama, replace(config, n_ctx=2 * config.n_ctx))
    assert_same(logits, prefill(larger, tokens[:n_room]))


def test_a_batch_that_leaves_a_gap_is_refused(llama: LlamaModel, make_decoder: MakeDecoder) -> None:
    decoder = make_decoder(llama)
    prefill(decoder, text(10))
    with pytest.raises(BatchError, match="Invalid input batch") as caught:
        prefill(decoder, text(10), start=50)
    assert not caught.value.no_cells
    assert not caught.value.fatal
    assert_same(prefill(decoder, text(20)[10:], start=10), prefill(make_decoder(llama), text(20)))


@pytest.mark.parametrize("token", [-1, 1200])
def test_a_token_outside_the_vocabulary_is_refused(llama: LlamaModel, make_decoder: MakeDecoder, token: int) -> None:
    decoder = make_decoder(llama)
    with pytest.raises(BatchError, match="Invalid input batch"):
        prefill(decoder, np.array([400, token], np.int32))
    prefill(decoder, text(10))


def test_a_refusal_gives_its_own_reason_and_no_older_one(llama: LlamaModel, make_decoder: MakeDecoder) -> None:
    decoder = make_decoder(llama)
    with pytest.raises(BatchError, match=r"Invalid input batch: .*neither token ids nor embeddings"):
        prefill(decoder, np.array([-1], np.int32))
    prefill(decoder, text(10))
    with pytest.raises(BatchError, match="Invalid input batch: ") as caught:
        prefill(decoder, text(10), start=50)
    assert "embeddings" not in str(caught.value)


def test_closing_twice_and_closing_after_the_model(llama_gguf: object, make_decoder: MakeDecoder) -> None:
    model = LlamaModel(llama_gguf)  # type: ignore[arg-type]
    decoder = make_decoder(model)
    model.close()
    prefill(decoder, text(10))  # the context keeps its model
    decoder.close()
    decoder.close()
    with pytest.raises(AssertionError, match="the context is closed"):
        decoder.decode(1)
    with pytest.raises(AssertionError, match="the context is closed"):
        decoder.remove(0, 0)


# --- sliding windows


@pytest.mark.parametrize("unified", [True, False])
def test_a_cut_that_needs_forgotten_cells_is_refused(
    gemma3: LlamaModel, make_decoder: MakeDecoder, unified: bool
) -> None:
    config = replace(WINDOWED, kv_unified=unified)
    decoder = make_decoder(gemma3, config)
    first, second = text(900, 1), text(60, 2)
    prefill(decoder, first)
    assert not decoder.remove(0, 100)
    assert decoder.remove(0, 0)
    changed = np.concatenate((first[:100], second))
    assert_same(prefill(decoder, changed), prefill(make_decoder(gemma3, config), changed))


def test_a_full_size_cache_takes_any_cut(gemma3: LlamaModel, make_decoder: MakeDecoder) -> None:
    decoder = make_decoder(gemma3, replace(WINDOWED, swa_full=True))
    first, second = text(900, 1), text(60, 2)
    prefill(decoder, first)
    assert decoder.remove(0, 100)
    expected = prefill(make_decoder(gemma3, WINDOWED), np.concatenate((first[:100], second)))
    assert_same(prefill(decoder, second, start=100), expected)


def test_a_conversation_goes_on_where_it_was_while_others_took_the_cells(
    gemma3: LlamaModel, make_decoder: MakeDecoder
) -> None:
    """Others reuse every cell that the next token does not look back at: not one more is needed to go on."""
    decoder = make_decoder(gemma3, WINDOWED)
    tokens = text(500)
    prefill(decoder, tokens[:400])
    prefill(decoder, text(900, 7), id_seq=1)
    assert decoder.remove(0, 400)
    assert_same(prefill(decoder, tokens[400:], start=400), prefill(make_decoder(gemma3, WINDOWED), tokens))


def test_every_cut_that_is_allowed_is_exact(gemma3: LlamaModel, make_decoder: MakeDecoder) -> None:
    """After single steps, which overwrite one cell each: as near to the window's edge as it gets."""
    decoder, clean = make_decoder(gemma3, WINDOWED), make_decoder(gemma3, WINDOWED)
    tokens, other = text(420, 1), text(1, 2)
    allowed = []
    # the cache has 256 cells for the window of 32
    for back in (0, 1, WINDOW, *range(220, 230)):
        decoder.remove(0, 0)
        prefill(decoder, tokens[:400])
        for position in range(400, 420):
            prefill(decoder, tokens[position : position + 1], start=position)
        start = len(tokens) - back
        if decoder.remove(0, start):
            allowed.append(back)
            clean.remove(0, 0)
            expected = prefill(clean, np.concatenate((tokens[:start], other)))
            assert_same(prefill(decoder, other, start=start), expected)
    assert {0, 1, WINDOW, 220} <= set(allowed)
    assert 229 not in allowed
