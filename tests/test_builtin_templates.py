"""Built-in templates, beside what libllama makes of their names."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from llamahttp.binding import manifest
from llamahttp.builtin_templates import BUILTIN_TEMPLATES
from llamahttp.chat_template import ChatTemplate


class ChatMessage(ctypes.Structure):
    """`llama_chat_message`."""

    _fields_ = [("role", ctypes.c_char_p), ("content", ctypes.c_char_p)]


@pytest.fixture(scope="module")
def lib() -> ctypes.CDLL:
    lib = ctypes.CDLL(str(manifest.directory() / "libllama.so"))
    lib.llama_chat_apply_template.argtypes = [
        ctypes.c_char_p,
        ctypes.POINTER(ChatMessage),
        ctypes.c_size_t,
        ctypes.c_bool,
        ctypes.c_char_p,
        ctypes.c_int32,
    ]
    lib.llama_chat_builtin_templates.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_size_t]
    return lib


def message(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


SYSTEM = message("system", " Be brief.\n")
CHAT = [message("user", "  Hi <é>\n"), message("assistant", " Hello!\t"), message("user", "Bye\n\n東京 ")]
CONVERSATIONS = {
    "user": CHAT[:1],
    "turns": CHAT,
    "system": [SYSTEM, *CHAT],
    "system alone": [SYSTEM],
    "systems": [SYSTEM, message("system", "And kind."), *CHAT],
    "late system": [*CHAT[:2], SYSTEM, CHAT[2]],
    "system before an answer": [CHAT[0], SYSTEM, *CHAT[1:]],
    "answered": [SYSTEM, *CHAT, message("assistant", "Bye")],
    "answers": [CHAT[1], CHAT[1], CHAT[0]],
    "users": [CHAT[0], CHAT[2]],
    "other roles": [CHAT[0], message("tool", " 1 "), message("function", "2"), message("critic", "3"), CHAT[2]],
    "tool call": [CHAT[0], message("assistant_tool_call", "look()"), message("tool", "cold")],
    "model": [SYSTEM, message("model", "I am"), CHAT[0]],
    "empty": [message("system", ""), message("user", ""), message("assistant", ""), message("user", "")],
    "control characters": [message("user", "\v\fa\u00a0\r\n")],
    "tags": [message("user", "{{ 1 }} {% for %} <|im_end|> {# #}")],
}


LATE = {"systems", "late system", "system before an answer"}


def applied(lib: ctypes.CDLL, name: str, messages: list[dict[str, Any]], *, adds_prompt: bool) -> str:
    chat = (ChatMessage * len(messages))(*((m["role"].encode(), m["content"].encode()) for m in messages))
    buffer = ctypes.create_string_buffer(4096)
    n = lib.llama_chat_apply_template(name.encode(), chat, len(messages), adds_prompt, buffer, len(buffer))
    assert 0 <= n < len(buffer)
    return buffer.raw[:n].decode()


def test_the_names_are_libllamas(lib: ctypes.CDLL) -> None:
    n = lib.llama_chat_builtin_templates(None, 0)
    names = (ctypes.c_char_p * n)()
    lib.llama_chat_builtin_templates(names, n)
    assert {(name or b"").decode() for name in names} == set(BUILTIN_TEMPLATES)
    assert list(BUILTIN_TEMPLATES) == sorted(BUILTIN_TEMPLATES)


@pytest.mark.parametrize("name", BUILTIN_TEMPLATES)
def test_prompts_are_libllamas(lib: ctypes.CDLL, name: str) -> None:
    template = ChatTemplate(BUILTIN_TEMPLATES[name])
    for label, messages in CONVERSATIONS.items():
        if label in LATE and not template.caps.late_system:
            continue  # libllama loses what the system says late
        if name == "yandex" and any(message["role"] == "system" for message in messages):
            continue
        for adds_prompt in (True, False):
            expected = applied(lib, name, messages, adds_prompt=adds_prompt)
            assert template.render(messages, add_generation_prompt=adds_prompt) == expected, label


def test_differs_from_libllama_yandex_gets_the_system_message_with_the_users(lib: ctypes.CDLL) -> None:
    messages = [message("system", "Be brief."), message("user", "Hi")]
    assert "brief" not in applied(lib, "yandex", messages, adds_prompt=False)
    template = ChatTemplate(BUILTIN_TEMPLATES["yandex"])
    assert template.render(messages, add_generation_prompt=False) == " Пользователь: Be brief.\nHi\n\n"
