"""Workers: threads of their own for one kind of work, so that what is long there holds up nothing else.

Whoever asks from the event loop and leaves before the work has begun takes it back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from .errors import Unavailable

T = TypeVar("T")


class Workers:
    """`run` from the event loop."""

    def __init__(self, name: str, n_threads: int) -> None:
        self._pool = ThreadPoolExecutor(n_threads, name)

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns, or raises. Raises Unavailable after `close`."""
        try:
            result = asyncio.get_running_loop().run_in_executor(self._pool, work)
        except RuntimeError:
            raise Unavailable("the server is stopping") from None
        return await result

    def close(self) -> None:
        """Nothing more is run; what runs comes to its end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
