"""A random-weight model of a few thousand parameters: all the mathematics of a real one, none of its cost."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engines.torch_engine import TorchRuntime
from streamdiff import Frame, LiveStream, Stream, StreamConfig
from streamdiff.models.base import Model, Prediction

CHANNELS = 4
TEXT = (3, 5)
SIZE = {"width": 64, "height": 64}


def alphas_cumprod() -> Tensor:
    """Stable Diffusion's schedule: scaled linear betas."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


class ToyUnet(nn.Module):
    """A UNet's signature; the prediction depends on every input, non-linearly, and stays of the order of one.

    As a whole it is (x, t, text) to prediction; ``condition`` and ``predict`` are its two parts.
    """

    def __init__(self, channels_in: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels_in, 8, 3, padding=1)
        self.text = nn.Linear(TEXT[0] * TEXT[1], 8)
        self.out = nn.Conv2d(8, CHANNELS, 3, padding=1)
        self.calls: list[int] = []

    def forward(self, x: Tensor, t: Tensor, text: Tensor) -> Tensor:
        return self.predict(x, self.condition(t, text))

    def condition(self, t: Tensor, text: Tensor) -> Tensor:
        return self.text(text.flatten(1)) + torch.sin(t.float() / 150)[:, None]

    def predict(self, x: Tensor, conditioning: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():  # it would be compiled again for each number of calls
            self.calls.append(len(x))
        return torch.tanh(self.out(torch.tanh(self.deep(x) + conditioning[:, :, None, None])))

    def deep(self, x: Tensor) -> Tensor:
        return self.mix(x)


class Part(nn.Module):
    """A function of a module, as a module."""

    def __init__(self, whole: nn.Module, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.whole, self.function = whole, function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


def plain(unet: ToyUnet, x: Tensor, conditioning: Tensor) -> Tensor:
    return unet.predict(x, conditioning)


def with_deep(unet: ToyUnet, x: Tensor, conditioning: Tensor) -> Tensor:
    return torch.cat([unet.predict(x, conditioning), unet.deep(x)], 1)


def shallow(unet: ToyUnet, x: Tensor, conditioning: Tensor, deep: Tensor) -> Tensor:
    """As the whole where ``deep`` is fresh."""
    return torch.tanh(unet.out(torch.tanh(deep + conditioning[:, :, None, None])))


class ToyEncoder(nn.Module):
    """uint8 [F, H, W, 3] to [F, 4, H/8, W/8]: block means of RGB and of their product."""

    def forward(self, pixels: Tensor) -> Tensor:
        x = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
        x = torch.cat([x, x.prod(1, keepdim=True)], 1)
        return nn.functional.avg_pool2d(x, 8)


class ToyDecoder(nn.Module):
    """[F, 4, h, w] to uint8 [F, 8 h, 8 w, 3]."""

    def forward(self, latent: Tensor) -> Tensor:
        x = nn.functional.interpolate(latent[:, :3], scale_factor=8.0, mode="nearest")
        return ((x + 1) * 127.5).round().clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8)


def tokenize(text: str) -> Tensor:
    digest = hashlib.sha256(text.encode()).digest()
    return torch.tensor([list(digest[: TEXT[0]])])


class ToyText(nn.Module):
    def forward(self, ids: Tensor) -> Tensor:
        steps = torch.arange(1, TEXT[1] + 1, device=ids.device)
        return torch.sin(ids[:, :, None].float() * steps)


@dataclass
class Toy:
    """A toy model and a hand on its UNet."""

    model: Model
    unet: ToyUnet
    runtime: TorchRuntime = field(default_factory=lambda: TorchRuntime("cpu"))

    def stream(self, **settings: object) -> Stream:
        return Stream(self.model, self.runtime, StreamConfig.make(**{**SIZE, **settings}))


_made = 0


def toy(prediction: Prediction = "epsilon", image_conditioned: bool = False, seed: int = 0) -> Toy:
    global _made
    _made += 1  # a key of its own for each: toys share no engines, so their UNet's calls can be counted
    torch.manual_seed(seed)
    unet = ToyUnet(CHANNELS * (2 if image_conditioned else 1)).eval()
    model = Model(
        name="toy",
        key=f"toy-{_made}",
        prediction=prediction,
        alphas_cumprod=alphas_cumprod(),
        latent_channels=CHANNELS,
        image_conditioned=image_conditioned,
        text_length=TEXT[0],
        text_width=TEXT[1],
        tokenize=tokenize,
        make_encoder=ToyEncoder,
        make_decoder=ToyDecoder,
        make_text_encoder=ToyText,
        make_conditioner=lambda: Part(unet, unet.condition),
        make_denoiser=lambda deep: Part(unet, partial(with_deep if deep else plain, unet)),
        make_shallow=lambda: Part(unet, partial(shallow, unet)),
        deep_channels=8,
        default_size=(64, 64),
    )
    return Toy(model, unet)


def picture(seed: int, width: int = 64, height: int = 64) -> np.ndarray:
    """A random picture, uint8 [H, W, 3], with structure at the scale of a latent pixel."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return np.repeat(np.repeat(coarse, 8, 0), 8, 1)


def frames(count: int, seed: int = 0) -> list[Frame]:
    return [Frame(picture(seed * 1000 + i), pts=i / 30, index=i) for i in range(count)]


def with_memory_for(made: Toy, width: int) -> None:
    """Let its UNet fail beyond a width in pixels, as one does whose memory is asked for when it is run."""
    predict = made.unet.predict

    def unet(x: Tensor, conditioning: Tensor) -> Tensor:
        if x.shape[-1] > width // 8:
            raise RuntimeError("no memory for it")
        return predict(x, conditioning)

    made.unet.predict = unet  # type: ignore[method-assign]


async def outgrown(live: LiveStream[Any]) -> list[str]:
    """Grow an open stream of 64 pixels beyond its memory, together with a change of prompt; what is told of it."""
    told: list[str] = []
    live.on_refused = told.append
    live.push(frames(1)[0])
    await anext(live)
    live.update(width=128, prompt="kept")
    live.push(frames(2)[1])
    while not told:
        await asyncio.sleep(0.01)
    return told


def failing(made: Toy) -> list[bool]:
    """Let its UNet fail once whenever what is returned is set to [True]."""
    forward, bad = made.unet.predict, [False]

    def unet(*inputs: Tensor) -> Tensor:
        if bad[0]:
            bad[0] = False
            raise RuntimeError("out of memory")
        return forward(*inputs)

    made.unet.predict = unet  # type: ignore[method-assign]
    return bad


def slow(made: Toy, seconds: float, **settings: object) -> Stream:
    """A stream whose UNet takes its time, in seconds a call."""
    forward = made.unet.predict

    def wait(*inputs):  # type: ignore[no-untyped-def]
        time.sleep(seconds)
        return forward(*inputs)

    made.unet.predict = wait  # type: ignore[method-assign]
    return made.stream(**settings)


async def collect(live: LiveStream) -> list[Frame]:
    """All that a stream gives until its end."""
    return [frame async for frame in live]
