"""Video files, by FFmpeg: every frame with the time it is shown at, upright and in RGB."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

from apps.media.atomic import reason
from apps.media.colour import display_matrix, upright_rgb
from apps.media.joined import Joined
from streamdiff.errors import MediaError
from streamdiff.frame import Frame

NOT_VIDEOS = {"tty", "bin", "xbin", "idf", "adf"}
"""Demuxers that draw any text as a picture of a terminal."""

OPTIONS = {"protocol_whitelist": "file,crypto,data"}
"""A playlist may not make us fetch anything from a network."""


class VideoReader:
    """A video file as a sequence of Frames (see ``apps.media.reader.Reader``)."""

    def __init__(self, path: Path) -> None:
        """Open the file and decode its first frame, which tells its orientation.

        Raises:
            MediaError: not a video, or nothing in it can be decoded.
        """
        self.path = path
        self.joined = Joined()
        self.warnings: list[str] = []
        self._container = open_container(path)
        try:
            self._stream: Any = video_stream(self._container, path)
            # Both ways of spreading a decoder over threads; the default is one of them only.
            self._stream.thread_type = "AUTO"
            self._decoder = self._decode()
            self._first = next(self._decoder, None)
            if self._first is None:
                raise MediaError(f"{path}: no frame of the video can be decoded; the file is damaged or cut short")
            self._describe(self._first)
        except FFmpegError as error:
            self._container.close()
            raise MediaError(f"{path}: the video cannot be decoded ({reason(error)})") from error
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        """Decode; see ``Reader``."""
        last = -1.0
        index = 0
        track = self.joined.track()
        for index, frame in enumerate(self._frames()):
            shown = self._shown(frame)
            pts, lasts = self._time(frame), shown or 1 / (self.rate or 25)
            pts = (last + lasts if index else 0.0) if pts is None else track.place(pts, lasts)
            # Two frames at one time cannot be written again: the second is shown a moment later.
            pts = max(pts, last + float(self.time_base))
            last = pts
            yield Frame(upright_rgb(frame, self._aspect), pts=pts, index=index, tag=shown)
        # The count in a header is exact or (estimated) zero; a few frames less are an encoder's habit.
        declared = self._stream.frames
        if declared and index + 1 < declared - max(2, declared // 100) and self._stops_before(last):
            self.warnings.append(f"the file ends early: {index + 1} of {declared} frames could be read")
        elif matroska_is_cut(self.path):
            self.warnings.append(f"the file ends early: {index + 1} frames could be read")

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _stops_before(self, last: float) -> bool:
        """Whether the last frame's time is not yet the end: an edit hides frames that are counted all the same."""
        stream = self._stream
        if not stream.duration or not self.rate:
            return True
        end = float((stream.start_time or 0) * self.time_base + stream.duration * self.time_base - self.start)
        return last < end - 3 / self.rate

    def _describe(self, first: av.VideoFrame) -> None:
        stream = self._stream
        self.time_base = Fraction(stream.time_base or Fraction(1, 1000))
        rate = stream.average_rate or stream.guessed_rate
        self.rate = float(rate) if rate else None
        self.has_sound = bool(self._container.streams.audio)
        name = self._container.format.name
        self.still = name.endswith("_pipe") or name in ("image2", "ico")
        self.frames: int | None = 1 if self.still else stream.frames or self._estimate()
        square = stream.sample_aspect_ratio
        self._aspect = float(square) if square and 1 / 16 <= square <= 16 else 1.0
        width, height = max(1, round(first.width * self._aspect)), first.height
        matrix = display_matrix(first)
        turned = matrix is not None and abs(matrix[1]) + abs(matrix[2]) > abs(matrix[0]) + abs(matrix[3])
        self.width, self.height = (height, width) if turned else (width, height)
        self.start = start_of(self._container)

    def _estimate(self) -> int | None:
        stream, container = self._stream, self._container
        if not self.rate:
            return None
        if stream.duration:
            return max(1, round(float(stream.duration * self.time_base) * self.rate))
        return max(1, round(container.duration / av.time_base * self.rate)) if container.duration else None

    def _frames(self) -> Iterator[av.VideoFrame]:
        first, self._first = self._first, None
        if first is not None:
            yield first
        yield from self._decoder

    def _decode(self) -> Iterator[av.VideoFrame]:
        damaged = 0
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except FFmpegError as error:
                self.warnings.append(f"the file is damaged; reading stopped early ({reason(error)})")
                break
            try:
                yield from packet.decode()
            except FFmpegError:
                damaged += 1  # as a player does: one bad packet is not the end of the film
        if damaged:
            self.warnings.append(f"{damaged} damaged part(s) of the video were left out")

    def _time(self, frame: av.VideoFrame) -> float | None:
        if frame.pts is None or frame.time_base is None or self.still:
            return None
        return float(frame.pts * frame.time_base - self.start)

    def _shown(self, frame: av.VideoFrame) -> float | None:
        duration = getattr(frame, "duration", None)
        return float(duration * frame.time_base) if duration and frame.time_base else None


_ATTACHED_PICTURE = 0x0400


def open_container(path: Path) -> Any:
    """Open a file with FFmpeg.

    Raises:
        MediaError: it is no media file, or damaged.
    """
    try:
        # The prefix keeps a file called "a:b.mp4" from being taken for a protocol.
        return av.open(f"file:{path}", container_options=OPTIONS, metadata_errors="replace")
    except (FFmpegError, ValueError) as error:
        raise MediaError(
            f"{path}: is not a picture or video this program can read, or is cut short ({reason(error)})"
        ) from error


def video_stream(container: Any, name: object) -> Any:
    """The video in it.

    Args:
        container: PyAV's.
        name: for messages.

    Raises:
        MediaError: there is none, or none that can be decoded.
    """
    known = [s for s in container.streams.video if s.codec_context is not None]
    best: Any = container.streams.best("video")
    stream = best if best is None or best.codec_context is not None or not known else known[0]
    if stream is None or container.format.name in NOT_VIDEOS:
        raise MediaError(f"{name}: holds neither a picture nor a video")
    if stream.disposition & _ATTACHED_PICTURE:
        raise MediaError(f"{name}: is a sound file with a cover picture, not a video")
    if stream.codec_context is None:
        raise MediaError(f"{name}: its video codec is unknown to this FFmpeg")
    return stream


def start_of(container: Any) -> Fraction:
    """The time, in seconds, from which the times of a container are counted, for sound and picture alike.

    Files have a zero of their own and their times are kept exactly. Recordings of a broadcast count from whenever the
    sender was switched on.
    """
    free_running = container.format.name in ("mpegts", "mpeg", "hls", "rtsp", "asf")
    return Fraction(container.start_time or 0, av.time_base) if free_running else Fraction(0)


def matroska_is_cut(path: Path) -> bool:
    """Whether a Matroska or WebM file is shorter than its own header says; False for all other files.

    Such a file has no count of its frames, and what is left of it plays without a complaint.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    at = 0
    for identity in (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"):  # EBML, Segment
        if head[at : at + 4] != identity or len(head) < at + 12:
            return False
        at += 4
        length = 9 - head[at].bit_length()  # bytes of the size: told by the leading zeros of the first
        unknown = (1 << 7 * length) - 1  # all ones: recorded live, the end was not known
        size = int.from_bytes(head[at : at + length], "big") & unknown
        at += length
        if identity == b"\x18\x53\x80\x67":
            return size != unknown and at + size > path.stat().st_size
        at += size
    return False
