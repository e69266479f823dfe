"""The cache under an engine, over fakes: what an operator or a client sees of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes import FakeDecoder, continuation, fake_engine
from numpy.typing import NDArray

from llamahttp import Engine
from llamahttp.cache.snapshot import Namespace, Snapshot, write_snapshot
from llamahttp.errors import SnapshotError
from llamahttp.task import CompletionTask, Finished, Tokens

TALK = "a talk that outlives the process that computed it, " * 10


def prompt(text: str) -> NDArray[np.int32]:
    return np.frombuffer(text.encode(), np.uint8).astype(np.int32)


async def ask(engine: Engine, text: str, **task: int | str) -> tuple[list[int], Finished]:
    """A task's tokens and its end."""
    tokens: list[int] = []
    async with engine.submit(CompletionTask(prompt(text), n_predict=3, **task)) as results:
        async for result in results:
            if isinstance(result, Tokens):
                tokens += result.ids
            elif isinstance(result, Finished):
                return tokens, result
    raise AssertionError("no end")


@pytest.mark.parametrize(("start", "n_tokens"), [(256, 512), (0, 0)])
async def test_a_file_that_is_no_slot_is_refused_and_changes_nothing(tmp_path: Path, start: int, n_tokens: int) -> None:
    path = tmp_path / "block"
    write_snapshot(path, Snapshot(Namespace(), np.resize(prompt(TALK), n_tokens), start, b"state"), "fake")
    async with fake_engine(FakeDecoder(n_spare=3)) as engine:
        with pytest.raises(SnapshotError, match="block: holds a part of a prompt, not a slot"):
            await engine.restore_slot(0, path)
        tokens, end = await ask(engine, TALK)
        assert tokens == continuation(prompt(TALK).tolist(), 3)
        assert end.timings.n_cached == 0


async def test_no_salt_finds_what_moved_parts_have_left() -> None:
    async with fake_engine() as engine:
        await ask(engine, TALK, n_cache_reuse=4)
        for salt in ("", "\0moved"):
            assert (await ask(engine, TALK, salt=salt))[1].timings.n_cached == 0
        assert (await ask(engine, TALK, n_cache_reuse=4))[1].timings.n_cached == len(TALK) - 1
