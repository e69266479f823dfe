"""Settings in files that llama.cpp's programs share."""

from __future__ import annotations

from pathlib import Path

import pytest

from llamahttp.errors import StartupError
from llamahttp.flags import UsageError, config_file, parse

TEXT = """\
top-k = 3     ; before any section
; a comment
[*]
version = 1
ctx-size=300 # a comment
LLAMA_ARG_N_PARALLEL =  2
no-warmup = true
alias = some model
draft-tokens-of-another-program = 9

[default]
n-gpu-layers = 7
c = 512

[some/model:Q8_0]
port = 9
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / config_file.NAME
    path.parent.mkdir()
    return path


def test_settings_for_any_model_are_read(path: Path, environ: dict[str, str]) -> None:
    path.write_text(TEXT)
    config = parse([], environ)
    assert (config.engine.n_ctx, config.engine.n_parallel, config.engine.n_gpu_layers) == (512, 2, 7)
    assert (config.engine.warmup, config.alias, config.port) == (False, "some model", 8080)
    assert config.sampling.top_k == 3
    assert config.notes == (
        f"settings are read from {path}",
        f"{path}:9: there is no such setting as draft-tokens-of-another-program",
        "--ctx-size is given 2 times: only the last one counts",
    )


def test_variables_and_the_command_line_win(path: Path, environ: dict[str, str]) -> None:
    path.write_text("[*]\nctx-size = 1\nparallel = 2\nwarmup = off\nlogit-bias = 1+1\n")
    config = parse(["-c", "3", "--warmup", "-l", "2+1"], environ | {"LLAMA_ARG_N_PARALLEL": "4"})
    assert (config.engine.n_ctx, config.engine.n_parallel, config.engine.warmup) == (3, 4, True)
    assert config.sampling.logit_bias == ((2, 1.0),)


def test_the_user_s_home_is_where_the_file_is(tmp_path: Path) -> None:
    assert config_file.paths({"HOME": "/home/me"})[1] == Path("/home/me/.config/llama.cpp/config.ini")
    assert config_file.paths({}) == [config_file.SYSTEM]
    assert parse([], {"HOME": str(tmp_path)}).notes == ()


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("[*]\nctx-size = many\n", UsageError, ":2: ctx-size: "),
        ("[*]\nno-warmup = perhaps\n", UsageError, ":2: no-warmup: "),
        ("[*]\nmodel = /no/such.gguf\n", StartupError, ":2: model: there is no model file /no/such.gguf"),
        ("[*\n", StartupError, ":1: '[*' is neither a [section] nor `name = value`"),
        ("[*]\nctx-size\n", StartupError, ":2: 'ctx-size' is neither"),
        (b"\xff", StartupError, "it is not UTF-8 text"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(
    path: Path, environ: dict[str, str], text: str | bytes, error: type[Exception], message: str
) -> None:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(error) as caught:
        parse([], environ)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
