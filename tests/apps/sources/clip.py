"""A clip with one flash and one beep at the same moment, and where they are in what comes out."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np

from apps.sources.source import Sound, Source
from streamdiff.frame import Frame

RATE, SECONDS = 25, 2


def encode(target: str, kind: str, codec: str = "mpeg4", options: dict[str, str] | None = None) -> None:
    """A clip with one white picture and one beep, both at 1.0 s."""
    container = av.open(target, "w", format=kind, options=options or {})
    video = container.add_stream(codec, rate=RATE)
    video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
    sound = container.add_stream("aac", rate=48_000)
    sound.layout = "stereo"
    for i in range(RATE * SECONDS):
        pixels = np.full((64, 96, 3), 255 if i == RATE else 40, np.uint8)
        container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        samples = np.zeros((1, 2 * 48_000 // RATE), np.int16)
        if i == RATE:
            samples[:] = (np.arange(samples.shape[1]) // 40 % 2 * 2 - 1) * 20_000
        part = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
        part.sample_rate, part.pts, part.time_base = 48_000, i * 48_000 // RATE, Fraction(1, 48_000)
        container.mux(sound.encode(part))
    for stream in (video, sound):
        container.mux(stream.encode(None))
    container.close()


def pieces(source: Source, pictures: int) -> tuple[list[Frame], list[Sound]]:
    frames: list[Frame] = []
    sounds: list[Sound] = []
    while len(frames) < pictures and (piece := source.read()) is not None:
        (sounds if isinstance(piece, Sound) else frames).append(piece)  # type: ignore[arg-type]
    return frames, sounds


def flash_and_beep(frames: list[Frame], sounds: list[Sound]) -> tuple[list[float], list[float]]:
    flashes = [frame.pts for frame in frames if frame.pixels.mean() > 200]
    loud = [s.pts + int(np.argmax(np.abs(s.samples) > 8000)) / 2 / 48_000 for s in sounds
            if np.abs(s.samples).max() > 8000]  # fmt: skip
    beeps = [t for i, t in enumerate(loud) if not i or t - loud[i - 1] > 0.5]
    return flashes, beeps  # type: ignore[return-value]
