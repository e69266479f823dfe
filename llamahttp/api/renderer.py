"""Renderer: the thread on which chats are read and their templates run, one after the other.

A long conversation takes its template up to a second: on the event loop every stream would wait for it. One thread,
since two would only take the GIL from each other, and from the loop; a rendering alone costs streams a switch interval.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Renderer:
    """`run` from the event loop."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "template")

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns, or raises."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Nothing more is run; what runs comes to its end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
