"""The command `llamahttp` over a fake engine, for tests of the process: `python fake_server.py [--llama-server-flags]`.

Variables: FAKE_LOAD_S seconds of loading, FAKE_STEP_S seconds a step, FAKE_TOKENIZE_S seconds to tokenize a long text,
FAKE_ERROR an error that loading ends with.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable

import numpy as np
from fakes import FakeDecoder, FakeVocab, fake_engine
from numpy.typing import NDArray

from llamahttp import flags, log, serve
from llamahttp.config import EngineConfig
from llamahttp.engine import LONG_TEXT, Engine
from llamahttp.errors import ModelError


class SlowVocab(FakeVocab):
    """Takes its time for texts that are tokenized off the event loop."""

    def tokenize(self, text: str | bytes, *, add_special: bool, parse_special: bool) -> NDArray[np.int32]:
        if len(text) > LONG_TEXT:
            time.sleep(float(os.environ.get("FAKE_TOKENIZE_S", "0")))
        return super().tokenize(text, add_special=add_special, parse_special=parse_special)


async def open_engine(config: EngineConfig, on_progress: Callable[[float], None]) -> Engine:
    n_parts = 10
    for part in range(n_parts):
        on_progress(part / n_parts)
        await asyncio.to_thread(time.sleep, float(os.environ.get("FAKE_LOAD_S", "0")) / n_parts)
    if error := os.environ.get("FAKE_ERROR"):
        raise ModelError(error)
    decoder = FakeDecoder(n_ctx=1 << 20)
    decoder.step_seconds = float(os.environ.get("FAKE_STEP_S", "0.01"))
    return fake_engine(decoder, vocab=SlowVocab())


def main() -> int:
    config = flags.parse(sys.argv[1:], {})
    log.setup(config.log)
    return serve.run(config, time.perf_counter(), open_engine)


if __name__ == "__main__":
    sys.exit(main())
