"""Sleep: the model is unloaded when nobody has asked for anything for a while, and loaded for the next who does."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable

from .api.state import ServerState
from .engine import Engine
from .errors import StartupError, Unavailable

log = logging.getLogger(__name__)


class Sleep:
    """Puts the engine of `state` to sleep and wakes it: `run` is a task that does the one, requests do the other."""

    def __init__(self, state: ServerState, load: Callable[[], Awaitable[Engine]]) -> None:
        self._state = state
        self._load = load
        self._changing = asyncio.Lock()

    async def run(self) -> None:
        """Fall asleep whenever the time has come, until cancelled."""
        while True:
            await self._state.activity.idle(self._state.config.sleep_idle_seconds)
            try:
                await self._fall_asleep()
            except Unavailable:  # the engine is closed: the server stops
                return
            await self._state.awake.wait()

    async def _fall_asleep(self) -> None:
        async with self._changing:
            state = self._state
            engine = state.require_engine()
            last = await engine.snapshot()
            if state.activity.n_working:
                return
            state.fall_asleep(last)
            log.info("the model is unloaded after %d s without a request", state.config.sleep_idle_seconds)
            await engine.close()
            gc.unfreeze()  # what start-up made is garbage now
            gc.collect()

    async def wake(self) -> None:
        """Return once the model is loaded. Raises Unavailable if it no longer can be; the next request tries again."""
        if not self._state.is_sleeping:
            return
        async with self._changing:
            if self._state.is_sleeping:
                log.info("the model is loaded again")
                try:
                    self._state.wake_up(await self._load())
                except StartupError as error:
                    log.error("the model cannot be loaded again: %s", error)
                    raise Unavailable("the model was unloaded and cannot be loaded again") from None
