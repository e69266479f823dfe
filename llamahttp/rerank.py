"""Rerank: the prompts that a classifier rates, one for each document. Pure."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from .abc import Vocab

PLACEHOLDER = re.compile(r"\{(query|document)\}")


def rerank_prompt(vocab: Vocab, template: str | None, query: str, document: str) -> NDArray[np.int32]:
    """Token ids of a pair, int32[n], as llama-server builds them: the model's template filled in, or without one
    `[BOS] query [EOS] [SEP] document [EOS]` with those of the special tokens that its vocabulary adds."""
    if template is not None:
        # at once: a query that holds "{document}" means that text
        texts = {"query": query, "document": document}
        text = PLACEHOLDER.sub(lambda match: texts[match[1]], template)
        return vocab.tokenize(text, add_special=False, parse_special=True)
    end = vocab.eos if vocab.eos >= 0 else vocab.sep
    return np.concatenate(
        [
            _tokens(vocab.bos, vocab.adds_bos),
            vocab.tokenize(query, add_special=False, parse_special=False),
            _tokens(end, vocab.adds_eos),
            _tokens(vocab.sep, vocab.adds_sep),
            vocab.tokenize(document, add_special=False, parse_special=False),
            _tokens(end, vocab.adds_eos),
        ]
    )


def _tokens(token: int, is_added: bool) -> NDArray[np.int32]:
    return np.array([token] if is_added and token >= 0 else [], np.int32)
