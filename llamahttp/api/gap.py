"""Gap: from the fields of a request for infill to the tokens of its prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .infill import Gap, Room, infill_prompt
from .prompt import HUGE_TEXT, check_can_fit, tokenize_mixed
from .state import ServerState

if TYPE_CHECKING:
    from ..engine import Engine

Ids = NDArray[np.int32]

UNNAMED = "tmp"
"""The name of a file of context that has none, as in llama-server."""


async def read_gap(state: ServerState, before: object, after: object, values: Mapping[str, Any] = {}) -> Ids:
    """Token ids of the prompt that fills the gap between two prompts; `values` may have `prompt` and `input_extra`.

    What does not fit is cut off, as llama-server does, of huge texts before they are tokenized. Raises InvalidRequest,
    and ContextExceeded for a huge list.
    """
    engine = state.require_engine()
    gap = Gap(
        await _plain(engine, before[-HUGE_TEXT:] if isinstance(before, str) else before, "input_prefix"),
        await _plain(engine, after[:HUGE_TEXT] if isinstance(after, str) else after, "input_suffix"),
        await engine.tokenize(values.get("prompt", "")[:HUGE_TEXT], add_special=False),
        await _files(engine, values.get("input_extra", ())),
    )
    room = Room(engine.n_ctx_slot, engine.config.n_batch, state.config.n_predict)
    return infill_prompt(gap, engine.vocab, room, suffix_first=state.config.spm_infill)


async def _files(engine: Engine, files: Sequence[Mapping[str, str]]) -> tuple[tuple[Ids, Ids], ...]:
    """The last files, as many as a context could hold."""
    found: list[tuple[Ids, Ids]] = []
    n_tokens = 0
    for file in reversed(files):
        name = await _plain(engine, f"{file.get('filename', UNNAMED)[-HUGE_TEXT:]}\n")
        text = await _plain(engine, file["text"][-HUGE_TEXT:])
        found.append((name, text))
        n_tokens += len(name) + len(text)
        if n_tokens >= engine.n_ctx_slot:
            break
    return tuple(reversed(found))


async def _plain(engine: Engine, value: object, name: str = "input_extra") -> Ids:
    if isinstance(value, list):
        check_can_fit(engine, value)
    return await tokenize_mixed(engine, value, add_special=False, parse_special=False, name=name)
