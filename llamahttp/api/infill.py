"""Infill: the prompt that has a model fill the gap between two texts, from tokens. Pure.

files     [repository]name [file]name text [file]name text ... [file]name      only what fits beside the batch
gap       [prefix]text before, prompt [suffix]text after [middle]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import NotSupported

if TYPE_CHECKING:
    from ..abc import FimTokens, Vocab

Ids = NDArray[np.int32]

REPOSITORY = "myproject\n"
CURRENT_FILE = "filename\n"
"""Names that llama-server gives to what requests have no names for: models have learnt to expect some."""
SNIPPET = "\n\n--- snippet ---\n\n"
"""What separates files where the model has no token for it."""

NO_IDS: Ids = np.empty(0, np.int32)


@dataclass(frozen=True, slots=True)
class Gap:
    """Token ids of what a request says around the gap."""

    before: Ids
    after: Ids
    prompt: Ids = field(default_factory=lambda: NO_IDS)
    """The beginning of what fills the gap."""
    files: tuple[tuple[Ids, Ids], ...] = ()
    """Of each file of context its name, with the end of the line, and its text."""


@dataclass(frozen=True, slots=True)
class Room:
    """Sizes that decide how much of a request is used; all in tokens."""

    n_ctx: int
    n_batch: int
    n_predict: int
    """The server's own limit, -1 for none."""


def require_fim(fim: FimTokens) -> None:
    """Raises NotSupported with llama-server's words for a model that has not learnt to fill gaps."""
    names = {"prefix": fim.prefix, "suffix": fim.suffix, "middle": fim.middle}
    missing = [f"{name} token is missing. " for name, token in names.items() if token < 0]
    if missing:
        raise NotSupported(f"Infill is not supported by this model: {''.join(missing)}")


def infill_prompt(gap: Gap, vocab: Vocab, room: Room, *, suffix_first: bool = False) -> Ids:
    """Token ids of the prompt, as llama-server cuts them: of the text before the gap its end, in three quarters of a
    batch, of the text after it the beginning, in the last quarter; files of context have the rest of the context.

    Source: https://arxiv.org/pdf/2409.12186 for the order of files; `suffix_first` is `--spm-infill`.
    """
    fim, quarter = vocab.fim, min(room.n_batch, room.n_ctx) // 4
    before = last(gap.before, 3 * quarter)
    after = gap.after[: max(0, quarter - 2 - len(gap.prompt))]
    head: list[Ids | Sequence[int]] = [[fim.prefix], before, gap.prompt]
    tail: list[Ids | Sequence[int]] = [[fim.suffix], after]
    bos = [vocab.bos] if vocab.adds_bos else []
    n_files = max(0, room.n_ctx - room.n_batch - 2 * room.n_predict)
    framed = [*tail, *head] if suffix_first else [*head, *tail]
    return concatenate([last(files_prompt(gap.files, vocab), n_files), bos, *framed, [fim.middle]])


def files_prompt(files: Sequence[tuple[Ids, Ids]], vocab: Vocab) -> Ids:
    """Files of context, each introduced by its name, and by the name of the one with the gap at the end."""
    fim = vocab.fim
    parts: list[Ids | Sequence[int]] = []
    if fim.repository >= 0:
        parts += [[fim.repository], tokens(vocab, REPOSITORY)]
    for name, text in files:
        parts += [[fim.file], name, text] if fim.file >= 0 else [tokens(vocab, SNIPPET), text]
    if fim.file >= 0:
        parts += [[fim.file], tokens(vocab, CURRENT_FILE)]
    return concatenate(parts)


def tokens(vocab: Vocab, text: str) -> Ids:
    return vocab.tokenize(text, add_special=False, parse_special=False)


def last(ids: Ids, n: int) -> Ids:
    """The last `n` of `ids`, or all."""
    return ids[max(0, len(ids) - n) :]


def concatenate(parts: Sequence[Ids | Sequence[int]]) -> Ids:
    return np.concatenate([NO_IDS, *(np.asarray(part, np.int32) for part in parts)])
