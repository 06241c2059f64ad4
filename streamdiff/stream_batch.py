"""Stream Batch: frames at staggered noise levels, stepped together in one UNet batch (arXiv 2312.12491, 3.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor

from streamdiff.config import Guidance
from streamdiff.guidance import guide, needs_negative
from streamdiff.schedule import Plan, add_noise, predict_clean, to_epsilon

T = TypeVar("T")

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
class _Slot(Generic[T]):
    x: Tensor
    clean: Tensor
    anchor: Tensor
    terms: Terms
    load: T


class StreamBatch(Generic[T]):
    """n slots; ``push`` lets frames into the first, ``step`` moves all of them on by one UNet call.

    A slot is empty or full, and an empty one is never evaluated: while the pipeline fills or drains the UNet batch is
    just smaller. ``T`` is whatever travels with the frames of a push and comes out with them.
    """

    def __init__(self, unet: Unet, plan: Plan, *, image_conditioned: bool = False) -> None:
        self.plan = plan
        self._unet = unet
        self._image_conditioned = image_conditioned
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
        self._slots[0] = _Slot(add_noise(self.plan, 0, clean, terms.noise[0]), clean, clean, terms, load)
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
        predictions = self._evaluate(full)
        after: list[_Slot[T] | None] = [None] * len(self.plan)
        finished: tuple[Tensor, T] | None = None
        for (i, slot), (positive, negative) in zip(full, predictions, strict=True):
            terms = slot.terms
            epsilon, anchor = guide(
                terms.guidance,
                terms.scale,
                terms.delta,
                self.plan,
                i,
                slot.x,
                positive,
                negative,
                slot.anchor,
            )
            clean = predict_clean(self.plan, i, slot.x, epsilon)
            if i + 1 == len(self.plan):
                finished = clean, slot.load
            else:
                x = add_noise(self.plan, i + 1, clean, terms.noise[i + 1])
                after[i + 1] = replace(slot, x=x, anchor=anchor)
        self._slots = after
        return finished

    def _evaluate(self, full: list[tuple[int, _Slot[T]]]) -> list[tuple[Tensor, Tensor | None]]:
        """One UNet call for all slots: (positive, negative or None) noise predictions of each."""
        rows: list[tuple[int, _Slot[T], Tensor]] = []
        for i, slot in full:
            rows.append((i, slot, slot.terms.positive[i]))
            if needs_negative(slot.terms.guidance, i):
                rows.append((i, slot, slot.terms.negative[i]))
        sizes = [len(slot.x) for _, slot, _ in rows]
        sample = torch.cat([self._sample(slot) for _, slot, _ in rows])
        conditioning = self._conditioning([(row, size) for (_, _, row), size in zip(rows, sizes, strict=True)])
        outputs = iter(self._unet(sample, conditioning).split(sizes))
        predictions: list[tuple[Tensor, Tensor | None]] = []
        for i, slot in full:
            positive = to_epsilon(self.plan, i, slot.x, next(outputs))
            negative = None
            if needs_negative(slot.terms.guidance, i):
                negative = to_epsilon(self.plan, i, slot.x, next(outputs))
            predictions.append((positive, negative))
        return predictions

    def _sample(self, slot: _Slot[T]) -> Tensor:
        return torch.cat([slot.x, slot.clean], dim=1) if self._image_conditioned else slot.x


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
            self._whole = torch.cat([row.expand(size, -1) for row, size in parts])
        return self._whole


def _same(a: list[tuple[Tensor, int]], b: list[tuple[Tensor, int]]) -> bool:
    return len(a) == len(b) and all(x is y and m == n for (x, m), (y, n) in zip(a, b, strict=True))
