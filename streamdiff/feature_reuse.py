"""Feature reuse between the frames of a slot: DeepCache (arXiv 2312.00858) across frames (ALGORITHMS 7).

What the deep blocks of the UNet make of neighbouring frames hardly differs. The whole UNet runs every N-th time, and in
between only its outermost blocks do, around the deep features kept from before.
"""

from __future__ import annotations

from torch import Tensor

from engines.base import Engine
from streamdiff.frame import Pixels
from streamdiff.similarity import Thumbnail, mean_difference, thumbnail

SCENE_CHANGE = 12.0
"""Mean absolute difference of two thumbnails, in levels of 255, beyond which nothing is reused: neighbouring frames of
someone before a webcam stay below 7, those of a moving camera nearly always below 12; a cut does not."""


class ReusingUnet:
    """A denoiser for ``StreamBatch`` that runs the whole UNet every N-th call.

    Kept features belong to the rows of one batch: any other conditioning (a change of prompt or guidance, slots that
    fill or drain) renews them.
    """

    def __init__(self, whole: Engine, shallow: Engine, channels: int, every: int, slots: int) -> None:
        """Combine two engines.

        Args:
            whole: (x, conditioning) to prediction and deep features, on the channel axis.
            shallow: (x, conditioning, deep) to prediction.
            channels: C, of the prediction.
            every: N, at least 2.
            slots: n, of the stream batch; so long does a new scene take until it has reached the last of them.
        """
        self._whole, self._shallow = whole, shallow
        self._channels, self._every, self._slots = channels, every, slots
        self._deep: Tensor | None = None
        self._conditioning: Tensor | None = None
        self._used = 0
        self._to_renew = 0
        self._seen: Thumbnail | None = None
        self._kept: Thumbnail | None = None

    def look(self, pixels: Pixels) -> None:
        """Be shown a frame before its call; another scene than that of the kept features renews them."""
        self._seen = thumbnail(pixels)
        if self._kept is not None and mean_difference(self._seen, self._kept) > SCENE_CHANGE:
            self._to_renew = self._slots

    def renew(self) -> None:
        """Reuse nothing of what is kept in any slot: other noise goes in from now on."""
        self._to_renew = self._slots

    def __call__(self, x: Tensor, conditioning: Tensor) -> Tensor:
        """Predict."""
        deep = self._deep
        reusable = deep is not None and conditioning is self._conditioning and self._to_renew == 0
        if deep is not None and reusable and self._used + 1 < self._every:
            self._used += 1
            return self._shallow(x, conditioning, deep)
        self._deep = None
        both = self._whole(x, conditioning)
        self._deep = both[:, self._channels :].contiguous()
        self._conditioning, self._used, self._kept = conditioning, 0, self._seen
        self._to_renew = max(0, self._to_renew - 1)
        return both[:, : self._channels]
