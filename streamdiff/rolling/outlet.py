"""Outlet: final blocks decoded, as frames with their times and identity."""

from __future__ import annotations

from typing import cast

from torch import Tensor

from streamdiff.frame import Frame, Pixels
from streamdiff.rolling.vae import VideoVae

Load = list[Frame] | None
"""What travels with a block: the camera's frames it was made of, or nothing when it was made from the prompt."""


class Outlet:
    """Decodes the blocks of one video in their order.

    Attributes:
        made: pictures made from the prompt so far; they are counted and timed by it.
    """

    def __init__(self, vae: VideoVae, fps: float) -> None:
        """An outlet at the beginning of a video.

        Args:
            vae: decodes.
            fps: pictures a second, for the times of pictures made from the prompt.
        """
        self._decoder = vae.decoder()
        self._fps = fps
        self.made = 0

    def skip(self, latents: Tensor) -> None:
        """Take a block [F, C, h, w] that has been seen elsewhere: what comes next continues it."""
        self._decoder(latents)

    def frames(self, latents: Tensor, load: Load) -> list[Frame]:
        """Pictures of a block [F, C, h, w].

        Returns:
            The camera's frames restyled; a block that was filled up gives more pictures than it has frames, and the
            rest are not shown. Or frames counted and timed from the first that was made from the prompt.
        """
        pictures = cast("Pixels", self._decoder(latents).cpu().numpy())
        if load is not None:
            return [frame.with_pixels(picture) for frame, picture in zip(load, pictures, strict=False)]
        first, self.made = self.made, self.made + len(pictures)
        return [Frame(picture, pts=i / self._fps, index=i) for i, picture in enumerate(pictures, first)]
