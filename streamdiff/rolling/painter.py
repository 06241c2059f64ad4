"""Painter: a picture model that restyles a camera's latents, one by one, before the rolling window takes them.

The window then has only to draw them better and to hold them steady. Untrained, it gives what the picture stream gives
at one step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engines.base import Engine, Runtime
from engines.pool import shared_engine
from streamdiff.calm import Calm
from streamdiff.conditioning import Conditioning
from streamdiff.models.base import Model
from streamdiff.rolling.by_size import BySize
from streamdiff.rolling.config import RollingConfig
from streamdiff.schedule import make_plan, slot_noise
from streamdiff.stream_batch import StreamBatch, Terms


class Painter:
    """What paints, for all the videos of a model.

    Attributes:
        model: the picture model.
        runtime: what runs it.
        timesteps: of its one step, for each level of the rolling model's ladder from 1 on.
        calm: share of the picture before that is kept where nothing moves.
    """

    def __init__(self, model: Model, runtime: Runtime, timesteps: tuple[int, ...], calm: float = 0.0) -> None:
        """A painter; the arguments are its attributes."""
        self.model, self.runtime, self.timesteps, self.calm = model, runtime, timesteps, calm
        self._unets = BySize(lambda *size: shared_engine(runtime, model.denoiser(*size)))

    def unet(self, width: int, height: int, conditioning: int) -> Engine:
        """The UNet for pictures of a size; `conditioning` is the width of its rows.

        Raises:
            EngineError: it cannot be built here.
        """
        return self._unets(width, height, conditioning)


@dataclass(frozen=True)
class Brush:
    """Successive latents to painted ones, under one prompt, level, seed and size.

    Attributes:
        batch: of one slot, so that what enters comes out at once.
        terms: what it is denoised by.
    """

    batch: StreamBatch[None]
    terms: Terms

    @torch.inference_mode()
    def __call__(self, latents: Tensor) -> Tensor:
        """Paint [F, C, h, w]; the same noise for every picture, so that what stands still stays as it is."""
        noise = self.terms.noise
        finished = self.batch.push(latents.to(noise.device, noise.dtype), self.terms, None)
        assert finished is not None
        return finished[0]


class Brushes:
    """Makes a video's brush for each configuration; remembers what prompts became.

    Attributes:
        calm: the video's filter.
    """

    def __init__(self, painter: Painter) -> None:
        self._painter = painter
        self._conditioning = Conditioning(painter.model, painter.runtime)
        self._latest: tuple[RollingConfig, Brush] | None = None
        self.calm = Calm()
        self.calm.keep(painter.calm)

    def __call__(self, config: RollingConfig) -> Brush:
        """The brush; the same again where nothing has changed that it is made of.

        Raises:
            EngineError: the picture model's networks cannot be built here.
        """
        if self._latest is not None and self._latest[0].changed(recache=config.recache) == config:
            return self._latest[1]
        model, runtime = self._painter.model, self._painter.runtime
        size = config.width, config.height
        plan = make_plan((self._painter.timesteps[config.level - 1],), model.alphas_cumprod, model.prediction)
        rows = self._conditioning.rows(plan.timesteps, config.prompt, config.second_prompt, config.blend)
        unet = self._painter.unet(*size, rows[0].shape[1])
        noise = slot_noise(config.seed, plan, model.latent_shape(*size)).to(runtime.device)
        terms = Terms(positive=rows, negative=(), noise=noise)
        brush = Brush(StreamBatch(unet, plan, image_conditioned=model.image_conditioned, calm=self.calm), terms)
        self._latest = config, brush
        return brush
