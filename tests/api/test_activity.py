from __future__ import annotations

import asyncio
import time

import pytest

from llamahttp.api.activity import Activity


async def test_idle_waits_for_the_last_to_end() -> None:
    activity = Activity()
    waiting = asyncio.create_task(activity.idle())
    with activity.working():
        with activity.working():
            pass
        await asyncio.sleep(0.01)
        assert activity.n_working == 1
    await asyncio.wait_for(waiting, 1)


async def test_work_in_between_begins_the_time_anew() -> None:
    activity = Activity()
    began = time.monotonic()
    waiting = asyncio.create_task(activity.idle(0.2))
    await asyncio.sleep(0.1)
    with activity.working():
        await asyncio.sleep(0.15)
    await asyncio.wait_for(waiting, 10)
    assert time.monotonic() - began > 0.44


async def test_what_fails_has_ended_too() -> None:
    activity = Activity()
    with pytest.raises(ConnectionError), activity.working():
        raise ConnectionError
    assert activity.n_working == 0
