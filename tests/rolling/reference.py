"""Rolling Forcing written down from its formulas (ALGORITHMS 6): no cache, the whole history anew for every window.

Plain functions over weights in the original layout, and one attention for each block of queries over whatever it sees.
Slow and simple on purpose; it shares no code with what it checks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]


@dataclass(eq=False)
class Piece:
    """One block in the sequence: its latents [f, C, h, w], their timestep, its prompt, what it sees and from where.

    ``sees`` lists (piece, first frame position); ``place`` is its own first frame position. A conditioned model takes
    the ``camera``'s latents as further channels.
    """

    latents: Tensor
    t: float
    text: Tensor
    camera: Tensor
    place: int = 0
    sees: list[tuple[Piece, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Shape:
    """What the weights do not tell: heads, and the rules of the window."""

    heads: int
    block: int = 3
    longest: int = 21
    eps: float = 1e-6
    conditioned: bool = False


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


@lru_cache(maxsize=256)
def turns(d: int, first: int, frames: int, h: int, w: int) -> Tensor:
    """RoPE's rotation of every token of some frames, complex, [frames h w, 1, d / 2]."""
    side = 2 * (d // 6)
    axes = [(d - 2 * side, range(first, first + frames)), (side, range(h)), (side, range(w))]
    angles: list[Tensor] = []
    for i, (size, positions) in enumerate(axes):
        speeds = 10000.0 ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
        along = torch.tensor(list(positions), dtype=torch.float64)[:, None] * speeds
        shape = [1, 1, 1, size // 2]
        shape[i] = len(positions)
        angles.append(along.view(shape).expand(frames, h, w, -1))
    whole = torch.cat(angles, -1).reshape(frames * h * w, 1, -1)
    return torch.polar(torch.ones_like(whole), whole)


def rotate(x: Tensor, first: int, frames: int, h: int, w: int) -> Tensor:
    """RoPE over (frame, row, column) of x [frames h w, heads, d], as complex numbers."""
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turns(x.shape[-1], first, frames, h, w)).flatten(-2).float()


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(q.shape[-1])
    return torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).flatten(1)


