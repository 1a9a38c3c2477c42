"""The architecture of segue's default model: a small Qwen3-style decoder.

RMSNorm before attention and feed-forward, grouped-query attention with
per-head RMSNorm on queries and keys, rotary positions (NEOX halves), SwiGLU,
input and output embeddings tied, no biases.  GGUF name: general.architecture
"qwen3", so every engine that runs Qwen3 runs this model.

Shapes in comments: B rows, T positions, D width, H query heads, K key heads,
E head width, F feed-forward width, V vocabulary.
"""
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass
class Config:
    vocab: int = 4096
    width: int = 256
    layer: int = 6
    head: int = 8
    head_kv: int = 4
    head_dim: int = 32
    ffn: int = 768
    context: int = 1024
    rope_base: float = 10000.0
    eps: float = 1e-6


class RMSNorm(nn.Module):
    def __init__(self, n: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n))
        self.eps = eps

    def forward(self, x):
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps)
        return (y * self.weight).to(x.dtype)


def rotate(x, cos, sin):
    """Rotary embedding on halves: x [B][H][T][E], cos and sin [T][E/2]."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def attend(q, k, v):
    """Causal attention, q k v [B][H][T][E]."""
    t = q.shape[2]
    bias = torch.full((t, t), float("-inf")).triu(1)
    p = torch.softmax((q @ k.mT).float() * q.shape[-1]**-0.5 + bias, -1)
    return p.to(v.dtype) @ v


class Block(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.c = c
        self.attn_norm = RMSNorm(c.width, c.eps)
        self.q = nn.Linear(c.width, c.head * c.head_dim, bias=False)
        self.k = nn.Linear(c.width, c.head_kv * c.head_dim, bias=False)
        self.v = nn.Linear(c.width, c.head_kv * c.head_dim, bias=False)
        self.o = nn.Linear(c.head * c.head_dim, c.width, bias=False)
        self.q_norm = RMSNorm(c.head_dim, c.eps)
        self.k_norm = RMSNorm(c.head_dim, c.eps)
        self.ffn_norm = RMSNorm(c.width, c.eps)
        self.gate = nn.Linear(c.width, c.ffn, bias=False)
        self.up = nn.Linear(c.width, c.ffn, bias=False)
        self.down = nn.Linear(c.ffn, c.width, bias=False)

    def forward(self, x, cos, sin, drop=0.0):
        c = self.c
        b, t, _ = x.shape
        h = self.attn_norm(x)
        q = self.q(h).view(b, t, c.head, c.head_dim)
        k = self.k(h).view(b, t, c.head_kv, c.head_dim)
        v = self.v(h).view(b, t, c.head_kv, c.head_dim)
        q = rotate(self.q_norm(q).transpose(1, 2), cos, sin)
        k = rotate(self.k_norm(k).transpose(1, 2), cos, sin)
        rep = c.head // c.head_kv
        k = k.repeat_interleave(rep, dim=1)
        v = v.transpose(1, 2).repeat_interleave(rep, dim=1)
        y = attend(q, k, v)
        x = x + self.o(F.dropout(y.transpose(1, 2).reshape(b, t, -1), drop, drop > 0))
        h = self.ffn_norm(x)
        return x + self.down(F.dropout(F.silu(self.gate(h)) * self.up(h), drop, drop > 0))


class Model(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.c = c
        self.drop = 0.0  # dropout, when training
        self.embed = nn.Embedding(c.vocab, c.width)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.layer))
        self.norm = RMSNorm(c.width, c.eps)
        freq = c.rope_base**(-torch.arange(0, c.head_dim, 2) / c.head_dim)
        angle = torch.outer(torch.arange(c.context * 2).float(), freq)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        self.apply(self.initialise)
        for block in self.blocks:  # the residual stream starts with the embedding alone
            nn.init.zeros_(block.o.weight)
            nn.init.zeros_(block.down.weight)

    @staticmethod
    def initialise(m):
        if isinstance(m, nn.Linear):
            nn.init.normal_(m.weight, std=0.5 * m.weight.shape[1]**-0.5)
        elif isinstance(m, nn.Embedding):
            nn.init.normal_(m.weight, std=0.02)

    def hidden(self, ids):
        """ids [B][T] -> normalised hidden states [B][T][D]."""
        t = ids.shape[1]
        x = self.embed(ids)
        if torch.is_autocast_enabled("cpu"):
            x = x.bfloat16()
        cos, sin = self.cos[:t].to(x.dtype), self.sin[:t].to(x.dtype)
        for block in self.blocks:
            x = block(x, cos, sin, self.drop)
        return self.norm(x)

    def forward(self, ids, targets=None):
        """Logits [B][T][V], or the mean loss in nats per token when targets are given."""
        logits = F.linear(self.hidden(ids), self.embed.weight)
        if targets is None:
            return logits
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=-1)
