"""Staircase: what stands at staggered noise levels is denoised together and moves on by one level each step.

Stream Batch (ALGORITHMS 1) and the rolling window (ALGORITHMS 6) are both one: they differ in how a step denoises.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from torch import Tensor

S = TypeVar("S")


class Staircase(ABC, Generic[S]):
    """One slot for each noise level, noisiest first; a slot is empty or full, and an empty one is never evaluated."""

    def __init__(self, levels: int) -> None:
        self._slots: list[S | None] = [None] * levels

    @property
    def held(self) -> list[S]:
        """What has gone in and not come out, newest first."""
        return [slot for slot in self._slots if slot is not None]

    def clear(self) -> None:
        """Empty every slot."""
        self._slots = [None] * len(self._slots)

    def enter(self, slot: S, level: int = 0) -> tuple[Tensor, S] | None:
        """Let something in at a noise level and step once.

        Returns:
            As ``step``.
        """
        self._slots[level] = slot
        try:
            return self.step()
        except BaseException:
            # Only this one is lost; those at the later levels stand as they stood.
            self._slots[level] = None
            raise

    def step(self) -> tuple[Tensor, S] | None:
        """Denoise all that is held and move it on.

        Returns:
            What has left the last level, as its clean prediction and its slot; None when that level was empty.
        """
        full = [(level, slot) for level, slot in enumerate(self._slots) if slot is not None]
        if not full:
            return None
        after: list[S | None] = [None] * len(self._slots)
        finished: tuple[Tensor, S] | None = None
        for (level, _), (clean, slot) in zip(full, self.denoise(full), strict=True):
            if level + 1 == len(self._slots):
                finished = clean, slot
            else:
                after[level + 1] = self.renoise(level + 1, clean, slot)
        self._slots = after
        return finished

    @abstractmethod
    def denoise(self, full: list[tuple[int, S]]) -> list[tuple[Tensor, S]]:
        """Predict the clean sample of every full slot, given with its level, noisiest first.

        Returns:
            For each, in the same order, the prediction and the slot as it goes on.
        """

    @abstractmethod
    def renoise(self, level: int, clean: Tensor, slot: S) -> S:
        """The slot with its clean prediction brought back to a noise level."""
