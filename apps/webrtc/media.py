"""Frames between aiortc and the stream: newest wins on both sides, and pictures keep the source's time stamps."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from streamdiff import Frame
from streamdiff.frame import Pixels
from streamdiff.picture import cover

VIDEO_CLOCK = Fraction(1, 90_000)


def to_pixels(frame: av.VideoFrame, width: int, height: int) -> Pixels:
    """A decoded picture scaled to cover width x height and cut to its middle: uint8 [height, width, 3] RGB."""
    pixels = cover(frame.to_ndarray(format="rgb24"), width, height)
    pixels.flags.writeable = False  # ours alone: nobody need copy it
    return pixels


def to_video_frame(frame: Frame) -> av.VideoFrame:
    """A finished picture with the time stamp its input came with."""
    video = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.pixels), format="rgb24")
    video.pts, video.time_base = cast("tuple[int, Fraction]", frame.tag)
    return video


class Newest:
    """The newest frame of a remote track, converted in a thread: what is overtaken is counted and never converted."""

    def __init__(self, track: MediaStreamTrack) -> None:
        self.track = track
        self.overtaken = 0
        self.received = 0
        # Of its own: the event loop's pool is where aiortc encodes.
        self._pool = ThreadPoolExecutor(1, "streamdiff-pixels")

    def close(self) -> None:
        """Give the thread back."""
        self._pool.shutdown(wait=False)

    async def next(self, width: int, height: int) -> Frame:
        """Wait for the next frame.

        Raises:
            MediaStreamError: the track has ended.
        """
        video = cast(av.VideoFrame, await self.track.recv())
        waiting = cast("asyncio.Queue[Any] | None", getattr(self.track, "_queue", None))
        self.received += 1
        while waiting is not None and not waiting.empty():
            later = waiting.get_nowait()
            if later is None:
                self.track.stop()
                raise MediaStreamError
            self.overtaken += 1
            self.received += 1
            video = later
        captured = time.monotonic()
        loop = asyncio.get_running_loop()
        pixels = await loop.run_in_executor(self._pool, to_pixels, video, width, height)
        pts = video.pts if video.pts is not None else 0
        time_base = video.time_base or VIDEO_CLOCK
        tag = (pts, time_base)
        return Frame(pixels, pts=float(pts * time_base), captured=captured, index=self.received, tag=tag)


class StylisedTrack(MediaStreamTrack):
    """The stream's output as a track; the newest finished picture wins."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self._newest: Frame | None = None
        self._there = asyncio.Event()
        self._last: float | None = None
        self.overtaken = 0

    def show(self, frame: Frame) -> None:
        """Offer a finished picture."""
        if self._newest is not None:
            self.overtaken += 1
        self._newest = frame
        self._there.set()

    async def recv(self) -> av.VideoFrame:
        """The next picture to encode: always a new object, since an encoder marks the one it makes a keyframe of."""
        while True:
            if self.readyState != "live":
                raise MediaStreamError
            await self._there.wait()
            self._there.clear()
            frame, self._newest = self._newest, None
            if frame is None:
                continue
            if self._last is not None and frame.pts is not None and frame.pts <= self._last:
                continue  # the source began again; its sender will be replaced
            self._last = frame.pts
            return to_video_frame(frame)

    def stop(self) -> None:
        """End the track and wake whoever waits for it."""
        super().stop()
        self._there.set()
