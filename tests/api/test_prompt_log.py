from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Start, post


async def test_prompts_are_files_as_the_model_reads_them(start: Start, tmp_path: Path) -> None:
    client = await start(log_prompts_dir=tmp_path)
    await post(client, "/completion", {"prompt": ["one\r\n", "two"], "n_predict": 1})
    chat = {"messages": [{"role": "user", "content": "three"}], "max_tokens": 1}
    await post(client, "/v1/chat/completions", chat)
    shown = (await post(client, "/apply-template", chat))["prompt"]
    files = sorted(tmp_path.glob("*.txt"))
    assert [file.read_bytes().decode() for file in files] == ["one\r\n", "two", shown]


async def test_a_directory_that_is_gone_stops_nobody(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = await start(log_prompts_dir=tmp_path / "gone")
    assert (await post(client, "/completion", {"prompt": "a", "n_predict": 1}))["tokens_predicted"] == 1
    assert "--log-prompts-dir: cannot write to" in caplog.text