@torch.no_grad()
def flow(w: Weights, shape: Shape, pieces: Sequence[Piece]) -> list[Tensor]:
    """The model's output for each piece [f, C, h, w]; every piece that is seen must be among them."""
    dim = w["patch_embedding.weight"].shape[0]
    split = (-1, shape.heads, dim // shape.heads)
    frames, _, height, width = pieces[0].latents.shape
    grid = (frames, height // 2, width // 2)
    tokens = math.prod(grid)
    index = {id(p): n for n, p in enumerate(pieces)}
    noisy = torch.cat([p.latents for p in pieces])
    if shape.conditioned:
        noisy = torch.cat([noisy, torch.cat([p.camera for p in pieces])], 1)
    patches = F.conv2d(noisy, w["patch_embedding.weight"][:, :, 0], w["patch_embedding.bias"], stride=2)
    x = patches.permute(0, 2, 3, 1).reshape(-1, dim)
    waves = torch.stack([sinusoid(p.t, w["time_embedding.0.weight"].shape[1]) for p in pieces])
    time = linear(w, "time_embedding.2", silu(linear(w, "time_embedding.0", waves)))
    change = linear(w, "time_projection.1", silu(time)).view(-1, 6, dim)
    texts = [linear(w, "text_embedding.2", gelu(linear(w, "text_embedding.0", p.text))) for p in pieces]
    for i in range(sum(name.endswith("self_attn.q.weight") for name in w)):
        b = f"blocks.{i}."
        # Every token has the modulation of its piece.
        e = (w[b + "modulation"] + change).repeat_interleave(tokens, 0).unbind(1)
        a = b + "self_attn."
        n = layer_norm(x, shape.eps) * (1 + e[1]) + e[0]
        q = rms_norm(w, a + "norm_q", linear(w, a + "q", n), shape.eps).view(split).split(tokens)
        k = rms_norm(w, a + "norm_k", linear(w, a + "k", n), shape.eps).view(split).split(tokens)
        v = linear(w, a + "v", n).view(split).split(tokens)
        out: list[Tensor] = []
        for p, query in zip(pieces, q, strict=True):
            keys = torch.cat([rotate(k[index[id(s)]], place, *grid) for s, place in p.sees])
            values = torch.cat([v[index[id(s)]] for s, _ in p.sees])
            out.append(attend(rotate(query, p.place, *grid), keys, values))
        x = x + linear(w, a + "o", torch.cat(out)) * e[2]
        a = b + "cross_attn."
        n = layer_norm(x, shape.eps) * w[b + "norm3.weight"] + w[b + "norm3.bias"]
        q = rms_norm(w, a + "norm_q", linear(w, a + "q", n), shape.eps).view(split).split(tokens)
        out = []
        for text, query in zip(texts, q, strict=True):
            keys = rms_norm(w, a + "norm_k", linear(w, a + "k", text), shape.eps).view(split)
            out.append(attend(query, keys, linear(w, a + "v", text).view(split)))
        x = x + linear(w, a + "o", torch.cat(out))
        n = layer_norm(x, shape.eps) * (1 + e[4]) + e[3]
        x = x + linear(w, b + "ffn.2", gelu(linear(w, b + "ffn.0", n))) * e[5]
    shift, scale = (w["head.modulation"] + time[:, None]).repeat_interleave(tokens, 0).unbind(1)
    y = linear(w, "head.head", layer_norm(x, shape.eps) * (1 + scale) + shift)
    y = y.view(len(noisy), *grid[1:], 2, 2, -1).permute(0, 5, 1, 3, 2, 4).reshape(len(noisy), -1, height, width)
    return list(y.split(frames))


class Reference:
    """A rolling stream. What a block of the past computed is computed again whenever somebody looks at it."""

    def __init__(self, w: Weights, shape: Shape, timesteps: Sequence[float], text: Tensor) -> None:
        self.w, self.shape, self.timesteps, self.text = w, shape, timesteps, text
        self.window: list[tuple[int, int, Tensor, Tensor, Tensor]] = []  # number, level, x, camera, noise
        self.clean: dict[int, Piece] = {}
        self.made: list[Piece] = []
        self.count = 0
        self.sink: int | None = None
        self.sinks_to_be = {0}

    def push(self, z: Tensor, noise: Tensor, level: int) -> Tensor | None:
        sigma = self.timesteps[level] / 1000
        self.window.append((self.count, level, (1 - sigma) * z + sigma * noise[level], z, noise))
        self.count += 1
        return self.step()

    def step(self) -> Tensor | None:
        if not self.window:
            return None
        f, n = self.shape.block, len(self.window)
        seen: list[int] = []
        if self.sink is not None:
            most = self.shape.longest // f - 1 - n
            finished = [b for b in sorted(self.clean) if b > self.sink]
            seen = [self.sink] + (finished[-most:] if most else [])
        pieces = [
            Piece(x, self.timesteps[level], self.text, camera, f * (len(seen) + i))
            for i, (_, level, x, camera, _) in enumerate(self.window)
        ]
        for p in pieces:
            p.sees = [(self.clean[b], f * i) for i, b in enumerate(seen)] + [(q, q.place) for q in pieces]
        flows = flow(self.w, self.shape, self.made + pieces)[len(self.made) :]
        final, after = None, []
        for p, v, (number, level, _, camera, noise) in zip(pieces, flows, self.window, strict=True):
            # A conditioned model says what the answer has beside the camera's picture, any other the flow.
            x0 = camera + v if self.shape.conditioned else (p.latents.double() - p.t / 1000 * v.double()).float()
            if level == len(self.timesteps) - 1:
                final = x0
                self.finish(number, x0, camera)
            else:
                sigma = self.timesteps[level + 1] / 1000
                after.append((number, level + 1, (1 - sigma) * x0 + sigma * noise[level + 1], camera, noise))
        self.window = after
        return final

    def remember(self, z: Tensor) -> None:
        self.finish(self.count, z, z)
        self.count += 1

    def finish(self, number: int, latents: Tensor, camera: Tensor) -> None:
        if number in self.sinks_to_be:
            self.sink, self.clean = number, {}
        before = [b for b in sorted(self.clean) if b >= number - (self.shape.longest // self.shape.block - 1)]
        self.look(number, latents, camera, before)

    def look(self, number: int, latents: Tensor, camera: Tensor, before: list[int]) -> None:
        """The clean pass of a block that sees those before it."""
        f = self.shape.block
        piece = Piece(latents, 0.0, self.text, camera, f * len(before))
        piece.sees = [(self.clean[b], f * i) for i, b in enumerate(before)] + [(piece, piece.place)]
        self.clean[number] = piece
        self.made.append(piece)

    def prompt(self, text: Tensor, recache: bool) -> None:
        self.text = text
        if not recache or self.sink is None:
            return
        kept = [b for b in sorted(self.clean) if b > self.sink][-(self.shape.longest // self.shape.block - 1) :]
        old, self.clean = self.clean, {}
        self.look(self.sink, old[self.sink].latents, old[self.sink].camera, [])
        joined = not kept or kept[0] == self.sink + 1
        for b in kept:
            self.look(b, old[b].latents, old[b].camera, [a for a in sorted(self.clean) if a != self.sink or joined])

    def re_anchor(self) -> None:
        self.sinks_to_be.add(self.count)
