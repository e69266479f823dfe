"""Activation: where adapters begin to be applied."""

from __future__ import annotations

import numpy as np
import pytest

from llamahttp.activation import activate, last_occurrence
from llamahttp.errors import InvalidRequest
from llamahttp.task import CompletionTask

PLAIN: tuple[int, ...] = ()
INVOCATIONS = (PLAIN, (7, 8), PLAIN, (9,))


def task(prompt: list[int], *adapters: int) -> CompletionTask:
    return CompletionTask(np.array(prompt, np.int32), adapters=tuple((index, 1.0) for index in adapters))


@pytest.mark.parametrize(
    ("prompt", "adapters_from"),
    [([1, 2, 7, 8, 3], 1), ([7, 8, 3, 7, 8], 2), ([7, 8, 3], 0), ([1, 7, 8], 0), ([1, 1, 7, 8, 8], 1)],
)
def test_an_activated_adapter_begins_one_token_before_its_last_invocation(
    prompt: list[int], adapters_from: int
) -> None:
    activated = activate(task(prompt, 1), INVOCATIONS)
    assert (activated.adapters, activated.adapters_from) == (((1, 1.0),), adapters_from)


@pytest.mark.parametrize("prompt", [[1, 2, 3], [7], [8, 7], [7, 1, 8]])
def test_without_an_invocation_it_is_not_applied(prompt: list[int]) -> None:
    assert activate(task(prompt, 1), INVOCATIONS).adapters == ()


@pytest.mark.parametrize("adapters", [(), (0,), (0, 2), (0, 1), (1, 2, 3)])
def test_plain_adapters_and_those_beside_them_are_applied_everywhere(adapters: tuple[int, ...]) -> None:
    before = task([1, 2, 7, 8], *adapters)
    assert activate(before, INVOCATIONS) is before


def test_two_activated_ones_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="Cannot run multiple aLoRAs in a single request"):
        activate(task([1, 7, 8, 9], 1, 3), INVOCATIONS)


@pytest.mark.parametrize(
    ("tokens", "wanted", "where"),
    [
        ([1, 1, 2, 1, 1, 2, 2], [1, 1, 2], 3),
        ([1, 1, 1, 1], [1, 1], 2),
        ([1, 2, 2], [1, 2], 0),
        ([3, 2, 1], [3, 2, 1], 0),
        ([1, 2], [1, 2, 3], -1),
        ([1, 3, 1], [1, 2], -1),
    ],
)
def test_the_last_occurrence(tokens: list[int], wanted: list[int], where: int) -> None:
    assert last_occurrence(np.array(tokens, np.int32), wanted) == where
