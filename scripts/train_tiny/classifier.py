"""A small classifier of styles, trained on the targets: it names the prompt from a picture, and its features measure
how far two pictures are apart in style."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .data import Cache, Pictures

SIDE = 128  # pixels of the crops it looks at


class StyleClassifier(nn.Module):
    """Pictures [N, 3, 128, 128] in -1..1 -> logits over the styles, from stroke texture and colour alone."""

    def __init__(self, styles: int) -> None:
        super().__init__()
        widths = (3, 24, 48, 96, 128)
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.BatchNorm2d(b), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], styles)

    def features(self, pictures: Tensor) -> Tensor:
        """[N, 128, 8, 8]."""
        return self.body(pictures)

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits [N, styles]."""
        return self.head(self.features(pictures).mean((2, 3)))


def quarters(picture: Pictures) -> Tensor:
    """uint8 [256, 256, 3] -> its four quarters, [4, 3, 128, 128] in -1..1."""
    x = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1).float() / 127.5 - 1
    return torch.stack([x[:, y : y + SIDE, z : z + SIDE] for y in (0, SIDE) for z in (0, SIDE)])


class Judge:
    """The trained classifier, and what it says of pictures."""

    def __init__(self, model: StyleClassifier, styles: Iterable[str]) -> None:
        self.model = model.eval().requires_grad_(False)
        self.names = list(styles)

    def name(self, picture: Pictures) -> str:
        """The style a picture of 256x256 shows most, by the sum of its quarters' logits."""
        return self.names[int(self.model(quarters(picture)).sum(0).argmax())]

    def distance(self, a: Pictures, b: Pictures) -> float:
        """Distance of two pictures' features, each place's normalised (as LPIPS does it, arXiv 1801.03924)."""
        x, y = (F.normalize(self.model.features(quarters(p)), dim=1) for p in (a, b))
        return float((x - y).square().sum(1).mean())


def train_judge(
    cache: Cache, seed: int, minutes: float, progress: Callable[[float], None], batch: int = 32, lr: float = 3e-3
) -> Judge:
    """Train on crops of the training photographs' targets, a little blurred, noised and recoloured so that it cannot
    rest on traces that no viewer would see."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    layers = [cache.open(name) for name in cache.styles]
    rows = cache.rows(held_out=False)
    rows = rows[rows < min(cache.done(name)[0] for name in cache.styles)]
    model = StyleClassifier(len(layers)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-3)
    began = time.monotonic()
    while (share := (time.monotonic() - began) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 - share) + 1e-5
        labels = rng.integers(0, len(layers), batch)
        crops = []
        for label in labels:
            y, x = rng.integers(0, 256 - SIDE + 1, 2)
            crops.append(layers[label][int(rng.choice(rows)), 0, y : y + SIDE, x : x + SIDE])
        pictures = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1
        if rng.random() < 0.5:
            size = int(rng.integers(72, SIDE))
            pictures = F.interpolate(F.interpolate(pictures, (size, size), mode="area"), (SIDE, SIDE), mode="bilinear")
        gain = 1 + 0.1 * torch.randn(batch, 3, 1, 1)
        pictures = pictures * gain + 0.08 * torch.randn(batch, 3, 1, 1) + 0.05 * torch.randn_like(pictures)
        loss = F.cross_entropy(model(pictures), torch.from_numpy(labels), label_smoothing=0.05)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        progress(share)
    return Judge(model, cache.styles)
