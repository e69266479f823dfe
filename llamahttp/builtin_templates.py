"""Chat templates by name, for `--chat-template`: the names are llama.cpp's, and so is what the templates give.

They are for models that come without a template, and know neither tools nor thoughts.
"""

# ruff: noqa: RUF001 (tokens of some models are written with full-width characters)

from __future__ import annotations

CONTENT = "{{ message.content }}"
TRIMMED = r"{{ message.content | trim(' \t\n\v\f\r') }}"
ROLE = "{{ message.role }}"
ANSWERED = "message.role not in ('system', 'user')"
"""Whether a message is an answer. Whatever is neither a system's nor a user's counts as one."""


def _turns(turn: str, prompt: str = "", *, begin: str = "") -> str:
    """`begin`, `turn` for each message, and `prompt` where an answer begins."""
    end = f"{{% if add_generation_prompt %}}{prompt}{{% endif %}}" if prompt else ""
    return f"{begin}{{% for message in messages %}}{turn}{{% endfor %}}{end}"


def _by_role(other: str = "", **texts: str) -> str:
    """One of `texts`, by the message's role; `other` for those not named."""
    cases = "".join(f"{{% elif message.role == '{role}' %}}{text}" for role, text in texts.items())
    return f"{{% {cases.removeprefix('{% el')}{{% else %}}{other}{{% endif %}}"


def _first_system(text: str, rest: str) -> str:
    """`text` for a system message that comes first, `rest` for all messages but that."""
    return f"{{% if loop.first and message.role == 'system' %}}{text}{{% else %}}{rest}{{% endif %}}"


def _llama2(system: str, *, bos: str = "", content: str = CONTENT) -> str:
    again = f"{{% if not loop.first and {ANSWERED.replace('message', 'loop.previtem')} %}}{bos}[INST] {{% endif %}}"
    turn = _by_role(system=system, user=f"{content} [/INST]", other=f"{content}</s>")
    return _turns(again + turn, begin="[INST] ")


def _mistral(before: str, after: str, *, answer: str = CONTENT) -> str:
    """Versions 1 and 3; the spaces `before` and `after` the tags differ."""
    inst = f"{{% if loop.first or {ANSWERED.replace('message', 'loop.previtem')} %}}{before}[INST]{after}{{% endif %}}"
    turn = _by_role(
        system=f"{CONTENT}{{{{ '\\n\\n' }}}}", user=f"{CONTENT}{before}[/INST]", other=f"{after}{answer}</s>"
    )
    return _turns(inst + turn)


def _mistral_v7(space: str) -> str:
    return _turns(
        _by_role(
            system=f"[SYSTEM_PROMPT]{space}{CONTENT}[/SYSTEM_PROMPT]",
            user=f"[INST]{space}{CONTENT}[/INST]",
            other=f"{space}{CONTENT}</s>",
        )
    )


def _with_system(turn: str, prompt: str = "", *, content: str, shown_for: str) -> str:
    """System messages are kept back until a message that is `shown_for`, whose `turn` has {{ ns.system }} in it."""
    keep = content.replace("{{ ", "{% set ns.system = ns.system ~ (").replace(" }}", ") %}")
    done = f"{{% if {shown_for} %}}{{% set ns.system = '' %}}{{% endif %}}"
    each = f"{{% if message.role == 'system' %}}{keep}{{% else %}}{turn}{done}{{% endif %}}"
    return _turns(each, prompt, begin="{% set ns = namespace(system='') %}")


_SYSTEM = "{% if ns.system %}{{ ns.system + '\\n\\n' }}{% endif %}"


def _granite(call: str) -> str:
    start = f"{{% if message.role == 'assistant_tool_call' %}}{call}{{% else %}}{_GRANITE_ROLE}{{% endif %}}"
    return _turns(f"{start}{CONTENT}<|end_of_text|>\n", "<|start_of_role|>assistant<|end_of_role|>")


_GRANITE_ROLE = f"<|start_of_role|>{ROLE}<|end_of_role|>"
_GRANITE_4 = _granite("<|start_of_role|>assistant<|end_of_role|><|tool_call|>")


def _exaone(start: str, end: str, *, user_end: str, tools: bool) -> str:
    """`start` has ROLE in it."""
    roles = {"system": end, "user": user_end, "assistant": end} | ({"tool": end} if tools else {})
    turns = {role: f"{start.replace(ROLE, role)}{TRIMMED}{closing}\n" for role, closing in roles.items()}
    return _turns(_by_role(**turns), start.replace(ROLE, "assistant"))


def _vicuna(system: str) -> str:
    users, answers = f"USER: {CONTENT}\n", f"ASSISTANT: {CONTENT}</s>\n"
    return _turns(_by_role(system=system, user=users, assistant=answers), "ASSISTANT:")


_BAILING_ROLE = "<role>{{ 'HUMAN' if message.role == 'user' else message.role | upper }}</role>"
_GLM_TURN = f"<|{ROLE}|>\n{CONTENT}"
_PHI_3 = "<|assistant|>\n"

