"""A stream from the network, or any other thing that FFmpeg opens: RTSP, RTMP, SRT, HLS, UDP, MJPEG."""

from __future__ import annotations

import av
from av.error import FFmpegError

from apps.media.atomic import reason
from apps.sources.decoded import Decoded
from apps.sources.source import Sound
from apps.uri import shown
from streamdiff.errors import DeviceError, MediaError
from streamdiff.frame import Frame

SILENCE = 5.0
"""Seconds without anything after which a stream counts as lost."""

# Not "nobuffer": it throws away what was looked at, the first keyframe with it, and nothing is seen until the next.
OPTIONS = {"flags": "low_delay", "rtsp_transport": "tcp", "analyzeduration": "1000000"}


class NetworkSource:
    """Plays an address; see ``Source``."""

    waits = False

    def __init__(self, url: str, *, listen: bool = False) -> None:
        """Connect.

        Args:
            url: anything with a scheme.
            listen: wait for a sender instead (RTMP, SRT).

        Raises:
            DeviceError: nobody answers, or what answers is no video.
        """
        self.name = shown(url)
        options = dict(OPTIONS)
        if listen:
            options["mode" if url.startswith("srt:") else "listen"] = "listener" if url.startswith("srt:") else "1"
        try:
            # Listening waits for as long as it takes; the read's limit is for what has begun.
            self._container = av.open(url, options=options, timeout=(None if listen else SILENCE, SILENCE))
        except (FFmpegError, ValueError) as error:
            raise DeviceError(f"{self.name}: cannot be opened ({reason(error)})") from error
        try:
            decoded = Decoded(self._container, self.name, live=True)
        except MediaError as error:
            self._container.close()
            raise DeviceError(str(error)) from error
        self.width, self.height, self.rate, self.has_sound = (
            decoded.width,
            decoded.height,
            decoded.rate,
            decoded.has_sound,
        )
        self._pieces = decoded.pieces()
        self._closed = False

    def read(self) -> Frame | Sound | None:
        """See ``Source``; the end of a stream is a loss: the sender may come again."""
        piece = next(self._pieces, None)
        if piece is None and not self._closed:
            raise DeviceError(f"{self.name}: the sender has ended")
        return piece

    def close(self) -> None:
        """See ``Source``. A read in another thread ends by itself, after SILENCE at the latest."""
        if not self._closed:
            self._closed = True
            if not self._pieces.gi_running:  # type: ignore[attr-defined]
                self._pieces.close()  # type: ignore[attr-defined]
                self._container.close()
