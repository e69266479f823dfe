"""Embeddings and reranking."""

from __future__ import annotations

from .row import Constant, Flag, Value
from .values import integer, pooling

EMBEDDINGS: tuple[Flag, ...] = (
    Constant(
        names=("--embedding", "--embeddings"),
        target="engine.embeddings",
        value=True,
        env="LLAMA_ARG_EMBEDDINGS",
        help="serve embeddings too, in a context of their own beside that of chats",
    ),
    Constant(
        names=("--rerank", "--reranking"),
        target="engine.reranking",
        value=True,
        env="LLAMA_ARG_RERANKING",
        help="serve reranking: the same with --pooling rank",
    ),
    Value(
        names=("--pooling",),
        target="engine.pooling",
        metavar="{none,mean,cls,last,rank}",
        parse=pooling,
        env="LLAMA_ARG_POOLING",
        help="how the vectors of an input's tokens become one (default: what the model says)",
    ),
    Value(
        names=("--embd-normalize",),
        target="embd_normalize",
        metavar="N",
        parse=integer(-1, 1000),
        help="what of an embedding is made 1: -1 nothing, 0 the largest number (32760, not 1), 1 the sum, 2 the "
        "length, p the p-norm (default: {})",
    ),
)
