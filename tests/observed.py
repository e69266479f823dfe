"""An engine over the real library that can be watched, and disturbed from within libllama."""

from __future__ import annotations

import ctypes as c
import threading
from collections.abc import Callable
from typing import Any

from llamahttp import Engine
from llamahttp.binding import library
from llamahttp.queue import EmbeddingStream
from llamahttp.task import EmbeddingTask

ABORT_CALLBACK = c.CFUNCTYPE(c.c_bool, c.c_void_p)
"""ggml_abort_callback(user_data) -> stop the computation"""


class Observed:
    """A decoder or an embedder that notes each decode in a log; the rest is the real one's."""

    def __init__(self, part: Any, word: str, log: list[str]) -> None:
        self._part, self._word, self._log = part, word, log

    def decode(self, *arguments: Any) -> Any:
        self._log.append(self._word)
        return self._part.decode(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part, name)


class ObservedDecoder(Observed):
    """One of which libllama gives up a computation, in its midst, when `aborts` says so."""

    def __init__(self, part: Any, log: list[str]) -> None:
        super().__init__(part, "decode", log)
        self.aborts: Callable[[Any], bool] = lambda tokens: False
        """Asked at each node of the graph, with the tokens of the batch."""
        self.may_rebuild = threading.Event()
        self.may_rebuild.set()
        self._n_rows = 0
        self._set_abort_callback = c.CDLL(str(library.load().directory / "libllama.so")).llama_set_abort_callback
        self._set_abort_callback.argtypes = (c.c_void_p, ABORT_CALLBACK, c.c_void_p)
        self._callback = ABORT_CALLBACK(lambda _: self.aborts(part.batch.tokens[: self._n_rows]))
        self._set_abort_callback(part.handle, self._callback, None)

    def decode(self, n_rows: int) -> None:
        self._n_rows = n_rows
        super().decode(n_rows)

    def rebuild(self) -> None:
        self._log.append("rebuild")
        assert self.may_rebuild.wait(60)
        self._part.rebuild()
        self._set_abort_callback(self._part.handle, self._callback, None)


class ObservedEngine(Engine):
    """Notes in `log` what comes and what is computed: "submit", "decode", "embed" and "rebuild"."""

    def __init__(
        self, config: Any, info: Any, vocab: Any, decoder: Any, *rest: Any, embedder: Any, **named: Any
    ) -> None:
        self.log: list[str] = []
        self.decoder = ObservedDecoder(decoder, self.log)
        watched = None if embedder is None else Observed(embedder, "embed", self.log)
        super().__init__(config, info, vocab, self.decoder, *rest, embedder=watched, **named)

    def submit_embedding(self, task: EmbeddingTask) -> EmbeddingStream:
        self.log.append("submit")
        return super().submit_embedding(task)
