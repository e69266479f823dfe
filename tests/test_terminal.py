"""Terminal: the greeting says what is true."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fakes import INFO

from llamahttp.config import EngineConfig, HttpConfig, ServerConfig
from llamahttp.terminal import Purpose, Started, greeting

PREFIXED = ServerConfig(http=HttpConfig(api_prefix="/llm"))
STARTED = Started(
    config=ServerConfig(engine=EngineConfig(model=Path("/models/llama-8b.gguf"))),
    model=replace(INFO, desc="llama 8B Q4_K - Medium", n_params=8_030_261_312, n_bytes=4_913_000_000),
    library="b8505 (0c1e570)",
    compute="CPU",
    n_slots=4,
    n_ctx_slot=8192,
    kv_unified=False,
    n_threads=6,
    purpose=Purpose.CHAT,
    urls=("http://127.0.0.1:8080",),
    paths=(),
    seconds=1.234,
)


def test_a_model_of_ones_own() -> None:
    text = greeting(STARTED)
    assert "llama-8b.gguf: llama 8B Q4_K - Medium, 8.03 B parameters, 4.6 GiB\n" in text
    assert "slots     4 x 8192 tokens of context\n" in text
    assert "compute   CPU; 6 threads\n" in text
    assert "API key   not needed\n" in text
    assert "ready in 1.2 s" in text
    assert "curl http://127.0.0.1:8080/v1/chat/completions" in text
    assert "demo" not in text and "Bearer" not in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kv_unified": True}, "slots     4, sharing 8192 tokens of context\n"),
        ({"kv_unified": True, "n_slots": 1}, "slots     1 x 8192 tokens of context\n"),
        ({"config": ServerConfig()}, "the built-in demo, a toy; load your own with -m model.gguf\n"),
        ({"config": ServerConfig(api_keys=frozenset({"secret"}))}, "API key   needed\n"),
        ({"config": ServerConfig(api_keys=frozenset({"secret"}))}, "-H 'Authorization: Bearer YOUR-KEY'"),
        ({"config": ServerConfig(host="0.0.0.0")}, "API key   not needed: whoever reaches this machine may use it\n"),
        ({"config": ServerConfig(host="0.0.0.0", api_keys=frozenset({"secret"}))}, "API key   needed\n"),
        ({"config": PREFIXED}, "web page  http://127.0.0.1:8080/llm/\n  API       http://127.0.0.1:8080/llm/v1\n"),
        ({"config": PREFIXED}, "curl http://127.0.0.1:8080/llm/v1/chat/completions"),
        ({"config": PREFIXED, "urls": (), "paths": ("/a.sock",)}, "--unix-socket /a.sock http://localhost/llm/v1/chat"),
        ({"purpose": Purpose.EMBEDDING}, """v1/embeddings -H 'Content-Type: application/json' \\\n    -d '{"inp"""),
        ({"purpose": Purpose.RERANKING}, """v1/rerank -H 'Content-Type: application/json' \\\n    -d '{"query": """),
        ({"paths": ("/run/a.sock",)}, "API       http://127.0.0.1:8080/v1\n  socket    /run/a.sock\n"),
        ({"paths": ("/run/a.sock",)}, "curl http://127.0.0.1:8080/v1/chat/completions"),
        ({"urls": ("http://a:1", "http://b:1")}, "web page  http://a:1\n            http://b:1\n"),
        ({"model": replace(INFO, n_params=999, n_bytes=1023)}, "999 parameters, 1023 bytes\n"),
    ],
)
def test_what_differs_is_said(change: dict[str, object], words: str) -> None:
    assert words in greeting(replace(STARTED, **change))  # type: ignore[arg-type]


def test_with_a_unix_socket_only_its_path_and_a_curl_line_are_shown() -> None:
    text = greeting(replace(STARTED, urls=(), paths=("/run/my own.sock",)))
    assert "  socket    /run/my own.sock\n" in text
    assert "curl --unix-socket '/run/my own.sock' http://localhost/v1/chat/completions" in text
    assert "web page" not in text and "API  " not in text


def test_keys_are_never_shown() -> None:
    assert "secret" not in greeting(replace(STARTED, config=ServerConfig(api_keys=frozenset({"secret"}))))


def test_without_a_page_none_is_shown() -> None:
    assert "web page" not in greeting(replace(STARTED, config=ServerConfig(http=HttpConfig(ui=False))))
