"""Workers: work that nobody waits for any more, and work that holds up no other kind."""

from __future__ import annotations

import asyncio
import threading

import pytest

from llamahttp.errors import Unavailable
from llamahttp.workers import Workers


async def test_what_nobody_waits_for_any_more_is_not_begun() -> None:
    workers, gate, done = Workers("test", 1), threading.Event(), []
    first = asyncio.create_task(workers.run(gate.wait))
    others = [asyncio.create_task(workers.run(lambda: done.append(1))) for _ in range(3)]
    await asyncio.sleep(0)
    for each in others:
        each.cancel()
    await asyncio.wait(others)
    gate.set()
    assert await first
    assert await workers.run(lambda: len(done)) == 0
    workers.close()
    with pytest.raises(Unavailable):
        await workers.run(lambda: 5)


async def test_other_threads_are_free_meanwhile() -> None:
    workers, gate = Workers("test", 1), threading.Event()
    busy = [asyncio.create_task(workers.run(gate.wait)) for _ in range(50)]
    await asyncio.sleep(0)
    assert await asyncio.wait_for(asyncio.to_thread(lambda: 5), 30) == 5
    gate.set()
    assert all(await asyncio.gather(*busy))
    workers.close()
