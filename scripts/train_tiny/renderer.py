"""The exported model, run as its users run it: through the package's own stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from streamdiff import Frame, Stream
from streamdiff.streaming import Streaming

from .data import Picture, Pictures


class Renderer:
    """Stylises pictures, or clips frame by frame, with an exported model."""

    def __init__(self, model: Path, size: int) -> None:
        self.stream = Stream.from_pretrained(model, device="cpu", width=size, height=size)
        self.plain = self.stream.config

    def __call__(self, pictures: Pictures | list[Picture], prompt: str, **settings: Any) -> Pictures:
        """uint8 [N, H, W, 3] -> the same, each by itself; settings are those of StreamConfig (default: its own)."""
        given = {"prompt": prompt, **settings}
        self.stream.update(**{**dict(self.plain), **given})
        return played(self.stream, pictures)


def played(stream: Streaming[Any], pictures: Pictures | list[Picture]) -> Pictures:
    """Pictures [N, H, W, 3] through a stream from its beginning to its end."""
    stream.reset()
    out: list[Frame] = []
    for i, picture in enumerate(pictures):
        out += stream.push(Frame(np.ascontiguousarray(picture), index=i))
    for finished in stream.drain():
        out += finished
    return np.stack([frame.pixels for frame in out])
