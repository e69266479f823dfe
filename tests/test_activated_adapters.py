"""Conversations that now and then invoke an activated LoRA, over every kind of memory: what was computed without it
serves it too, and what was computed with it serves nobody else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from process import REAL, Server

from llamahttp import Engine

from . import models
from .conversations import Answer, Judge, Memory, ask, join, words

INVOCATION = (307, 308)
ADAPTERS = ((0, 1.0),)
TENSORS: dict[str, dict[str, Any]] = {
    "mamba": {"tensor": "ssm_in", "n_out": 4 * models.TINY.d_model, "scale": 0.1},
    "lfm2": {"tensor": "ffn_up", "n_out": models.TINY.ff},
}
"""What adapters change in models of which not every layer has queries."""


def write_adapter(memory: Memory, folder: Path) -> tuple[tuple[Path, float], ...]:
    architecture = memory.judge.model.info.metadata["general.architecture"]
    options = {"architecture": architecture, "invocation": INVOCATION} | TENSORS.get(architecture, {})
    return ((models.write_lora(folder / "lora.gguf", **options), 0.0),)


async def converse(engine: Engine, seed: int) -> list[Answer]:
    """Three turns; in each the adapter answers first, and then the model goes on from that without it."""
    history, answers = words(90, seed), []
    for turn in range(3):
        adapted = await ask(engine, join(history, INVOCATION), adapters=ADAPTERS)
        again = await ask(engine, join(history, INVOCATION), adapters=ADAPTERS)
        plain = await ask(engine, adapted.text)
        answers += [adapted, again, plain]
        history = join(plain.text, words(40, seed=100 * seed + turn))
    return answers


@pytest.mark.parametrize("n_parallel", [1, 3])
async def test_every_answer_is_right(memory: Memory, tmp_path: Path, n_parallel: int) -> None:
    loras = write_adapter(memory, tmp_path)
    stored = {"cache_ram": 4, "cache_disk": tmp_path}
    async with await memory.open(n_parallel=n_parallel, loras=loras, **stored) as engine:
        conversations = await asyncio.gather(*(converse(engine, seed) for seed in range(1, 4)))
        stats = (await engine.snapshot()).stats
    answers = [answer for answers in conversations for answer in answers]
    with Judge(memory.judge.model, loras) as judge:
        judge.check(*answers)
    assert (stats.n_failed, stats.n_rebuilt) == (0, 0)
    assert any(answer.ids != plain.ids for answer, plain in zip(answers[::3], answers[2::3], strict=True))


async def test_all_before_the_invocation_is_reused_and_nothing_behind_it(memory: Memory, tmp_path: Path) -> None:
    loras = write_adapter(memory, tmp_path)
    async with await memory.open(n_parallel=1, loras=loras) as engine:
        prompt = join(words(100, seed=1), INVOCATION, words(3, seed=2))
        adapted = [await ask(engine, prompt, adapters=ADAPTERS) for _ in range(3)]
        plain = [await ask(engine, prompt) for _ in range(2)]
        other = await ask(engine, prompt, adapters=((0, 0.5),))
    with Judge(memory.judge.model, loras) as judge:
        judge.check(*adapted, *plain, other)
    assert [answer.timings.n_cached for answer in (*adapted, plain[0], other)] == [0, 99, 99, 99, 99]
    assert plain[1].timings.n_cached >= 99


async def test_a_shifted_context_goes_on_with_the_adapter(memory: Memory, tmp_path: Path) -> None:
    """The invocation itself is among the tokens that are dropped."""
    loras = write_adapter(memory, tmp_path)
    config = {"n_ctx": 256, "n_parallel": 1, "context_shift": True, "loras": loras}
    async with await memory.open(**config) as engine:
        prompt = join(words(100, seed=1), INVOCATION)
        adapted = await ask(engine, prompt, n_predict=400, adapters=ADAPTERS)
        plain = await ask(engine, prompt, n_predict=400)
        again = await ask(engine, prompt, n_predict=20)
    assert adapted.finished.is_truncated
    assert len(adapted.ids) == 400
    assert adapted.ids[-50:] != plain.ids[-50:]
    memory.judge.check(again)


@pytest.mark.parametrize("flag", ["--lora", "--control-vector"])
def test_a_wrong_file_is_one_line_at_the_start(llama_gguf: Path, tmp_path: Path, flag: str) -> None:
    whole = models.write_lora(tmp_path / "lora.gguf").read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[:-300])
    for path in (cut, llama_gguf):
        with Server(REAL, ["-m", str(llama_gguf), flag, str(path), "--port", "0"]) as server:
            status, output, errors = server.end()
        assert status == 1
        [line] = [line for line in (output + errors).splitlines() if line.startswith("error: ")]
        assert str(path) in line
        assert "Traceback" not in output + errors
