"""Decoded: pictures and sound of anything FFmpeg opens, in the order in which they come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from apps.media.atomic import reason
from apps.media.colour import upright_rgb
from apps.media.video_reader import start_of, video_stream
from apps.sources.source import SOUND_RATE, Sound
from streamdiff.errors import DeviceError
from streamdiff.frame import Frame

MOST_RATE = 240
"""Frames per second beyond which a stream's own word for its rate is not believed."""


class Decoded:
    """An open container, read once from where it stands.

    Attributes:
        width, height, rate, has_sound: see ``Source``.
    """

    def __init__(self, container: Any, name: str, *, live: bool = False) -> None:
        """Look at the streams.

        Args:
            container: PyAV's.
            name: for messages.
            live: decode without delay rather than on all cores at once.

        Raises:
            MediaError: there is no video in it.
        """
        video = video_stream(container, name)
        video.thread_type = "SLICE" if live else "AUTO"  # threads by frames hold back a frame each
        self._container, self._name, self._video = container, name, video
        self._sound = next((s for s in container.streams.audio if s.codec_context is not None), None)
        self.has_sound = self._sound is not None
        square = video.sample_aspect_ratio
        self._aspect = float(square) if square and 1 / 16 <= square <= 16 else 1.0
        self.width, self.height = max(1, round(video.width * self._aspect)), video.height
        rate = video.average_rate or video.guessed_rate
        # RTSP guesses 90000 where nobody says.
        self.rate = float(rate) if rate and 0 < rate <= MOST_RATE else None
        self._start = float(start_of(container))

    def pieces(self) -> Iterator[Frame | Sound]:
        """Decode to the end; what is damaged is left out.

        Raises:
            DeviceError: the connection was lost, or nothing came for too long.
        """
        resampler = av.AudioResampler(format="s16", layout="stereo", rate=SOUND_RATE)
        wanted = [s for s in (self._video, self._sound) if s is not None]
        packets = self._container.demux(wanted)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except FFmpegError as error:
                raise DeviceError(f"{self._name}: lost ({reason(error)})") from error
            try:
                frames = packet.decode()
            except FFmpegError:
                continue  # as a player does: one bad packet is not the end
            for frame in frames:
                if isinstance(frame, av.VideoFrame):
                    yield self._picture(frame)
                else:
                    yield from self._sounds(frame, resampler)

    def _picture(self, frame: av.VideoFrame) -> Frame:
        pts = None if frame.time is None else frame.time - self._start
        return Frame(upright_rgb(frame, self._aspect), pts=pts, captured=time.monotonic())

    def _sounds(self, frame: av.AudioFrame, resampler: av.AudioResampler) -> Iterator[Sound]:
        if frame.time is None:
            return  # cannot be placed in time
        for part in resampler.resample(frame):
            samples = part.to_ndarray().reshape(-1, 2)
            pts = frame.time if part.time is None else part.time
            yield Sound(np.ascontiguousarray(samples, np.int16), pts - self._start)
