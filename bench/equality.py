"""Equality of greedy answers: the same tokens, or a choice between two that are as likely as one another.

What a token's logits are depends in the last bits on what else was in the batch. Where the two most likely tokens
are closer than that, both are right, and what follows cannot be compared any more.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

TIE = 0.01
"""Natural logarithm of a ratio of probabilities below which two tokens count as equally likely."""
N_TOP = 4


class Equality(enum.Enum):
    EQUAL = "equal"
    TIE = "equal up to a tie"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class Answer:
    """Token ids of an answer, and for each the log probabilities of the most likely ones, by id, if asked for."""

    ids: list[int]
    tops: list[dict[int, float]]

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Answer:
        """From the JSON of `/completion` (with return_tokens or n_probs) or of a chat completion with logprobs."""
        entries = answer.get("completion_probabilities")
        if entries is None and "choices" in answer:
            entries = ((answer["choices"] or [{}])[0].get("logprobs") or {}).get("content")
        if entries is None:
            return cls(list(answer.get("tokens") or []), [])
        tops = [{top["id"]: top["logprob"] for top in entry["top_logprobs"]} for entry in entries]
        return cls([entry["id"] for entry in entries], tops)


def compare(answer: Answer, alone: Answer) -> Equality:
    """`alone` is the answer to hold on to, with log probabilities; both were asked for equally many tokens."""
    if answer.ids == alone.ids:
        return Equality.EQUAL
    pairs = zip(answer.ids, alone.ids, strict=False)
    at = next((i for i, (ours, theirs) in enumerate(pairs) if ours != theirs), None)
    if at is None or at >= len(alone.tops):
        return Equality.DIFFERENT
    top = alone.tops[at]
    ours, theirs = top.get(answer.ids[at]), top.get(alone.ids[at])
    is_tie = ours is not None and theirs is not None and abs(ours - theirs) < TIE
    return Equality.TIE if is_tie else Equality.DIFFERENT
