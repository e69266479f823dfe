"""The network: a llama-architecture decoder of about 3.5 million parameters.

Matches llama.cpp's `llama` graph exactly: RMSNorm, rotary embedding of neighbouring pairs, SwiGLU, tied embeddings,
so that an export copies tensors without reordering them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of the network; every row is a multiple of 256 wide, which k-quants need."""

    n_vocab: int = 2048
    n_embd: int = 256
    n_layer: int = 5
    n_head: int = 4
    n_head_kv: int = 4
    n_ff: int = 512
    n_ctx: int = 4096
    rope_base: float = 10000.0
    norm_eps: float = 1e-5

    @property
    def n_head_dim(self) -> int:
        return self.n_embd // self.n_head


class Norm(nn.Module):
    """RMSNorm with a learned scale."""

    def __init__(self, n_embd: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_embd))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def rope_tables(shape: Shape) -> tuple[Tensor, Tensor]:
    """Cosine and sine, each [n_ctx, n_head_dim]; both members of a pair carry the same angle."""
    pairs = torch.arange(0, shape.n_head_dim, 2, dtype=torch.float64)
    frequency = shape.rope_base ** (-pairs / shape.n_head_dim)
    angle = torch.outer(torch.arange(shape.n_ctx, dtype=torch.float64), frequency)
    angle = angle.repeat_interleave(2, dim=1)
    return angle.cos().float(), angle.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (2i, 2i+1) of the last axis by its position's angle."""
    swapped = torch.stack((-x[..., 1::2], x[..., 0::2]), dim=-1).flatten(-2)
    return x * cos + swapped * sin


class Attention(nn.Module):
    """Causal attention; key and value heads may be fewer than query heads."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        n_kv = shape.n_head_kv * shape.n_head_dim
        self.q = nn.Linear(shape.n_embd, shape.n_embd, bias=False)
        self.k = nn.Linear(shape.n_embd, n_kv, bias=False)
        self.v = nn.Linear(shape.n_embd, n_kv, bias=False)
        self.o = nn.Linear(shape.n_embd, shape.n_embd, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        n_batch, n_time, n_embd = x.shape
        n_dim = self.shape.n_head_dim
        q = self.q(x).view(n_batch, n_time, self.shape.n_head, n_dim).transpose(1, 2)
        k = self.k(x).view(n_batch, n_time, self.shape.n_head_kv, n_dim).transpose(1, 2)
        v = self.v(x).view(n_batch, n_time, self.shape.n_head_kv, n_dim).transpose(1, 2)
        grouped = self.shape.n_head != self.shape.n_head_kv
        mixed = functional.scaled_dot_product_attention(
            rotate(q, cos, sin), rotate(k, cos, sin), v, attn_mask=mask, is_causal=mask is None, enable_gqa=grouped
        )
        return self.o(mixed.transpose(1, 2).reshape(n_batch, n_time, n_embd))


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate = nn.Linear(shape.n_embd, shape.n_ff, bias=False)
        self.up = nn.Linear(shape.n_embd, shape.n_ff, bias=False)
        self.down = nn.Linear(shape.n_ff, shape.n_embd, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(functional.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    """One layer: attention, then the feed-forward part, each on a normalised copy."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention_norm = Norm(shape.n_embd, shape.norm_eps)
        self.attention = Attention(shape)
        self.feed_norm = Norm(shape.n_embd, shape.norm_eps)
        self.feed = FeedForward(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), cos, sin, mask)
        return x + self.feed(self.feed_norm(x))


class Model(nn.Module):
    """Token ids [n_batch, n_time] to hidden states; `logits` turns chosen states into scores."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.n_vocab, shape.n_embd)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.n_layer))
        self.norm = Norm(shape.n_embd, shape.norm_eps)
        cos, sin = rope_tables(shape)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.apply(self._initialise)

    def _initialise(self, module: nn.Module) -> None:
        """Normal weights; those that write to the residual stream shrink with depth."""
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, Attention | FeedForward):
            writer = module.o if isinstance(module, Attention) else module.down
            nn.init.normal_(writer.weight, std=0.02 / (2 * self.shape.n_layer) ** 0.5)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Hidden states; `mask` [n_batch, 1, n_time, n_time] is causal attention unless given."""
        n_time = ids.shape[1]
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, self.cos[:n_time], self.sin[:n_time], mask)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        return functional.linear(hidden, self.embedding.weight)

    @torch.no_grad()
    def greedy(self, ids: list[int], stop: set[int], n_predict: int = 200) -> list[int]:
        """The most probable continuation of `ids`, ending before a token of `stop`."""
        new: list[int] = []
        while len(new) < n_predict:
            hidden = self(torch.tensor([ids + new]))
            token = int(self.logits(hidden[0, -1]).argmax())
            if token in stop:
                break
            new.append(token)
        return new