CHATML = _turns(f"<|im_start|>{ROLE}\n{CONTENT}<|im_end|>\n", "<|im_start|>assistant\n")
"""For models that come without a template and were not told to have another."""

BUILTIN_TEMPLATES: dict[str, str] = {
    "bailing": _turns(_BAILING_ROLE + CONTENT, "<role>ASSISTANT</role>"),
    "bailing-think": _turns(_BAILING_ROLE + CONTENT, "<role>ASSISTANT</role><think>"),
    "bailing2": _turns(
        f"{_BAILING_ROLE}{CONTENT}<|role_end|>",
        "<role>ASSISTANT</role>",
        begin="{% if not messages or messages[0].role != 'system' %}"
        "<role>SYSTEM</role>detailed thinking off<|role_end|>{% endif %}",
    ),
    "chatglm3": _turns(f"<|{ROLE}|>\n {CONTENT}", "<|assistant|>", begin="[gMASK]sop"),
    "chatglm4": _turns(_GLM_TURN, _PHI_3, begin="[gMASK]<sop>"),
    "chatml": CHATML,
    "command-r": _turns(
        _by_role(
            **{
                role: f"<|START_OF_TURN_TOKEN|><|{token}_TOKEN|>{TRIMMED}<|END_OF_TURN_TOKEN|>"
                for role, token in (("system", "SYSTEM"), ("user", "USER"), ("assistant", "CHATBOT"))
            }
        ),
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
    ),
    "deepseek": _turns(
        _by_role(
            system=CONTENT,
            user=f"### Instruction:\n{CONTENT}\n",
            assistant=f"### Response:\n{CONTENT}\n<|EOT|>\n",
        ),
        "### Response:\n",
    ),
    "deepseek-ocr": _turns(CONTENT),
    "deepseek2": _turns(
        _by_role(
            system=f"{CONTENT}\n\n",
            user=f"User: {CONTENT}\n\n",
            assistant=f"Assistant: {CONTENT}<｜end▁of▁sentence｜>",
        ),
        "Assistant:",
    ),
    "deepseek3": _turns(
        _by_role(
            system=f"{CONTENT}\n\n",
            user=f"<｜User｜>{CONTENT}",
            assistant=f"<｜Assistant｜>{CONTENT}<｜end▁of▁sentence｜>",
        ),
        "<｜Assistant｜>",
    ),
    "exaone-moe": _exaone(f"<|{ROLE}|>\n", "<|endofturn|>", user_end="<|endofturn|>", tools=True),
    "exaone3": _exaone(f"[|{ROLE}|]", "[|endofturn|]", user_end="", tools=False),
    "exaone4": _exaone(f"[|{ROLE}|]", "[|endofturn|]", user_end="", tools=True),
    "falcon3": _turns(f"<|{ROLE}|>\n{CONTENT}\n", _PHI_3),
    "gemma": _with_system(
        "<start_of_turn>{{ 'model' if message.role == 'assistant' else message.role }}\n"
        f"{{% if message.role not in ('assistant', 'model') %}}{_SYSTEM}{{% endif %}}{TRIMMED}<end_of_turn>\n",
        "<start_of_turn>model\n",
        content=TRIMMED,
        shown_for="message.role not in ('assistant', 'model')",
    ),
    "gigachat": _turns(
        _first_system(
            f"{CONTENT}<|message_sep|>",
            _by_role(
                user=f"user<|role_sep|>{CONTENT}<|message_sep|>available functions<|role_sep|>[]<|message_sep|>",
                assistant=f"assistant<|role_sep|>{CONTENT}<|message_sep|>",
            ),
        ),
        "assistant<|role_sep|>",
        begin="<s>",
    ),
    "glmedge": _turns(_GLM_TURN, "<|assistant|>"),
    "gpt-oss": _turns(
        f"<|start|>{ROLE}<|message|>{CONTENT}{{{{ '<|return|>' if message.role == 'assistant' else '<|end|>' }}}}",
        "<|start|>assistant",
    ),
    "granite": _granite(f"{_GRANITE_ROLE}<|tool_call|>"),
    "granite-4.0": _GRANITE_4,
    "granite-4.1": _GRANITE_4,
    "grok-2": _turns(
        _by_role(
            system=f"System: {TRIMMED}<|separator|>\n\n",
            user=f"Human: {TRIMMED}<|separator|>\n\n",
            assistant=f"Assistant: {CONTENT}<|separator|>\n\n",
        ),
        "Assistant:",
    ),
    "hunyuan-dense": _turns(
        _first_system(
            f"{CONTENT}<｜hy_place▁holder▁no▁3｜>",
            _by_role(
                assistant=f"<｜hy_Assistant｜>{CONTENT}<｜hy_place▁holder▁no▁2｜>",
                user=f"<｜hy_User｜>{CONTENT}<｜hy_Assistant｜>",
            ),
        )
    ),
    "hunyuan-moe": _turns(
        _by_role(
            system=f"<|startoftext|>{CONTENT}<|extra_4|>",
            assistant=f"{CONTENT}<|eos|>",
            other=f"<|startoftext|>{CONTENT}<|extra_0|>",
        )
    ),
    "hunyuan-vl": _turns(
        _first_system(
            f"{CONTENT}<｜hy_place▁holder▁no▁3｜>",
            _by_role(user=f"{CONTENT}<｜hy_User｜>", assistant=f"{CONTENT}<｜hy_Assistant｜>"),
        ),
        begin="<｜hy_begin▁of▁sentence｜>",
    ),
    "kimi-k2": _turns(
        _by_role(
            system="<|im_system|>system<|im_middle|>",
            user="<|im_user|>user<|im_middle|>",
            assistant="<|im_assistant|>assistant<|im_middle|>",
            tool="<|im_system|>tool<|im_middle|>",
        )
        + f"{CONTENT}<|im_end|>",
        "<|im_assistant|>assistant<|im_middle|>",
    ),
    "llama2": _llama2(f"{CONTENT}\n"),
    "llama2-sys": _llama2(f"<<SYS>>\n{CONTENT}\n<</SYS>>\n\n"),
    "llama2-sys-bos": _llama2(f"<<SYS>>\n{CONTENT}\n<</SYS>>\n\n", bos="<s>"),
    "llama2-sys-strip": _llama2(f"<<SYS>>\n{TRIMMED}\n<</SYS>>\n\n", content=TRIMMED),
    "llama3": _turns(
        f"<|start_header_id|>{ROLE}<|end_header_id|>\n\n{TRIMMED}<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "llama4": _turns(
        f"<|header_start|>{ROLE}<|header_end|>\n\n{TRIMMED}<|eot|>", "<|header_start|>assistant<|header_end|>\n\n"
    ),
    "megrez": _turns(f"<|role_start|>{ROLE}<|role_end|>{CONTENT}<|turn_end|>", "<|role_start|>assistant<|role_end|>"),
    "minicpm": _turns(_by_role(user=f"<用户>{TRIMMED}<AI>", other=TRIMMED)),
    "mistral-v1": _mistral(" ", " "),
    "mistral-v3": _mistral("", " ", answer=TRIMMED),
    "mistral-v3-tekken": _mistral("", ""),
    "mistral-v7": _mistral_v7(" "),
    "mistral-v7-tekken": _mistral_v7(""),
    "monarch": _turns(f"{{{{ '' if loop.first else '<s>' }}}}{ROLE}\n{CONTENT}</s>\n", "<s>assistant\n"),
    "openchat": _turns(
        _by_role(
            system=f"{CONTENT}<|end_of_turn|>",
            other="GPT4 Correct {{ message.role[:1] | upper }}{{ message.role[1:] }}: " + f"{CONTENT}<|end_of_turn|>",
        ),
        "GPT4 Correct Assistant:",
    ),
    "orion": _with_system(
        _by_role(user=f"Human: {_SYSTEM}{CONTENT}\n\nAssistant: </s>", other=f"{CONTENT}</s>"),
        content=CONTENT,
        shown_for="message.role == 'user'",
    ),
    "pangu-embedded": _turns(
        "{% if loop.first and message.role != 'system' %}[unused9]系统：[unused10]{% endif %}"
        + _by_role(
            **{
                role: f"[unused9]{name}：{CONTENT}[unused10]"
                for role, name in (
                    ("system", "系统"),
                    ("user", "用户"),
                    ("assistant", "助手"),
                    ("tool", "工具"),
                    ("function", "方法"),
                )
            }
        ),
        "[unused9]助手：",
    ),
    "phi3": _turns(f"<|{ROLE}|>\n{CONTENT}<|end|>\n", _PHI_3),
    "phi4": _turns(f"<|im_start|>{ROLE}<|im_sep|>{CONTENT}<|im_end|>", "<|im_start|>assistant<|im_sep|>"),
    "rwkv-world": _turns(
        _by_role(
            system=f"System: {TRIMMED}\n\n",
            user=f"User: {TRIMMED}\n\n{{{{ 'Assistant:' if loop.last }}}}",
            assistant=f"Assistant: {TRIMMED}\n\n",
        )
    ),
    "seed_oss": _turns(
        f"<seed:bos>{ROLE}\n{_by_role(assistant=TRIMMED, other=CONTENT)}<seed:eos>", "<seed:bos>assistant\n"
    ),
    "smolvlm": _turns(
        _by_role(
            system=f"{CONTENT}\n\n",
            user=f"User: {CONTENT}<end_of_utterance>\n",
            other=f"Assistant: {CONTENT}<end_of_utterance>\n",
        ),
        "Assistant:",
        begin="<|im_start|>",
    ),
    "solar-open": _turns(f"<|begin|>{ROLE}<|content|>{CONTENT}<|end|>", "<|begin|>assistant"),
    "vicuna": _vicuna(f"{CONTENT}\n\n"),
    "vicuna-orca": _vicuna(f"SYSTEM: {CONTENT}\n"),
    "yandex": _turns(
        _by_role(user=f" Пользователь: {CONTENT}\n\n", assistant=f" Ассистент: {CONTENT}\n\n"), " Ассистент:[SEP]"
    ),
    "zephyr": _turns(f"<|{ROLE}|>\n{CONTENT}<|endoftext|>\n", _PHI_3),
}
