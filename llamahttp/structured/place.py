"""Place: where in a schema something is, and errors that name it. Pure."""

from __future__ import annotations

import json
from typing import Any

from ..errors import InvalidRequest


class SchemaError(InvalidRequest):
    """A schema that cannot be enforced; the message names the place as a JSON pointer."""

    def __init__(self, at: str, reason: str) -> None:
        super().__init__(f"JSON schema: {f'at {at!r}' if at else 'at its root'}: {reason}")


def find(root: Any, pointer: str) -> Any:
    """What a JSON pointer leads to; None if there is nothing."""
    found = root
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        elif isinstance(found, dict) and key in found:
            found = found[key]
        else:
            return None
    return found


def child(at: str, key: str | int) -> str:
    """The JSON pointer to a part of what is at `at`."""
    return f"{at}/{str(key).replace('~', '~0').replace('/', '~1')}"


def shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:64]
