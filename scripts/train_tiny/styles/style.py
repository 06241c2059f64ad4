"""What a style is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..data import Picture
from ..filters import Plane, f32


@dataclass(frozen=True)
class Style:
    """A style: prompt, target filter on float RGB in 0..1, and other wordings of the prompt.

    Attributes:
        prompt: its name and first wording.
        filter: photograph [H, W, 3] -> the picture the model is to learn.
        synonyms: other wordings.
        share: how often it is drawn in training, against the others.
        screen: whether it has a pattern, whose period must be one latent cell (8 pixels, or a divisor): of longer ones
            the denoiser could not tell where they are. Crops of it keep to that grid and are never flipped.
    """

    prompt: str
    filter: Callable[[Plane], Plane]
    synonyms: tuple[str, ...]
    share: float = 1.0
    screen: bool = False

    def stylise(self, picture: Picture) -> Picture:
        """uint8 RGB [H, W, 3] -> the same, stylised."""
        out = self.filter(f32(picture) / 255)
        return np.asarray(np.clip(out, 0, 1) * 255 + 0.5, dtype=np.uint8)
