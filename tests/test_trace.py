"""The trace of steps: what the engine writes where the environment asks for it, and nothing where it does not."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from llamahttp.errors import StartupError
from llamahttp.task import CompletionTask, SamplingParams
from llamahttp.trace import HEADER, VARIABLE, Beat, NoTrace, open_trace

from .fakes import FakeDecoder, fake_engine


async def test_every_step_is_a_line_with_its_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "steps.csv"
    monkeypatch.setenv(VARIABLE, str(path))
    task = CompletionTask(np.arange(1, 21, dtype=np.int32), SamplingParams(temperature=0), 5)
    decoder = FakeDecoder()
    decoder.step_seconds = 0.002
    async with fake_engine(decoder) as engine, engine.submit(task) as stream:
        async for _ in stream:
            pass
    with path.open() as lines:
        steps = list(csv.DictReader(lines))
    assert tuple(steps[0]) == HEADER
    assert [(step["n_generating"], step["n_prompt"]) for step in steps] == [("0", "20"), *[("1", "0")] * 4]
    for step in steps:
        assert float(step["decode_us"]) >= 2000  # as long as the decoder sleeps
        assert all(float(step[f"{beat.name.lower()}_us"]) >= 0 for beat in Beat)
    ends = [float(step["at_s"]) for step in steps]
    for step, before, after in zip(steps[1:], ends, ends[1:], strict=False):
        beats = sum(float(step[f"{beat.name.lower()}_us"]) for beat in Beat)
        assert beats == pytest.approx(1e6 * (after - before), abs=10)  # no time is missing


async def test_a_file_that_cannot_be_written_ends_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(StartupError, match=VARIABLE):
        open_trace()


def test_nobody_asks_for_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert isinstance(open_trace(), NoTrace)
