"""The command `llamahttp` over a fake engine, for tests of the process: `python fake_server.py [--llama-server-flags]`.

Variables: FAKE_LOAD_S seconds of loading, FAKE_STEP_S seconds a step, FAKE_ERROR an error that loading ends with.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable

from fakes import FakeDecoder, fake_engine

from llamahttp import app, flags, log
from llamahttp.config import EngineConfig
from llamahttp.engine import Engine
from llamahttp.errors import ModelError


async def open_engine(config: EngineConfig, on_progress: Callable[[float], None]) -> Engine:
    n_parts = 10
    for part in range(n_parts):
        on_progress(part / n_parts)
        await asyncio.to_thread(time.sleep, float(os.environ.get("FAKE_LOAD_S", "0")) / n_parts)
    if error := os.environ.get("FAKE_ERROR"):
        raise ModelError(error)
    decoder = FakeDecoder(n_ctx=1 << 20)
    decoder.step_seconds = float(os.environ.get("FAKE_STEP_S", "0.01"))
    return fake_engine(decoder)


def main() -> int:
    config = flags.parse(sys.argv[1:], {})
    log.setup(config.log)
    return app.run(config, time.perf_counter(), open_engine)


if __name__ == "__main__":
    sys.exit(main())
