"""Calm: where the camera shows what it showed before, what was drawn there is kept, but for a share.

A recursive temporal filter whose weight follows motion, as video noise reduction has it (Dubois and Sabri, "Noise
reduction in image sequences using motion-compensated temporal filtering", IEEE Trans. Communications 32, 1984), on
latents: a denoiser answers a little noise of the camera with other strokes, and these are what flickers.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

STILL = 0.35
"""Change of the camera's latents, in standard deviations of latents, that counts as motion: the share kept falls to
1/e of its value there."""


def stillness(before: Tensor, now: Tensor) -> Tensor:
    """How little each place has changed: ``exp(-(d / STILL)^2)``, d the mean absolute change of its own and its
    neighbours' latents.

    Args:
        before: the camera's clean latents then, [1, C, h, w].
        now: and now, [1, C, h, w].

    Returns:
        [1, 1, h, w], from 0 to 1 where nothing has changed.
    """
    change = (now - before).abs().mean(1, keepdim=True)
    near = F.avg_pool2d(change, 3, stride=1, padding=1, count_include_pad=False)
    return torch.exp(-((near / STILL) ** 2))


@dataclass(frozen=True, eq=False)
class Memory:
    """What the filter knows of the frame before, always in the same tensors.

    Attributes:
        camera: its clean latents, [1, C, h, w].
        drawn: what came of them, [1, C, h, w].
        share: that is to be kept, [].
        weight: that is kept of this frame, []: the share, or 0 where there was no frame before.
    """

    camera: Tensor
    drawn: Tensor
    share: Tensor
    weight: Tensor

    @classmethod
    def like(cls, latents: Tensor, share: float) -> Memory:
        """An empty one for latents of the shape of these [F, C, h, w]."""
        camera, weight = torch.zeros_like(latents[:1]), torch.zeros((), device=latents.device)
        return cls(camera, torch.zeros_like(camera), torch.full_like(weight, share), weight)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of it."""
        return self.camera, self.drawn, self.share, self.weight


class Calm:
    """The filter of one video: off until it is told a share to keep.

    It works in place on its memory, so that it can be a part of a recorded step.

    Attributes:
        memory: another object with every size; None before the first frame.
    """

    def __init__(self) -> None:
        self.memory: Memory | None = None
        self._share = 0.0
        self._look: object = None

    @property
    def on(self) -> bool:
        """Whether it changes anything."""
        return self._share > 0

    @torch.inference_mode()
    def keep(self, share: float) -> None:
        """Set what is kept, where nothing moves, of the frame before: 0 (off) to less than 1."""
        if not share:
            self.forget()
        self._share = share
        if self.memory is not None:
            self.memory.share.fill_(share)

    @torch.inference_mode()
    def forget(self) -> None:
        """Begin anew: the next frame is as it is drawn."""
        if self.memory is not None:
            self.memory.weight.zero_()

    def of(self, look: object) -> None:
        """Name what the next frames are drawn by; with something else than before it begins anew."""
        if look is not self._look:
            self._look = look
            self.forget()

    @torch.inference_mode()
    def __call__(self, camera: Tensor, drawn: Tensor) -> Tensor:
        """Filter successive frames.

        Args:
            camera: their clean latents as the camera gave them, [F, C, h, w].
            drawn: and as they were denoised, [F, C, h, w].

        Returns:
            [F, C, h, w]; a first frame, and one of another size, as it was drawn.
        """
        if not self.on:
            return drawn
        memory = self._sized(camera)
        frames: list[Tensor] = []
        for now, new in zip(camera.split(1), drawn.split(1), strict=True):
            mixed = torch.lerp(new, memory.drawn, memory.weight * stillness(memory.camera, now))
            frames.append(torch.where(torch.isfinite(mixed), mixed, new))  # what is broken once does not stay so
            memory.camera.copy_(now)
            memory.drawn.copy_(frames[-1])
            memory.weight.copy_(memory.share)
        return torch.cat(frames)

    @contextmanager
    def aside(self, camera: Tensor) -> Generator[None]:
        """Whatever passes through meanwhile, latents like these, is not remembered: a step is being recorded."""
        if not self.on:
            yield
            return
        with torch.inference_mode():
            memory = self._sized(camera)
            copies = [tensor.clone() for tensor in memory.tensors]
            try:
                yield
            finally:
                for tensor, copy in zip(memory.tensors, copies, strict=True):
                    tensor.copy_(copy)

    def _sized(self, camera: Tensor) -> Memory:
        if self.memory is None or self.memory.camera.shape[1:] != camera.shape[1:]:
            self.memory = Memory.like(camera, self._share)
        return self.memory
