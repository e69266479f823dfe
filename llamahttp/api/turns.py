"""Turns: where in a chat's prompt a message begins, first as offsets in its text, then as positions of its tokens.

The next prompt of a conversation is likely to leave this one at such a place, so it is worth remembering the state
there for models whose memory cannot be cut anywhere. Pure.

    text      [system ... answer)[last user message ...)[beginning of an answer)
    turns                        ^                      ^
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidRequest

if TYPE_CHECKING:
    from ..abc import Vocab

Message = dict[str, Any]


def turn_offsets(text: str, messages: Sequence[Message], render: Callable[[Sequence[Message]], str]) -> tuple[int, ...]:
    """Characters of `text` before its last user message, and before the beginning of an answer; ascending.

    `render` gives the text of messages without the beginning of an answer. None if the template refuses a part of the
    conversation, as those do that want the roles to alternate up to a user's.
    """
    last_user = max((i for i, message in enumerate(messages) if message["role"] == "user"), default=0)
    try:
        shorter = [render(messages[:n]) for n in (last_user, len(messages)) if n > 0]
    except InvalidRequest:
        return ()
    offsets = {common_prefix(text, other) for other in shorter}
    return tuple(sorted(offsets - {0, len(text)}))


def common_prefix(a: str, b: str) -> int:
    """Characters that two texts begin with alike; by halving, since Python is slow to walk them."""
    low, high = 0, min(len(a), len(b))
    if a.startswith(b[:high]):
        return high
    while low < high:
        middle = (low + high + 1) // 2
        if a.startswith(b[low:middle], low):
            low = middle
        else:
            high = middle - 1
    return low


def token_positions(offsets: Sequence[int], text: str, tokens: NDArray[np.int32], vocab: Vocab) -> tuple[int, ...]:
    """The tokens (int32[n]) of `text` that hold the characters at `offsets`, ascending.

    None if the tokens do not spell the text: then the tokenizer has changed it before, and nobody knows where.
    """
    if not offsets:
        return ()
    pieces = [vocab.special_pieces[token] for token in tokens.tolist()]
    data = text.encode()
    if tokens[0] == vocab.bos and not data.startswith(pieces[0]):
        pieces[0] = b""  # the tokenizer's own
    ends = token_ends(pieces, data)
    if ends is None:
        return ()
    positions = np.searchsorted(ends, [len(text[:offset].encode()) for offset in offsets], side="right").tolist()
    return tuple(sorted(set(positions) - {0, len(tokens)}))


def token_ends(pieces: Sequence[bytes], text: bytes) -> Sequence[int] | NDArray[np.int64] | None:
    """Where in `text` each piece ends; None if the pieces are not those of the text.

    SentencePiece puts a space before a text and behind each control token: it may be in a piece and not in the text.
    """
    if b"".join(pieces) == text:
        return np.cumsum([len(piece) for piece in pieces])
    end = 0
    ends: list[int] = []
    for piece in pieces:
        if not text.startswith(piece, end):
            piece = piece.removeprefix(b" ")
            if not text.startswith(piece, end):
                return None
        end += len(piece)
        ends.append(end)
    return ends if end == len(text) else None
