"""ResidentCache over a fake decoder: what a prompt finds, what it takes, and what is dropped for it."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import FakeDecoder
from numpy.typing import NDArray

from llamahttp.cache.archive import BLOCK
from llamahttp.cache.resident import ResidentCache
from llamahttp.cache.sequence import NOWHERE, Sequence
from llamahttp.cache.snapshot import Checkpoint, Snapshot
from llamahttp.cache.store import Store
from llamahttp.errors import EngineError
from llamahttp.task import CacheUse


def new_cache(decoder: FakeDecoder, ram: int = 0, checkpoint_bytes: int | None = None) -> ResidentCache:
    store = Store(ram, None, decoder.fingerprint, can_cut=decoder.can_cut)
    return ResidentCache(decoder, store, n_slots=decoder.n_slots, n_checkpoints=4, checkpoint_bytes=checkpoint_bytes)


def ids(text: str) -> NDArray[np.int32]:
    return np.frombuffer(text.encode(), np.uint8).astype(np.int32)


def take(cache: ResidentCache, text: str, id_slot: int = 0, n_min_chunk: int = 0) -> tuple[Sequence, CacheUse]:
    """Take a sequence for a prompt, as placing a task does."""
    tokens = ids(text)
    taken = cache.take(cache.match(NOWHERE, tokens[:-1]), NOWHERE, tokens, len(tokens), id_slot, n_min_chunk)
    return taken.sequence, taken.use


def compute(cache: ResidentCache, decoder: FakeDecoder, sequence: Sequence, n: int) -> None:
    """Evaluate the next `n` tokens of a sequence."""
    while n > decoder.n_batch:
        compute(cache, decoder, sequence, decoder.n_batch)
        n -= decoder.n_batch
    batch, n_past = decoder.batch, sequence.n_past
    batch.tokens[:n] = sequence.tokens[n_past : n_past + n]
    batch.positions[:n] = np.arange(n_past, n_past + n)
    batch.outputs[:n] = 0
    batch.set_sequence(0, n, sequence.id)
    decoder.decode(n)
    cache.grow(sequence, n)


def run(cache: ResidentCache, decoder: FakeDecoder, text: str) -> CacheUse:
    """A task that only has its prompt computed."""
    sequence, use = take(cache, text)
    compute(cache, decoder, sequence, len(text) - sequence.n_past)
    cache.release(sequence)
    return use


def test_a_prompt_that_goes_on_takes_the_sequence_over() -> None:
    decoder = FakeDecoder()
    cache = new_cache(decoder)
    run(cache, decoder, "one two three")
    assert run(cache, decoder, "one two three four") == CacheUse(resident=13)
    assert [sequence.n_past for sequence in cache.sequences] == [18, 0, 0, 0]


def test_a_prompt_that_parts_leaves_the_sequence_and_shares_its_cells() -> None:
    decoder = FakeDecoder()
    cache = new_cache(decoder)
    run(cache, decoder, "one two three")
    assert run(cache, decoder, "one two four") == CacheUse(resident=8)
    assert cache.n_cells_used == decoder.n_used == 13 + 4


def test_where_streams_are_separate_a_prompt_that_parts_late_goes_on_in_place() -> None:
    decoder = FakeDecoder(kv_unified=False)
    cache = new_cache(decoder)
    run(cache, decoder, "one two three")
    assert run(cache, decoder, "one two four") == CacheUse(resident=8)
    assert sum(sequence.is_cached for sequence in cache.sequences) == 1


def test_what_is_being_computed_is_waited_for_only_where_it_pays() -> None:
    decoder = FakeDecoder()
    cache = new_cache(decoder)
    sequence, _ = take(cache, "a beginning of some length, and the first end")
    compute(cache, decoder, sequence, 10)
    assert cache.match(NOWHERE, ids("a beginning of some length")).coming is None
    compute(cache, decoder, sequence, 20)
    assert cache.match(NOWHERE, ids("a beginning of some length, and the second end")).n_resident == 30
    other, _ = take(cache, "something that is longer than what one would not wait for", id_slot=1)
    compute(cache, decoder, other, 1)
    match = cache.match(NOWHERE, ids("something that is longer than what you think"))
    assert (match.coming, match.n_common, match.n_resident) == (other, 35, 1)


def test_the_sequence_used_longest_ago_makes_room() -> None:
    decoder = FakeDecoder(n_ctx=40)
    cache = new_cache(decoder)
    for text in ("first " * 2, "second " * 2, "first " * 2 + "again"):
        run(cache, decoder, text)
    assert cache.make_room(12)
    assert [sequence.n_past for sequence in cache.sequences] == [17, 0, 0, 0]
    assert cache.n_evicted == 1


def test_no_room_is_made_in_vain() -> None:
    decoder = FakeDecoder(n_ctx=40)
    cache = new_cache(decoder)
    run(cache, decoder, "cached")
    busy, _ = take(cache, "b" * 30, id_slot=1)
    compute(cache, decoder, busy, 30)
    assert not cache.make_room(11)
    assert cache.n_evicted == 0


@pytest.mark.parametrize(("checkpoint_bytes", "n_kept"), [(None, 4), (8 * 30, 1), (0, 0)])
def test_checkpoints_keep_their_limits(checkpoint_bytes: int | None, n_kept: int) -> None:
    decoder = FakeDecoder(can_cut=False)
    cache = new_cache(decoder, checkpoint_bytes=checkpoint_bytes)
    sequence, _ = take(cache, "x" * 60)
    for _ in range(6):
        compute(cache, decoder, sequence, 5)
        cache.checkpoint(sequence)
    assert len(sequence.checkpoints) == n_kept
    if n_kept:
        assert sequence.checkpoints[-1].n_tokens == 30, "the newest is the one that the next turn needs"


# --- moved parts


def test_a_part_that_was_cut_out_is_skipped() -> None:
    decoder = FakeDecoder()
    cache = new_cache(decoder)
    sequence, _ = take(cache, "head. first part, second part, question", n_min_chunk=4)
    compute(cache, decoder, sequence, len("head. first part, second part, question"))
    cache.release(sequence)
    _, use = take(cache, "head. second part, question again", n_min_chunk=4)
    assert use == CacheUse(resident=len("head. second part, question"))
    assert bytes(decoder.memory[0]).decode() == "head. second part, question"
    assert cache.n_cells_used == decoder.n_used


def test_a_prompt_that_moves_nothing_leaves_anothers_conversation_alone() -> None:
    decoder = FakeDecoder()
    cache = new_cache(decoder)
    run(cache, decoder, "^one conversation of some length")
    sequence, _ = take(cache, "^something else entirely", id_slot=1, n_min_chunk=8)
    compute(cache, decoder, sequence, 20)
    cache.release(sequence)
    assert take(cache, "^one conversation of some length, continued", n_min_chunk=8)[1].resident == 32


def test_cells_that_others_share_are_not_moved_and_their_sequence_stays() -> None:
    decoder = FakeDecoder()
    cache = new_cache(decoder)
    run(cache, decoder, "head. first part, second part, question")
    copy, _ = take(cache, "head. first part, second part, answer", id_slot=1)
    compute(cache, decoder, copy, 3)
    _, use = take(cache, "head. second part, question again", n_min_chunk=4)
    assert use == CacheUse(resident=len("head. "))
    assert cache.match(NOWHERE, ids("head. first part, second part, question")).n_resident == 39


# --- errors


class FailingDecoder(FakeDecoder):
    """Raises EngineError where `failing` names what is called, after `patience` calls that succeed."""

    failing = ""
    patience = 0

    def _may_fail(self, name: str) -> None:
        if name == self.failing:
            self.patience -= 1
            if self.patience >= 0:
                return
            raise EngineError("no memory for the 9 bytes of a sequence's state")

    def save(self, id_seq: int, *, partial: bool = False) -> bytes:
        self._may_fail("partial" if partial else "save")
        return super().save(id_seq, partial=partial)

    def copy(self, source: int, target: int) -> None:
        super().copy(source, target)  # all that was done before it failed
        self._may_fail("copy")

    def restore(self, id_seq: int, state: bytes, *, partial: bool = False) -> bool:
        self._may_fail("restore")
        return super().restore(id_seq, state, partial=partial)


@pytest.mark.parametrize("n_spare", [0, 1])
def test_what_cannot_be_stored_is_given_up_and_said_so(n_spare: int, caplog: pytest.LogCaptureFixture) -> None:
    decoder = FailingDecoder(n_spare=n_spare)
    cache = new_cache(decoder, ram=1 << 20)
    run(cache, decoder, "a text that is long enough for the store, " * 10)
    decoder.failing = "save"
    assert cache.evict_one()
    assert cache.n_cells_used == decoder.n_used == 0
    assert "cannot be stored: no memory for the 9 bytes" in caplog.text


def test_a_failed_checkpoint_costs_the_task_nothing(caplog: pytest.LogCaptureFixture) -> None:
    decoder = FailingDecoder(can_cut=False)
    cache = new_cache(decoder)
    sequence, _ = take(cache, "a text")
    compute(cache, decoder, sequence, 3)
    decoder.failing = "partial"
    cache.checkpoint(sequence)
    assert sequence.checkpoints == [] and "no checkpoint at 3 tokens" in caplog.text


def test_a_failed_copy_fails_one_task_and_leaves_its_source_as_it_was() -> None:
    decoder = FailingDecoder()
    cache = new_cache(decoder)
    run(cache, decoder, "one two three")
    decoder.failing = "copy"
    with pytest.raises(EngineError):
        take(cache, "one two four")
    assert [sequence.is_empty for sequence in cache.sequences] == [False, True, True, True]
    assert [len(cells) for cells in decoder.cells] == [13, 0, 0, 0]
    decoder.failing = ""
    assert run(cache, decoder, "one two four") == CacheUse(resident=8)
    assert cache.n_cells_used == decoder.n_used


@pytest.mark.parametrize(("n_spare", "n_filled"), [(0, 0), (3, 0), (3, 1)])
def test_a_sequence_that_cannot_be_filled_is_empty_afterwards_and_not_found(n_spare: int, n_filled: int) -> None:
    decoder = FailingDecoder(n_slots=2, n_spare=n_spare)
    cache = new_cache(decoder, ram=1 << 20)
    text = "a text that is long enough for the store, " * 10
    run(cache, decoder, text)
    cache.evict_one()
    decoder.failing, decoder.patience = "restore", n_filled
    with pytest.raises(EngineError):
        take(cache, text)
    assert all(sequence.is_empty for sequence in cache.sequences)
    assert cache.n_cells_used == decoder.n_used == 0
    decoder.failing = ""
    assert take(cache, text)[1].ram == len(text) - 1


def test_a_shift_that_cannot_have_cells_of_its_own_is_refused() -> None:
    decoder = FailingDecoder()
    cache = new_cache(decoder)
    run(cache, decoder, "one two three")
    sequence, _ = take(cache, "one two four", id_slot=1)
    compute(cache, decoder, sequence, 4)
    decoder.failing = "save"
    assert not cache.discard(sequence, 2, 3)


# --- the store


def test_what_the_store_has_dropped_is_stored_again_before_it_is_evicted() -> None:
    decoder = FakeDecoder(n_slots=1, n_spare=4)
    text, other = "a text that is long enough for the store, " * 12, "w" * 600
    cache = new_cache(decoder, ram=8000)
    run(cache, decoder, text)
    sequence = cache.last_of(0)
    assert sequence is not None
    cache.save(sequence)
    run(cache, decoder, other)
    second = next(each for each in cache.sequences if each.is_cached and each is not sequence)
    cache.save(second)  # takes the place of the first in the store, though not in memory
    cache.forget(second)
    cache.evict_one()
    assert take(cache, text)[1].ram == len(text) - 1


def test_checkpoints_count_before_room_is_made() -> None:
    decoder = FakeDecoder(n_slots=1, can_cut=False, kv_unified=False)
    cache = new_cache(decoder, ram=(8 + 4) * 100 + 1000)
    sequence, _ = take(cache, "x" * 100)
    for _ in range(4):
        compute(cache, decoder, sequence, 25)
        cache.checkpoint(sequence)
    cache.release(sequence)
    cache.save(sequence)
    assert sequence.is_refused and sequence.n_stored == 0


def test_what_a_shift_has_moved_is_not_kept_for_anybody() -> None:
    decoder = FakeDecoder()
    cache = new_cache(decoder, ram=1 << 20)
    text = "a text that is long enough for the store, " * 2
    for n_shared, n_found in ((0, 0), (len(text), len(text) - 1)):
        sequence, _ = take(cache, text)
        compute(cache, decoder, sequence, len(text))
        cache.give_back(sequence, n_shared)
        assert cache.match(NOWHERE, ids(text)[:-1]).n_found == n_found


@pytest.mark.parametrize(("can_cut", "n_left"), [(True, 50), (False, 40)])
def test_what_only_its_task_may_use_is_cut_off(can_cut: bool, n_left: int) -> None:
    """As what an activated adapter has computed. Memory that cannot be cut goes back to its last checkpoint."""
    decoder = FakeDecoder(can_cut=can_cut)
    cache = new_cache(decoder, ram=1 << 20)
    sequence, _ = take(cache, "x" * 80)
    compute(cache, decoder, sequence, 40)
    if not can_cut:
        cache.checkpoint(sequence)
    compute(cache, decoder, sequence, 40)
    cache.give_back(sequence, 50)
    assert sequence.n_past == n_left
    assert cache.match(NOWHERE, ids("x" * 80)).n_found == n_left


def test_checkpoints_of_a_slot_file_keep_the_limits() -> None:
    decoder = FakeDecoder(can_cut=False)
    cache = new_cache(decoder, checkpoint_bytes=8 * 30)
    states = tuple(Checkpoint(n, bytes(8 * n)) for n in (10, 20, 30))
    tokens = ids("x" * 40)
    state = np.stack((tokens, np.arange(40, dtype=np.int32)), axis=1).tobytes()
    assert cache.adopt(Snapshot(NOWHERE, tokens, 0, state, states), 2)
    sequence = cache.last_of(2)
    assert sequence is not None
    assert sum(len(checkpoint.state) for checkpoint in sequence.checkpoints) <= 8 * 30


def text_of(n_blocks: int, seed: int = 0) -> str:
    """A text of whole blocks, none like another."""
    rng = np.random.default_rng(seed)
    return bytes(rng.integers(97, 123, n_blocks * BLOCK).astype(np.uint8)).decode()


def test_every_token_of_a_long_prompt_is_stored_once() -> None:
    decoder = FakeDecoder(n_ctx=8192, n_slots=1, n_spare=4)
    store = Store(None, None, decoder.fingerprint)
    cache = ResidentCache(decoder, store, n_slots=1, n_checkpoints=0, checkpoint_bytes=None)
    beginning = text_of(6)
    for end in ("", text_of(2, seed=1), text_of(1, seed=2) + "the last block is not whole"):
        run(cache, decoder, beginning + end)
        while cache.evict_one():
            pass
    assert store.ram_bytes == (6 + 2 + 1) * BLOCK * (8 + 4) + len("the last block is not whole") * (8 + 4)
    assert take(cache, beginning + text_of(1, seed=2)[:100] + "and on")[1].ram == len(beginning) + 100


def test_prompts_that_share_a_block_but_not_what_precedes_it_share_nothing() -> None:
    decoder = FakeDecoder(n_ctx=8192, n_slots=1, n_spare=4)
    cache = new_cache(decoder, ram=1 << 20)
    run(cache, decoder, text_of(1, seed=1) + text_of(3))
    cache.evict_one()
    assert take(cache, text_of(1, seed=2) + text_of(3))[1] == CacheUse()


def test_blocks_continue_what_is_resident_also_within_a_block() -> None:
    decoder = FakeDecoder(n_ctx=8192, n_slots=2, n_spare=4)
    cache = new_cache(decoder, ram=1 << 20)
    text = text_of(4)
    run(cache, decoder, text)
    cache.evict_one()
    run(cache, decoder, text[:300] + "something else")
    _, use = take(cache, text + "?")
    assert (use.resident, use.ram) in ((300, 4 * BLOCK - 300), (0, 4 * BLOCK))
    assert cache.n_cells_used == decoder.n_used


def test_idle_storing_goes_back_to_what_the_store_has_dropped() -> None:
    decoder = FakeDecoder(n_ctx=8192, n_slots=1, n_spare=2)
    cache = new_cache(decoder, ram=6 * BLOCK * (8 + 4))
    run(cache, decoder, text_of(4))
    for _ in range(3):
        cache.store_some()
    run(cache, decoder, text_of(5, seed=1))
    first, other = sorted(cache.sequences, key=lambda sequence: sequence.n_past)
    cache.save(other)
    cache.forget(other)
    assert first.n_stored == 3 * BLOCK, "as far as it knows"
    while cache.wants_to_store:
        cache.store_some()
    cache.forget(first)
    assert take(cache, text_of(4) + "?")[1].ram == 4 * BLOCK
