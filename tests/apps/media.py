"""Real media files, made by the codecs themselves."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE = 30


def frame(index: int, width: int = 64, height: int = 48) -> np.ndarray:
    """A picture that says which one it is: its grey level, and a brighter quarter at the top left."""
    pixels = np.full((height, width, 3), 20 + index * 6 % 200, np.uint8)
    pixels[: height // 2, : width // 2] = 230
    return pixels


def video(
    path: Path,
    count: int = 12,
    *,
    size: tuple[int, int] = (64, 48),
    times: Sequence[int] | None = None,
    sound: bool = False,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    kind: str | None = None,
) -> Path:
    """A video; ``times`` in thousandths of a second where the rate is not constant."""
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = *size, pixel_format
        base = Fraction(1, 1000 if times else RATE)
        stream.time_base = stream.codec_context.time_base = base
        tone = container.add_stream("aac", rate=44100, layout="mono") if sound else None
        for index in range(count):
            picture = av.VideoFrame.from_ndarray(frame(index, *size), format="rgb24")
            picture.pts = times[index] if times else index
            picture.time_base = base  # the stream's own is the container's once its header is written
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        if tone is not None:
            samples = (np.sin(np.arange(44100 * count // RATE) / 20) * 8000).astype(np.int16)[None]
            for start in range(0, samples.shape[1] - 1023, 1024):
                block = av.AudioFrame.from_ndarray(samples[:, start : start + 1024], format="s16", layout="mono")
                block.sample_rate, block.pts, block.time_base = 44100, start, Fraction(1, 44100)
                container.mux(tone.encode(block))
            container.mux(tone.encode(None))
    return path


def turned(path: Path) -> Path:
    """Turn an MP4 by a quarter, as a phone held upright does: the display matrix in its track header."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40  # version and flags, then 36 bytes up to the matrix
    matrix = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]
    data[place : place + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(data)
    return path


def packets(path: Path) -> list[tuple[bytes, float]]:
    """The sound of a file: each packet and its time."""
    with av.open(str(path)) as container:
        return [(bytes(p), float(p.pts * p.time_base)) for p in container.demux(audio=0) if p.size]


def decoded(path: Path) -> list[tuple[float, np.ndarray]]:
    """Times and pictures of a file, as FFmpeg gives them."""
    with av.open(str(path)) as container:
        return [(float(f.pts * f.time_base), f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
