"""A stream from the network, or any other thing that FFmpeg opens: RTSP, RTMP, SRT, HLS, UDP, MJPEG."""

from __future__ import annotations

import threading
from typing import Any

import av
from av.error import FFmpegError

from apps.media.atomic import reason
from apps.sources.decoded import Decoded
from apps.sources.paced import Paced
from apps.sources.source import Sound
from apps.uri import shown
from streamdiff.errors import DeviceError, MediaError
from streamdiff.frame import Frame

SILENCE = 5.0
"""Seconds without anything after which a stream counts as lost."""

JUMP = 5.0
"""Seconds by which a stream's clock may jump, at an advertisement or a new encoder, before it counts as another."""

# Not "nobuffer": it throws away what was looked at, the first keyframe with it, and nothing is seen until the next.
OPTIONS = {"flags": "low_delay", "rtsp_transport": "tcp", "analyzeduration": "1000000"}


class NetworkSource:
    """Plays an address; see ``Source``.

    What a server keeps (a finished video, the segments of HLS) comes as fast as the network takes it, and is given at
    its own pace.
    """

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
            self._container = _listened(url, options) if listen else av.open(url, options=options, timeout=SILENCE)
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
        self._closed = threading.Event()
        self._ends = url.startswith(("http:", "https:")) and bool(self._container.duration)
        kept = self._ends or "hls" in self._container.format.name
        self._paced = Paced(self._pieces, self._closed, jump=JUMP) if kept else None

    def read(self) -> Frame | Sound | None:
        """See ``Source``; the end of a stream that nobody knew the length of is a loss: the sender may come again."""
        piece = self._paced.read() if self._paced is not None else next(self._pieces, None)
        if piece is None and not self._closed.is_set() and not self._ends:
            raise DeviceError(f"{self.name}: the sender has ended")
        return piece

    def close(self) -> None:
        """See ``Source``. A read in another thread ends by itself, after SILENCE at the latest."""
        if not self._closed.is_set():
            self._closed.set()
            if not self._pieces.gi_running:  # type: ignore[attr-defined]
                self._pieces.close()  # type: ignore[attr-defined]
                self._container.close()


def _listened(url: str, options: dict[str, str]) -> Any:
    """The container of a sender that comes, however long it takes; a signal ends the waiting.

    Raises:
        FFmpegError, ValueError: as ``av.open``.
    """
    came: list[Any] = []
    failed: list[Exception] = []

    def wait() -> None:
        try:
            came.append(av.open(url, options=options, timeout=(None, SILENCE)))
        except Exception as error:
            failed.append(error)

    # FFmpeg waits in C, where Python sees no signal.
    waiting = threading.Thread(target=wait, name="streamdiff-listen", daemon=True)
    waiting.start()
    while waiting.is_alive():
        waiting.join(0.1)
    if failed:
        raise failed[0]
    return came[0]
