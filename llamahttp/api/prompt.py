"""Prompts: the forms that `prompt` may have in JSON, to token ids."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ContextExceeded, InvalidRequest, NotSupported

if TYPE_CHECKING:
    from ..abc import Vocab
    from ..engine import Engine

HUGE_TEXT = 1 << 20
"""Characters above which it is worth a look whether a text can fit at all."""

FORMS = (
    '"{}" elements must be a string, a list of tokens, a JSON object containing a prompt string, '
    "or a list of mixed strings & tokens."
)


def split_prompts(value: object, name: str = "prompt") -> list[object]:
    """The prompts in the field `name` of a request: a list is one prompt when it holds a number, else a list of
    prompts."""
    if not isinstance(value, list):
        return [value]
    if not value:
        raise InvalidRequest(f'"{name}" must not be empty')
    return [value] if any(isinstance(item, int | float) for item in value) else value


async def tokenize_prompts(engine: Engine, value: object, n_cmpl: int = 1) -> list[NDArray[np.int32]]:
    """Token ids of each prompt, int32[n_prompt]; each is to have `n_cmpl` answers.

    Raises InvalidRequest, and ContextExceeded for a prompt that cannot fit.
    """
    prompts = split_prompts(value)
    n_answers, most = len(prompts) * n_cmpl, engine.config.queue_size
    if n_answers > most:
        raise InvalidRequest(f'"prompt" asks for {n_answers} answers, but at most {most} can wait at once')
    tokens = []
    for prompt in prompts:
        tokens.append(await tokenize_prompt(engine, prompt))
        await asyncio.sleep(0)  # many short texts would hold up everybody else
    return tokens


async def tokenize_prompt(engine: Engine, value: object, name: str = "prompt") -> NDArray[np.int32]:
    """Token ids of one prompt: a string, ids, both mixed, or an object that holds one of these. Raises InvalidRequest,
    in which `name` is the field's."""
    match value:
        case {"multimodal_data": _}:
            raise NotSupported("Multimodal data provided, but this server does not support multimodal requests.")
        case {"prompt_string": str() | list() as inner}:
            return await tokenize_prompt(engine, inner, name)
        case str() | list():
            check_can_fit(engine, value)
            return await tokenize_mixed(engine, value, add_special=True, parse_special=True, name=name)
        case _:
            raise InvalidRequest(FORMS.format(name))


def check_can_fit(engine: Engine, prompt: str | list[object]) -> None:
    """Raises ContextExceeded, with the least number of tokens that it can have, for a prompt that is far too long:
    tokenizing 20 MB, only to refuse it, would take 20 seconds of a core."""
    parts = [prompt] if isinstance(prompt, str) else prompt
    n_chars = sum(len(part) for part in parts if isinstance(part, str))
    n_least = sum(isinstance(part, int) for part in parts)
    if n_chars > HUGE_TEXT:
        n_least += n_chars // longest_piece(engine.vocab)
    if n_least > engine.n_ctx_slot:
        raise ContextExceeded(n_least, engine.n_ctx_slot)


def longest_piece(vocab: Vocab) -> int:
    """Bytes of the longest token; no token is more characters of a text. Takes milliseconds."""
    return max(map(len, vocab.special_pieces))


async def tokenize_mixed(
    engine: Engine, value: object, *, add_special: bool, parse_special: bool, name: str = "prompt"
) -> NDArray[np.int32]:
    """Token ids of a string or of a list of strings and ids. Only a string at the beginning gets BOS."""
    if isinstance(value, str):
        return await engine.tokenize(value, add_special=add_special, parse_special=parse_special)
    if not isinstance(value, list):
        raise InvalidRequest(FORMS.format(name))
    parts: list[NDArray[np.int32]] = []
    ids: list[Any] = []
    for i, item in enumerate(value):
        if isinstance(item, str):
            parts += [
                token_ids(ids, name),
                await engine.tokenize(item, add_special=add_special and i == 0, parse_special=parse_special),
            ]
            ids = []
            await asyncio.sleep(0)  # many short texts would hold up everybody else
        elif isinstance(item, int) and not isinstance(item, bool):
            ids.append(item)
        else:
            raise InvalidRequest(FORMS.format(name))
    return np.concatenate([*parts, token_ids(ids, name)])


def token_ids(ids: list[int], name: str = "prompt") -> NDArray[np.int32]:
    """Ids from JSON. Raises InvalidRequest for what no vocabulary can hold."""
    try:
        return np.array(ids, dtype=np.int32)
    except OverflowError:
        raise InvalidRequest(f"{name.capitalize()} contains invalid tokens") from None
