"""Rolling Forcing written down from its formulas (ALGORITHMS 6): no cache, every clean block recomputed for every window.

Plain functions over weights in the original layout, one attention for each block of queries over whatever it sees, float64
angles. Slow and simple on purpose; it shares no code with what it checks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]


@dataclass(eq=False)
class Piece:
    """One block in the sequence: its latents [f, C, h, w], their timestep, its prompt, what it sees and from where.

    ``sees`` lists (piece, first frame position); ``place`` is its own first frame position.
    """

    latents: Tensor
    t: float
    text: Tensor
    place: int = 0
    sees: list[tuple[Piece, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Shape:
    """What the weights do not tell: heads, and the rules of the window."""

    heads: int
    block: int = 3
    longest: int = 21
    eps: float = 1e-6


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    return x @ w[name + ".weight"].T + w[name + ".bias"]


def layer_norm(x: Tensor, eps: float) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + eps).sqrt()


def rms_norm(w: Weights, name: str, x: Tensor, eps: float) -> Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * w[name + ".weight"]


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def sinusoid(t: float, size: int) -> Tensor:
    angles = [t * 10000.0 ** (-i / (size // 2)) for i in range(size // 2)]
    return torch.tensor([math.cos(a) for a in angles] + [math.sin(a) for a in angles])


def rotate(x: Tensor, first: int, frames: int, h: int, w: int) -> Tensor:
    """RoPE over (frame, row, column) of x [frames h w, heads, d], as complex numbers."""
    d = x.shape[-1]
    side = 2 * (d // 6)
    axes = [(d - 2 * side, range(first, first + frames)), (side, range(h)), (side, range(w))]
    tables = []
    for size, positions in axes:
        speeds = 10000.0 ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
        tables.append(torch.tensor(list(positions), dtype=torch.float64)[:, None] * speeds)
    a, b, c = tables
    angles = torch.cat(
        [
            a[:, None, None].expand(frames, h, w, -1),
            b[None, :, None].expand(frames, h, w, -1),
            c[None, None].expand(frames, h, w, -1),
        ],
        -1,
    ).reshape(frames * h * w, 1, -1)
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2).float()


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(q.shape[-1])
    return torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).flatten(1)


def flow(w: Weights, shape: Shape, pieces: Sequence[Piece]) -> list[Tensor]:
    """The model's output for each piece [f, C, h, w]; every piece that is seen must be among them."""
    dim = w["patch_embedding.weight"].shape[0]
    grid = [(p.latents.shape[0], p.latents.shape[2] // 2, p.latents.shape[3] // 2) for p in pieces]
    xs, mods, heads, texts = [], [], [], []
    for p in pieces:
        patches = F.conv2d(p.latents, w["patch_embedding.weight"][:, :, 0], w["patch_embedding.bias"], stride=2)
        xs.append(patches.permute(0, 2, 3, 1).reshape(-1, dim))
        time = sinusoid(p.t, w["time_embedding.0.weight"].shape[1])
        e = linear(w, "time_embedding.2", silu(linear(w, "time_embedding.0", time)))
        heads.append(e)
        mods.append(linear(w, "time_projection.1", silu(e)).view(6, dim))
        texts.append(linear(w, "text_embedding.2", gelu(linear(w, "text_embedding.0", p.text))))
    for i in range(sum(name.endswith("self_attn.q.weight") for name in w)):
        b = f"blocks.{i}."
        e = [(w[b + "modulation"][0] + mod) for mod in mods]
        split = [-1, shape.heads, dim // shape.heads]
        ns = [layer_norm(x, shape.eps) * (1 + m[1]) + m[0] for x, m in zip(xs, e, strict=True)]
        a = b + "self_attn."
        q = [rms_norm(w, a + "norm_q", linear(w, a + "q", n), shape.eps).view(split) for n in ns]
        k = [rms_norm(w, a + "norm_k", linear(w, a + "k", n), shape.eps).view(split) for n in ns]
        v = [linear(w, a + "v", n).view(split) for n in ns]
        out = []
        for j, p in enumerate(pieces):
            seen = [(next(n for n, other in enumerate(pieces) if other is s), place) for s, place in p.sees]
            keys = torch.cat([rotate(k[n], place, *grid[n]) for n, place in seen])
            values = torch.cat([v[n] for n, _ in seen])
            out.append(linear(w, a + "o", attend(rotate(q[j], p.place, *grid[j]), keys, values)))
        xs = [x + o * m[2] for x, o, m in zip(xs, out, e, strict=True)]
        a = b + "cross_attn."
        for j, text in enumerate(texts):
            n = layer_norm(xs[j], shape.eps) * w[b + "norm3.weight"] + w[b + "norm3.bias"]
            query = rms_norm(w, a + "norm_q", linear(w, a + "q", n), shape.eps).view(split)
            key = rms_norm(w, a + "norm_k", linear(w, a + "k", text), shape.eps).view(split)
            xs[j] = xs[j] + linear(w, a + "o", attend(query, key, linear(w, a + "v", text).view(split)))
        for j, m in enumerate(e):
            n = layer_norm(xs[j], shape.eps) * (1 + m[4]) + m[3]
            xs[j] = xs[j] + linear(w, b + "ffn.2", gelu(linear(w, b + "ffn.0", n))) * m[5]
    results = []
    for x, e, (f, h, wd) in zip(xs, heads, grid, strict=True):
        m = w["head.modulation"][0] + e
        y = linear(w, "head.head", layer_norm(x, shape.eps) * (1 + m[1]) + m[0])
        results.append(y.view(f, h, wd, 2, 2, -1).permute(0, 5, 1, 3, 2, 4).reshape(f, -1, 2 * h, 2 * wd))
    return results
