"""ResidentCache over a fake decoder: what a prompt finds, what it takes, and what is dropped for it."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import FakeDecoder
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from llamahttp.cache.resident import ResidentCache, closest, equal_chunks
from llamahttp.cache.sequence import NOWHERE, Sequence
from llamahttp.cache.snapshot import Checkpoint
from llamahttp.cache.store import Store
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


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=10, unique=True).map(sorted))
def test_the_checkpoint_that_is_missed_least_is_dropped_and_never_the_last(places: list[int]) -> None:
    index = closest([Checkpoint(n_tokens, b"") for n_tokens in places])
    gaps = [b - a for a, b in zip([0, *places], places, strict=False)]
    assert index < len(places) - 1
    assert gaps[index] == min(gaps[:-1])


# --- moved parts

texts = st.text("ab", max_size=40)


@given(texts, texts, st.integers(0, 5), st.integers(1, 4))
def test_moved_parts_are_equal_in_order_and_without_gaps(old: str, new: str, n: int, n_min: int) -> None:
    a, b = ids(old), ids(new)
    start, to = n, n
    for chunk in equal_chunks(a, b, n, n_min):
        assert chunk.length >= n_min
        assert chunk.start >= start
        assert chunk.to == to, "what is moved continues what is there"
        assert (a[chunk.start : chunk.start + chunk.length] == b[to : to + chunk.length]).all()
        start, to = chunk.start + chunk.length, to + chunk.length


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
