"""Stream Batch: frames at staggered noise levels, stepped together in one UNet batch (arXiv 2312.12491, 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor

from streamdiff.calm import Calm
from streamdiff.config import Guidance
from streamdiff.guidance import guide, needs_negative
from streamdiff.schedule import Plan, add_noise, predict_clean, to_epsilon

T = TypeVar("T")
R = TypeVar("R")

Unet = Callable[[Tensor, Tensor], Tensor]
"""(x [B, C, h, w], conditioning [B, M]) to prediction [B, C, h, w]."""


@dataclass(frozen=True)
class Terms:
    """What a frame is denoised by, fixed when it enters and carried to its end.

    Attributes:
        positive: the prompt's conditioning for each slot, [1, M].
        negative: the negative prompt's; empty where no slot evaluates it.
        noise: one tensor for each slot, [n, C, h, w].
        guidance: mode in use.
        scale: guidance scale, above 1 unless the mode is none.
        delta: strength of the residual.
    """

    positive: tuple[Tensor, ...]
    negative: tuple[Tensor, ...]
    noise: Tensor
    guidance: Guidance = Guidance.none
    scale: float = 1.0
    delta: float = 1.0


@dataclass(frozen=True)
class Latents:
    """What a slot holds of its frames, [F, C, h, w] each.

    Attributes:
        x: at the slot's noise level.
        clean: as they were encoded.
        anchor: clean latents that the virtual residual is taken from.
    """

    x: Tensor
    clean: Tensor
    anchor: Tensor


Filled = tuple[int, Latents, Terms]
"""A slot that is not empty: its index, what it holds, and what that is denoised by."""


def enter(plan: Plan, clean: Tensor, terms: Terms) -> Filled:
    """Frames as they stand in the first slot.

    Args:
        plan: the plan.
        clean: their clean latents [F, C, h, w].
        terms: what they are denoised by.
    """
    return 0, Latents(add_noise(plan, 0, clean, terms.noise[0]), clean, clean), terms


def advance(
    unet: Unet, plan: Plan, slots: Sequence[Filled], conditioning: Tensor, *, image_conditioned: bool, calm: Calm
) -> tuple[list[Latents], Tensor | None]:
    """Step slots by one UNet call; a pure function of its tensors and of what the filter remembers.

    Args:
        unet: the denoiser.
        plan: the plan.
        slots: those that are not empty, by rising index.
        conditioning: [B, M], the rows of ``conditioning_of`` put together.
        image_conditioned: the UNet takes the clean latents too.
        calm: filters what is finished.

    Returns:
        For each slot but the last of the plan what the next one holds then; and of that last one, where it is among
        them, the clean latents that are finished.
    """
    samples: list[Tensor] = []
    for i, held, terms in slots:
        sample = torch.cat([held.x, held.clean], dim=1) if image_conditioned else held.x
        samples += [sample] * (1 + needs_negative(terms.guidance, i))
    outputs = iter(unet(torch.cat(samples), conditioning).split([len(sample) for sample in samples]))
    moved: list[Latents] = []
    finished: Tensor | None = None
    for i, held, terms in slots:
        positive = to_epsilon(plan, i, held.x, next(outputs))
        negative = None
        if needs_negative(terms.guidance, i):
            negative = to_epsilon(plan, i, held.x, next(outputs))
        epsilon, anchor = guide(
            terms.guidance, terms.scale, terms.delta, plan, i, held.x, positive, negative, held.anchor
        )
        clean = predict_clean(plan, i, held.x, epsilon)
        if i + 1 == len(plan):
            finished = calm(held.clean, clean)
        else:
            moved.append(Latents(add_noise(plan, i + 1, clean, terms.noise[i + 1]), held.clean, anchor))
    return moved, finished


def conditioning_of(slots: Sequence[tuple[int, int, Terms]]) -> list[tuple[Tensor, int]]:
    """The rows [1, M] that slots are evaluated with, in the order of the batch, each with how often.

    Args:
        slots: index, number of frames and terms of those that are not empty.
    """
    parts: list[tuple[Tensor, int]] = []
    for i, frames, terms in slots:
        parts.append((terms.positive[i], frames))
        if needs_negative(terms.guidance, i):
            parts.append((terms.negative[i], frames))
    return parts


def joined(parts: Sequence[tuple[Tensor, int]]) -> Tensor:
    """[1, M] rows, each so many times -> [B, M]."""
    return torch.cat([row.expand(count, -1) for row, count in parts])


@dataclass(frozen=True)
class _Slot(Generic[T]):
    latents: Latents
    terms: Terms
    load: T


class StreamBatch(Generic[T]):
    """n slots; ``push`` lets frames into the first, ``step`` moves all of them on by one UNet call.

    A slot is empty or full, and an empty one is never evaluated: while the pipeline fills or drains the UNet batch is
    just smaller. ``T`` is whatever travels with the frames of a push and comes out with them.
    """

    def __init__(self, unet: Unet, plan: Plan, *, image_conditioned: bool = False, calm: Calm | None = None) -> None:
        self.plan = plan
        self._unet = unet
        self._calm = calm or Calm()
        self._image_conditioned = image_conditioned
        # Between two calls the first is empty.
        self._slots: list[_Slot[T] | None] = [None] * len(plan)
        self._conditioning = _Joined()

    @property
    def loads(self) -> list[T]:
        """What travels with the pushes that have gone in and not come out, newest first."""
        return [slot.load for slot in self._slots if slot is not None]

    def push(self, clean: Tensor, terms: Terms, load: T) -> tuple[Tensor, T] | None:
        """Let frames in and step once.

        Args:
            clean: their clean latents [F, C, h, w].
            terms: what they are denoised by.
            load: what travels with them.

        Returns:
            The frames that finished, [F', C, h, w] clean latents and their load, or None while the slots fill.
        """
        _, latents, _ = enter(self.plan, clean, terms)
        self._slots[0] = _Slot(latents, terms, load)
        try:
            return self.step()
        except BaseException:
            # Only these frames are lost; those in the later slots stand as they stood.
            self._slots[0] = None
            raise

    def step(self) -> tuple[Tensor, T] | None:
        """Step what is in flight without letting anything in; returns as ``push``."""
        full = [(i, slot) for i, slot in enumerate(self._slots) if slot is not None]
        if not full:
            return None
        slots = [(i, slot.latents, slot.terms) for i, slot in full]
        conditioning = self._conditioning(conditioning_of([(i, len(held.x), terms) for i, held, terms in slots]))
        if slots[-1][0] + 1 == len(self.plan):
            self._calm.of(slots[-1][2])
        moved, finished = advance(
            self._unet, self.plan, slots, conditioning, image_conditioned=self._image_conditioned, calm=self._calm
        )
        after: list[_Slot[T] | None] = [None] * len(self.plan)
        for (i, slot), latents in zip(full, moved, strict=False):
            after[i + 1] = replace(slot, latents=latents)
        self._slots = after
        return None if finished is None else (finished, full[-1][1].load)

    def steady(self, terms: Terms, frames: int) -> bool:
        """Whether each slot but the first holds so many frames of these very terms."""
        return all(
            slot is not None and slot.terms is terms and len(slot.latents.x) == frames for slot in self._slots[1:]
        )

    def push_through(
        self, step: Callable[[Sequence[Latents]], tuple[R, Sequence[Latents]]], terms: Terms, load: T
    ) -> tuple[R, T]:
        """Let frames in, all slots full, and step once by other means.

        Args:
            step: from what the slots after the first hold to what finished, in any form, and what they hold then. If it
                raises, they stand as they stood.
            terms: what the frames are denoised by.
            load: what travels with them.

        Returns:
            What finished, and its load.
        """
        held = [slot for slot in self._slots[1:] if slot is not None]
        finished, moved = step([slot.latents for slot in held])
        before = [(terms, load), *((slot.terms, slot.load) for slot in held)]
        slots = [_Slot(latents, *carried) for latents, carried in zip(moved, before, strict=False)]
        self._slots = [None, *slots]
        return finished, before[-1][1]


class _Joined:
    """Rows of conditioning as one tensor; the same tensor again while they stay the same, as they do between changes of
    the settings."""

    def __init__(self) -> None:
        self._parts: list[tuple[Tensor, int]] = []
        self._whole: Tensor | None = None

    def __call__(self, parts: list[tuple[Tensor, int]]) -> Tensor:
        """[1, M] rows, each so many times -> [B, M]."""
        if self._whole is None or not _same(parts, self._parts):
            self._parts = parts
            self._whole = joined(parts)
        return self._whole


def _same(a: list[tuple[Tensor, int]], b: list[tuple[Tensor, int]]) -> bool:
    return len(a) == len(b) and all(x is y and m == n for (x, m), (y, n) in zip(a, b, strict=True))
