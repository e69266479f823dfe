"""Decoder: sequences that are copied, cut, shifted, saved and restored go on as if they had been computed anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from llamahttp.abc import BatchError
from llamahttp.binding.decoder import LlamaDecoder
from llamahttp.binding.llama_context import ContextSizes
from llamahttp.binding.model import LlamaModel

from .. import models
from .steps import CONFIG, SEPARATE, WINDOWED, MakeDecoder, assert_same, fill, greedy, prefill, text

KINDS: dict[str, tuple[str, ContextSizes]] = {
    "dense": ("llama", CONFIG),
    "dense-separate": ("llama", SEPARATE),
    "window": ("gemma3", WINDOWED),
    "window-separate": ("gemma3", replace(WINDOWED, kv_unified=False)),
    "window-full": ("gemma3", replace(WINDOWED, swa_full=True)),
    "recurrent": ("mamba", CONFIG),
    "recurrent-separate": ("mamba", SEPARATE),
    "hybrid": ("lfm2", CONFIG),
    "hybrid-separate": ("lfm2", SEPARATE),
}
"""Kinds of memory: fixture of the model, and the context."""

PARTIAL = ["window", "window-separate", "window-full", "recurrent", "recurrent-separate", "hybrid", "hybrid-separate"]
STATEFUL = ["recurrent", "recurrent-separate", "hybrid", "hybrid-separate"]

OpenDecoder = Callable[[], LlamaDecoder]


@pytest.fixture(params=list(KINDS))
def open_decoder(request: pytest.FixtureRequest, make_decoder: MakeDecoder) -> OpenDecoder:
    """Opens contexts of one kind."""
    name, config = KINDS[request.param]
    model: LlamaModel = request.getfixturevalue(name)
    return lambda: make_decoder(model, config)


def of_kinds(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("open_decoder", kinds, indirect=True)


def assert_goes_on(
    decoder: LlamaDecoder, id_seq: int, known: NDArray[np.int32], more: NDArray[np.int32], fresh: LlamaDecoder
) -> None:
    """Sequence `id_seq`, which holds `known`, continues with `more` as one does that is computed from the beginning."""
    fresh.remove(0, 0)
    expected, expected_logits = greedy(fresh, np.concatenate((known, more)))
    found, logits = greedy(decoder, more, len(known), id_seq)
    assert found == expected
    assert_same(logits, expected_logits)


# --- what a memory can do


@pytest.mark.parametrize(
    ("kind", "can_cut", "can_shift", "n_cells", "least_cut"),
    [
        ("dense", True, True, 1024, 0),
        ("dense-separate", True, True, 0, 0),
        # the cache has 256 cells for windows of 32: positions [144, 400), of which 175 is the first with its window
        ("window", False, False, 4096, 175),
        ("window-separate", False, False, 0, 175),
        ("window-full", False, True, 4096, 0),
        ("recurrent", False, False, 0, 200),
        ("hybrid", False, False, 1024, 200),
        ("hybrid-separate", False, False, 0, 200),
    ],
)
def test_what_a_memory_can_do(
    kind: str,
    can_cut: bool,
    can_shift: bool,
    n_cells: int,
    least_cut: int,
    request: pytest.FixtureRequest,
    make_decoder: MakeDecoder,
) -> None:
    name, config = KINDS[kind]
    decoder = make_decoder(request.getfixturevalue(name), config)
    assert (decoder.can_cut, decoder.can_shift, decoder.n_cells) == (can_cut, can_shift, n_cells)
    assert decoder.kv_unified == config.kv_unified
    assert decoder.least_cut(0) == 0
    prefill(decoder, text(400 if name == "gemma3" else 200))
    assert decoder.least_cut(0) == least_cut
    assert decoder.remove(0, decoder.least_cut(0))


def test_more_sequences_than_rows_of_a_batch(llama: LlamaModel, make_decoder: MakeDecoder) -> None:
    decoder = make_decoder(llama, replace(CONFIG, n_seq_max=13, n_batch=4, n_ubatch=4))
    assert decoder.n_seq_max == 13
    assert_goes_on(decoder, 12, text(0), text(30), make_decoder(llama))


@of_kinds("window", "window-separate", "window-full")
def test_prompts_side_by_side_see_whole_windows(open_decoder: OpenDecoder) -> None:
    """In a batch of several physical ones libllama drops cells of windows that the first of them still looks at."""
    decoder, fresh = open_decoder(), open_decoder()
    assert decoder.n_batch == decoder.n_ubatch
    half = decoder.n_batch // 2
    for start in range(0, 450, half):
        rows = fill(decoder, 0, text(480, 1)[start : start + half], start, 0, output=False)
        decoder.decode(fill(decoder, rows, text(480, 2)[start : start + half], start, 1, output=False))
    n = start + half
    for id_seq in (0, 1):
        assert_goes_on(decoder, id_seq, text(480, 1 + id_seq)[:n], text(20, 3), fresh)


# --- cutting


@of_kinds("window", "window-separate", *STATEFUL)
def test_a_refused_cut_changes_nothing(open_decoder: OpenDecoder) -> None:
    decoder, fresh = open_decoder(), open_decoder()
    tokens = text(min(600, decoder.n_ctx_seq - 50))
    prefill(decoder, text(100, 5), id_seq=2)
    prefill(decoder, tokens)
    least = decoder.least_cut(0)
    for start, stop in ((least - 1, -1), (least - 1, least), (1, 20), (0, 20)):
        assert not decoder.remove(0, start, stop)
    assert_goes_on(decoder, 0, tokens, text(20, 1), fresh)


def test_a_whole_sequence_can_always_be_removed(open_decoder: OpenDecoder) -> None:
    decoder = open_decoder()
    prefill(decoder, text(100, 1), id_seq=1)
    for known in (text(120), text(0), text(60)):
        if len(known):
            prefill(decoder, known, id_seq=0)
        state = decoder.save(0, partial=True)
        assert decoder.remove(0, 0)
        assert decoder.remove(0, 0)
        decoder.restore(0, state, partial=True)
        assert decoder.remove(0, 0)
    assert_goes_on(decoder, 0, text(0), text(50, 3), open_decoder())


# --- copying


def test_a_copy_and_its_original_go_on_each_in_its_way(open_decoder: OpenDecoder) -> None:
    decoder, fresh = open_decoder(), open_decoder()
    known = text(120)
    prefill(decoder, text(90, 7), id_seq=3)  # what the copy replaces
    prefill(decoder, known)
    decoder.copy(0, 3)
    assert_goes_on(decoder, 3, known, text(20, 1), fresh)
    assert_goes_on(decoder, 0, known, text(20, 2), fresh)


def test_copies_of_a_copy_go_on_when_the_original_is_gone(open_decoder: OpenDecoder) -> None:
    decoder, fresh = open_decoder(), open_decoder()
    known = text(120)
    prefill(decoder, known)
    decoder.copy(0, 1)
    decoder.copy(1, 2)
    assert decoder.remove(0, 0)
    assert decoder.remove(1, 0)
    prefill(decoder, text(60, 5), id_seq=0)
    assert_goes_on(decoder, 2, known, text(20, 1), fresh)


@of_kinds("dense", "dense-separate", "window", "window-separate", "window-full")
def test_a_copy_is_cut_and_the_original_is_not(open_decoder: OpenDecoder) -> None:
    decoder, fresh = open_decoder(), open_decoder()
    known = text(150)
    prefill(decoder, known)
    decoder.copy(0, 1)
    assert decoder.remove(1, 110)
    assert_goes_on(decoder, 1, known[:110], text(20, 1), fresh)
    assert_goes_on(decoder, 0, known, text(20, 2), fresh)


def test_a_copy_is_saved_before_anything_else_is_decoded(open_decoder: OpenDecoder) -> None:
    """libllama moves the data of separate streams with the next decode only."""
    decoder, fresh = open_decoder(), open_decoder()
    known = text(120)
    prefill(decoder, text(90, 7), id_seq=1)
    prefill(decoder, known)
    decoder.copy(0, 1)
    state = decoder.save(1)
    assert decoder.restore(2, state)
    for id_seq in (0, 1, 2):
        assert_goes_on(decoder, id_seq, known, text(10, id_seq), fresh)


def test_the_original_of_a_copy_takes_another_state_at_once(open_decoder: OpenDecoder) -> None:
    decoder, fresh = open_decoder(), open_decoder()
    known, other = text(120), text(100, 4)
    prefill(decoder, other)
    state = decoder.save(0)
    assert decoder.remove(0, 0)
    prefill(decoder, known)
    decoder.copy(0, 1)
    assert decoder.restore(0, state)
    assert_goes_on(decoder, 1, known, text(10, 1), fresh)
    assert_goes_on(decoder, 0, other, text(10, 2), fresh)


@of_kinds("dense-separate", "window-separate")
def test_a_copy_that_fills_its_stream_is_saved(open_decoder: OpenDecoder) -> None:
    """No room is left for the token with which libllama is made to move the data."""
    decoder = open_decoder()
    known = text(decoder.n_ctx_seq)
    prefill(decoder, known[:-40])
    prefill(decoder, known[-40:], len(known) - 40)
    decoder.copy(0, 1)
    state = decoder.save(1)
    assert decoder.restore(2, state)
    assert decoder.remove(2, len(known) - 1)
    expected = prefill(open_decoder(), known)
    assert_same(prefill(decoder, known[-1:], len(known) - 1, id_seq=2), expected)


def test_copies_of_a_window_do_not_keep_its_cells_from_being_reused(
    gemma3: LlamaModel, make_decoder: MakeDecoder
) -> None:
    """libllama does not reuse cells that several sequences have, and its cache for windows has no others then."""
    decoder, fresh = make_decoder(gemma3, WINDOWED), make_decoder(gemma3, WINDOWED)
    known = text(400)
    prefill(decoder, known)
    for target in (1, 2, 3):
        decoder.copy(0, target)
        assert decoder.remove(target, 390 if target == 2 else 400)
    more = text(300, 9)
    for start in range(0, len(more), 30):
        for id_seq in (0, 1, 3):
            prefill(decoder, more[start : start + 30], len(known) + start, id_seq)
    for id_seq in (0, 1, 3):
        assert_goes_on(decoder, id_seq, np.concatenate((known, more)), text(5, id_seq), fresh)
    assert_goes_on(decoder, 2, known[:390], text(5, 5), fresh)


# --- shifting


@of_kinds("dense", "dense-separate", "window-full")
def test_shifted_positions_are_what_was_computed_there(open_decoder: OpenDecoder) -> None:
    """Positions are relative: all moved by the same is as if none had been."""
    decoder, fresh = open_decoder(), open_decoder()
    known, more = text(100), text(20, 1)
    prefill(decoder, known)
    decoder.shift(0, 0, -1, 30)
    assert_same(prefill(decoder, more, 130), prefill(fresh, np.concatenate((known, more))))


@of_kinds("dense", "dense-separate", "window-full")
def test_a_shifted_sequence_is_saved_before_anything_else_is_decoded(open_decoder: OpenDecoder) -> None:
    decoder = open_decoder()
    known, more = text(100), text(20, 1)
    prefill(decoder, known)
    assert decoder.remove(0, 10, 40)
    decoder.shift(0, 40, -1, -30)
    decoder.copy(0, 2)
    state = decoder.save(2)
    assert decoder.restore(1, state)
    expected = prefill(decoder, more, 70)
    assert_same(prefill(decoder, more, 70, id_seq=1), expected)
    assert_same(prefill(decoder, more, 70, id_seq=2), expected)


# --- saving and restoring


def test_a_saved_sequence_goes_on_where_it_was(open_decoder: OpenDecoder) -> None:
    decoder, fresh = open_decoder(), open_decoder()
    known, other = text(150), text(100, 4)
    prefill(decoder, known, id_seq=1)
    state = decoder.save(1)
    assert isinstance(state, bytes)
    assert len(state) == decoder.saved_size(1)
    assert decoder.remove(1, 0)
    for id_seq in (0, 2, 3):
        prefill(decoder, other, id_seq=id_seq)
    assert decoder.restore(3, state)  # whatever it held
    assert decoder.restore(1, state)
    for id_seq in (1, 3):
        assert_goes_on(decoder, id_seq, known, text(10, id_seq), fresh)
    for id_seq in (0, 2):
        assert_goes_on(decoder, id_seq, other, text(10, id_seq), fresh)


def test_a_state_goes_into_another_context_with_the_same_fingerprint(open_decoder: OpenDecoder) -> None:
    first, second, fresh = open_decoder(), open_decoder(), open_decoder()
    known = text(150)
    prefill(first, known)
    assert first.fingerprint == second.fingerprint
    assert second.restore(2, first.save(0))
    assert_goes_on(second, 2, known, text(10, 1), fresh)


@of_kinds(*PARTIAL)
def test_a_checkpoint_brings_a_sequence_back(open_decoder: OpenDecoder) -> None:
    decoder, fresh = open_decoder(), open_decoder()
    known = text(120)
    prefill(decoder, known)
    checkpoint = decoder.save(0, partial=True)
    assert len(checkpoint) < decoder.saved_size(0) or decoder.n_cells == 0
    for seed in (1, 2):
        decoder.copy(0, 2)
        prefill(decoder, text(60, seed + 10), len(known), id_seq=2)
        prefill(decoder, text(100, seed + 20), id_seq=1)
        assert decoder.remove(1, 0)
        assert decoder.restore(2, checkpoint, partial=True)
        assert decoder.remove(2, len(known))
        assert_goes_on(decoder, 2, known, text(20, seed), fresh)


@of_kinds(*PARTIAL)
def test_a_checkpoint_goes_with_a_saved_sequence(open_decoder: OpenDecoder) -> None:
    """As it comes back from a file: first the whole, then the earlier point."""
    decoder, fresh = open_decoder(), open_decoder()
    known = text(120)
    prefill(decoder, known)
    checkpoint = decoder.save(0, partial=True)
    prefill(decoder, text(60, 1), len(known))
    state = decoder.save(0)
    assert decoder.remove(0, 0)
    assert decoder.restore(2, state)
    assert decoder.restore(2, checkpoint, partial=True)
    assert decoder.remove(2, len(known))
    assert_goes_on(decoder, 2, known, text(20, 2), fresh)


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: b"",
        lambda state: state[:7],
        lambda state: state[:-1],
        lambda state: state[: len(state) // 2],
        lambda state: state + b"\0",
        lambda state: b"\0" * len(state),
        lambda state: bytes(100),
    ],
    ids=["empty", "header", "a byte short", "half", "a byte long", "zeros", "something"],
)
@pytest.mark.parametrize("partial", [False, True])
def test_what_is_no_state_leaves_the_sequence_empty_and_others_alone(
    open_decoder: OpenDecoder, damage: Callable[[bytes], bytes], partial: bool
) -> None:
    decoder, fresh = open_decoder(), open_decoder()
    known, other = text(80), text(90, 1)
    prefill(decoder, known)
    prefill(decoder, other, id_seq=1)
    state = decoder.save(0, partial=partial)
    assert not decoder.restore(0, damage(state), partial=partial)
    assert_goes_on(decoder, 1, other, text(5, 2), fresh)
    assert_goes_on(decoder, 0, text(0), text(30, 3), fresh)


def test_a_state_of_another_model_is_refused(llama: LlamaModel, make_decoder: MakeDecoder, models_folder: Path) -> None:
    shape = replace(models.TINY, d_model=128)
    other = LlamaModel(models.write_llama(models_folder / "wide.gguf", shape))
    foreign, decoder = make_decoder(other), make_decoder(llama)
    prefill(foreign, text(50))
    assert foreign.fingerprint != decoder.fingerprint
    assert not decoder.restore(0, foreign.save(0))
    assert_goes_on(decoder, 0, text(0), text(30), make_decoder(llama))
    other.close()


def test_a_state_that_finds_no_room_is_refused(llama: LlamaModel, make_decoder: MakeDecoder) -> None:
    decoder = make_decoder(llama)
    prefill(decoder, text(600))
    state = decoder.save(0)
    assert not decoder.restore(1, state)
    assert decoder.remove(0, 0)
    assert decoder.restore(1, state)


def test_an_empty_sequence_is_saved_too(open_decoder: OpenDecoder) -> None:
    decoder = open_decoder()
    state = decoder.save(0)
    prefill(decoder, text(30), id_seq=1)
    assert decoder.restore(1, state)
    assert_goes_on(decoder, 1, text(0), text(30, 2), open_decoder())


# --- blocks


def test_blocks_that_were_saved_apart_make_one_sequence(llama: LlamaModel, make_decoder: MakeDecoder) -> None:
    decoder, fresh = make_decoder(llama), make_decoder(llama)
    known, scratch = text(300), 3
    prefill(decoder, known)
    blocks = []
    for start, stop in ((0, 256), (256, 300)):
        decoder.copy(0, scratch)
        assert decoder.remove(scratch, stop)
        assert decoder.remove(scratch, 0, start)
        blocks.append(decoder.save(scratch))
    assert decoder.remove(scratch, 0)
    assert_goes_on(decoder, 0, known, text(10, 1), fresh)
    assert decoder.remove(0, 0)
    prefill(decoder, text(200, 8), id_seq=1)  # the blocks find other cells than they had
    for block in blocks:
        assert decoder.restore(scratch, block)
        decoder.append(scratch, 2)
    assert decoder.remove(scratch, 0)
    assert_goes_on(decoder, 2, known, text(10, 2), fresh)


# --- a context made anew


def test_a_context_is_made_anew_with_empty_memory(open_decoder: OpenDecoder) -> None:
    decoder, fresh = open_decoder(), open_decoder()
    batch, fingerprint, known = decoder.batch, decoder.fingerprint, text(100)
    prefill(decoder, known)
    decoder.copy(0, 1)
    state = decoder.save(0)
    decoder.rebuild()
    assert decoder.batch is batch
    assert decoder.fingerprint == fingerprint
    for id_seq in (0, 1):
        assert_goes_on(decoder, id_seq, text(0), text(30), fresh)
    assert decoder.restore(2, state)
    assert_goes_on(decoder, 2, known, text(10), fresh)


def test_a_full_cache_is_empty_after_a_rebuild(llama: LlamaModel, make_decoder: MakeDecoder) -> None:
    decoder = make_decoder(llama)
    for id_seq in range(4):
        prefill(decoder, text(256), id_seq=id_seq)
    with pytest.raises(BatchError, match="Context size has been exceeded"):
        prefill(decoder, text(1), 256)
    decoder.rebuild()
    assert_goes_on(decoder, 0, text(0), text(300), make_decoder(llama))
