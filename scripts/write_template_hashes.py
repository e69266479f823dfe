"""Writes tests/template_hashes.json: what transformers makes of tests/template_cases.py with llama.cpp's templates.

Run it where transformers is installed: `pip install transformers`, then `python scripts/write_template_hashes.py`. The
templates have to be unpacked, as building libllama leaves them. For each template the file holds its hash, the
capabilities that decide in which form it is given messages, and a hash for each case. Where the template refuses a
case, the hash is that of its message, after a "!"; where it fails in any other way, there is a "?" alone.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

import transformers
from jinja2 import TemplateError, TemplateRuntimeError
from transformers.utils import chat_template_utils

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests import template_cases as cases


class Clock(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return cases.NOW


PROBE = [{"type": "text", "text": "PROBE"}]


def main() -> None:
    folder = cases.folder()
    if folder is None:
        raise SystemExit("the source of llama.cpp is not unpacked: make setup")
    rows = {path.name: row(cases.read(path)) for path in sorted(folder.glob("*.jinja"))}
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items())
    version = json.dumps(transformers.__version__)
    cases.HASHES.write_text(f'{{\n "transformers": {version},\n "templates": {{\n{lines}\n }}\n}}\n', encoding="utf-8")
    outcomes = [outcome for row in rows.values() for outcome in row["cases"].values()]
    refused, failed = (sum(outcome.startswith(mark) for outcome in outcomes) for mark in "!?")
    print(f"{len(rows)} templates, {len(outcomes)} renderings, {refused} refused, {failed} failed")


def row(source: str) -> dict[str, Any]:
    forms = find_forms(source)
    outcomes = {name: outcome(source, case, forms) for name, case in cases.CASES.items()}
    return {"source": cases.digest(source), "forms": forms, "cases": outcomes}


def find_forms(source: str) -> dict[str, bool]:
    """In which form the template takes content and arguments, by what it shows of them."""
    plain, typed = (attempt(source, [cases.user(content)]) for content in ("PROBE", PROBE))
    takes_parts = "PROBE" in typed and not any(f"{quote}PROBE{quote}" in typed for quote in "'\"")
    takes_text = "PROBE" in plain or not takes_parts
    forms = {"supports_string_content": takes_text, "supports_typed_content": takes_parts}
    called = cases.adapted(cases.CASES["called-awkward"].messages, forms | {"supports_object_arguments": True})
    shown = attempt(source, called, tools=cases.TOOLS) or attempt(source, called)
    return forms | {"supports_object_arguments": "1999" in shown and "{'query': 'say" not in shown}


def attempt(source: str, messages: list[cases.Message], **inputs: Any) -> str:
    try:
        return render(source, messages, add_generation_prompt=True, **inputs)
    except Exception:  # templates can fail in any way
        return ""


def outcome(source: str, case: cases.Case, forms: dict[str, bool]) -> str:
    try:
        text = render(
            source,
            cases.adapted(case.messages, forms),
            tools=case.tools or None,
            add_generation_prompt=case.add_generation_prompt,
            continue_final_message=case.continued or False,
            **variables(case.kwargs),
        )
    except TemplateRuntimeError:
        return "?"
    except TemplateError as error:
        return "!" + cases.digest(str(error))
    except Exception:
        return "?"
    return cases.digest(text)


def render(source: str, messages: list[cases.Message], **inputs: Any) -> str:
    # as tokenizers do before they render
    messages = [{key: value for key, value in message.items() if value is not None} for message in messages]
    with mock.patch.object(chat_template_utils, "datetime", Clock):
        texts, _ = chat_template_utils.render_jinja_template(
            [messages], chat_template=source, bos_token=cases.BOS, eos_token=cases.EOS, **inputs
        )
    return str(texts[0])


def variables(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The case's variables, with all names that templates have for them, and the date as llama-server gives it."""
    dates = {"datetime": cases.NOW.strftime("%b %d %Y"), "date_string": cases.NOW.strftime("%d %b %Y")}
    kwargs = dates | kwargs
    if "reasoning_effort" in kwargs:
        kwargs["reasoning_strength"] = kwargs["reasoning_effort"]
    preserve = kwargs.pop("preserve_reasoning", None)
    if preserve is not None:
        names = ("clear_thinking", "truncate_history_thinking", "drop_thinking")
        kwargs |= {"preserve_thinking": preserve, **dict.fromkeys(names, not preserve)}
    return kwargs


if __name__ == "__main__":
    main()
