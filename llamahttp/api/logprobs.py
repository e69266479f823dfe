"""Log probabilities of generated tokens, in llama-server's shape and in that of OpenAI's text completions. Pure."""

from __future__ import annotations

import math
from codecs import getincrementaldecoder
from collections.abc import Sequence
from typing import TypedDict, cast

from ..task import TokenProbs
from .field import FLOAT32_MAX
from .schema import Probabilities

Pieces = Sequence[bytes]

Utf8Decoder = getincrementaldecoder("utf-8")


class _Token(TypedDict):
    id: int
    token: str
    bytes: list[int]


class LikelyToken(_Token, total=False):
    """A token and how likely it was: `logprob` before sampling, or `prob` after it."""

    logprob: float
    prob: float


class GeneratedToken(LikelyToken, total=False):
    """A generated token, and the most likely ones in its place."""

    top_logprobs: list[LikelyToken]
    top_probs: list[LikelyToken]


def token_probs(
    ids: Sequence[int], probs: Sequence[TokenProbs], wanted: Probabilities, pieces: Pieces
) -> list[GeneratedToken]:
    """One entry for each generated token: its own log probability and those of the most likely ones.

    Those after sampling are shown as probabilities, under other names.
    """
    shown: list[GeneratedToken] = []
    for id_token, entry in zip(ids, probs, strict=True):
        token = cast(GeneratedToken, _likely(id_token, entry.logprob, pieces, wanted.is_post))
        top = [_likely(other, logprob, pieces, wanted.is_post) for other, logprob in entry.top[: wanted.n_top]]
        token["top_probs" if wanted.is_post else "top_logprobs"] = top
        shown.append(token)
    return shown


def _likely(id_token: int, logprob: float, pieces: Pieces, is_post: bool) -> LikelyToken:
    piece = pieces[id_token]
    token: LikelyToken = {"id": id_token, "token": piece.decode("utf-8", "ignore"), "bytes": list(piece)}
    if is_post:
        token["prob"] = math.exp(logprob)
    else:
        token["logprob"] = _finite(logprob)
    return token


def _finite(logprob: float) -> float:
    """JSON has no infinity; llama-server sends the lowest float32 instead."""
    return logprob if math.isfinite(logprob) else -FLOAT32_MAX


# --- OpenAI's text completions


class LegacyLogprobs(TypedDict):
    """OpenAI's own shape: lists with an entry for each token."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]
    """Characters of the choice's text before each token."""


def legacy_logprobs(
    ids: Sequence[int], probs: Sequence[TokenProbs], n_top: int, pieces: Pieces, n_chars: int
) -> LegacyLogprobs:
    """The same for text completions; `n_chars` of the text stand before the first of `ids`."""
    decoder = Utf8Decoder("replace")
    offsets = []
    for id_token in ids:
        offsets.append(n_chars)
        n_chars += len(decoder.decode(pieces[id_token]))
    return {
        "tokens": [legacy_token(pieces[id_token]) for id_token in ids],
        "token_logprobs": [_finite(entry.logprob) for entry in probs],
        "top_logprobs": [
            {legacy_token(pieces[other]): _finite(logprob) for other, logprob in entry.top[:n_top]} for entry in probs
        ],
        "text_offset": offsets,
    }


def legacy_token(piece: bytes) -> str:
    r"""A token's text; one that is no text by itself is written as `bytes:\xe2\x80`, as OpenAI does."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)
