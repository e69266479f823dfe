"""DRY: its stages over one vocabulary, made once for parameters that come again.

Finding the tokens that a sequence breaker overlaps takes libllama some 10 ms with 128k tokens, and llama-server
pays that for each breaker of each request, while all its streams wait. Here it is done when a request is prepared, on
another thread; to copy what was found takes the engine thread microseconds.
"""

from __future__ import annotations

import ctypes as c
import threading
from collections import OrderedDict

from ..task import SamplingParams
from . import library

MAX_KEPT = 32
"""Stages kept for later requests."""

Key = tuple[float, float, int, int, tuple[str, ...]]


class DryStages:
    """Stages as they are before a request's first token, by their parameters; the latest used are kept."""

    def __init__(self, vocab: int) -> None:
        """`vocab` is libllama's."""
        self._lib = library.load()
        self._vocab = vocab
        self._kept: OrderedDict[Key, int] = OrderedDict()
        self._looking = threading.Lock()  # held for microseconds
        self._making = threading.Lock()  # held while one is made; what is there already can be copied meanwhile
        self._is_closed = False

    def prepare(self, params: SamplingParams) -> None:
        """Make the stage for `params` unless it is there. Any thread; tens of milliseconds."""
        key = _key(params)
        with self._making:
            with self._looking:
                if key in self._kept or self._is_closed:
                    return
            made = self._make(*key)
            with self._looking:
                self._kept[key] = made
                if len(self._kept) > MAX_KEPT:
                    self._lib.llama_sampler_free(self._kept.popitem(last=False)[1])

    def stage(self, params: SamplingParams) -> int:
        """A new stage, which its chain will own. Engine thread."""
        key = _key(params)
        while True:
            with self._looking:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return int(self._lib.llama_sampler_clone(self._kept[key]))
            assert not self._is_closed, "closed"
            self.prepare(params)

    def _make(self, multiplier: float, base: float, allowed: int, last_n: int, breakers: tuple[str, ...]) -> int:
        # libllama reads to the first NUL, and of that 40 bytes
        texts = [breaker.encode("utf-8", "surrogatepass").split(b"\0")[0] for breaker in breakers]
        texts = [text for text in texts if text]
        array = (c.c_char_p * len(texts))(*texts)
        return int(
            self._lib.llama_sampler_init_dry(
                self._vocab, multiplier, base, allowed, last_n, c.addressof(array) if texts else None, len(texts)
            )
        )

    def close(self) -> None:
        """Free the stages that are kept, when the one that is being made is done. Safe twice."""
        with self._making, self._looking:
            self._is_closed = True
            while self._kept:
                self._lib.llama_sampler_free(self._kept.popitem()[1])


def _key(params: SamplingParams) -> Key:
    return (
        params.dry_multiplier,
        params.dry_base,
        params.dry_allowed_length,
        params.dry_penalty_last_n,
        params.dry_sequence_breakers,
    )
