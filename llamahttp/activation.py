"""Activation: from where on in a prompt adapters are applied. Pure.

An activated LoRA (aLoRA) is trained to leave alone what comes before its invocation, a sequence of tokens in the
prompt, so that what a server has cached of a conversation serves it too. Without one it is not applied at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidRequest
from .task import CompletionTask

NOT_FOUND = -1


def activate(task: CompletionTask, invocations: Sequence[Sequence[int]]) -> CompletionTask:
    """The task with its adapters applied where they are to be. `invocations`: of each adapter, none for a plain LoRA.

    As in llama-server the token before the last invocation is computed with the adapter, too; and beside a plain LoRA
    an activated one is applied everywhere. Raises InvalidRequest for two activated ones.
    """
    wanted = [invocations[index] for index, _ in task.adapters]
    if not wanted or not all(wanted):
        return task
    if len(wanted) > 1:
        raise InvalidRequest("Cannot run multiple aLoRAs in a single request")
    start = last_occurrence(task.prompt, wanted[0])
    if start == NOT_FOUND:
        return replace(task, adapters=())
    return replace(task, adapters_from=max(0, start - 1))


def last_occurrence(tokens: NDArray[np.int32], wanted: Sequence[int]) -> int:
    """Where `wanted` begins in `tokens` for the last time, or NOT_FOUND."""
    n = len(wanted)
    if n > len(tokens):
        return NOT_FOUND
    begins = np.flatnonzero(tokens[: len(tokens) - n + 1] == wanted[0])
    for i, token in enumerate(wanted):
        begins = begins[tokens[begins + i] == token]
    return int(begins[-1]) if len(begins) else NOT_FOUND
