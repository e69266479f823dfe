"""Activity: the work that needs the model, and since when there has been none. Event loop only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Activity:
    """Counts what is at work."""

    def __init__(self) -> None:
        self.n_working = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._since = time.monotonic()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Something is at work within the block."""
        self.n_working += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.n_working -= 1
            if self.n_working == 0:
                self._since = time.monotonic()
                self._idle.set()

    async def idle(self, seconds: float = 0.0) -> None:
        """Return when nothing has been at work for `seconds`."""
        await self._idle.wait()
        while (left := self._since + seconds - time.monotonic()) > 0 or self.n_working:
            await asyncio.sleep(max(0.0, left))
            await self._idle.wait()
