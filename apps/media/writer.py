"""Writing what comes out of the stream: a video with its sound, or a picture; whole, or not at all."""

from __future__ import annotations

import logging
import os
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from apps.media.atomic import AtomicFile, reason
from apps.media.reader import Reader
from streamdiff.errors import MediaError
from streamdiff.frame import Frame, Pixels

log = logging.getLogger("streamdiff.media")

VIDEOS: dict[str, tuple[str, tuple[str, ...], str]] = {
    # suffix: container, video encoders in order of preference, encoder for sound that cannot be copied
    ".mp4": ("mp4", ("libx264", "libopenh264"), "aac"),
    ".m4v": ("mp4", ("libx264", "libopenh264"), "aac"),
    ".mov": ("mov", ("libx264", "libopenh264"), "aac"),
    ".mkv": ("matroska", ("libx264", "libopenh264"), "aac"),
    ".webm": ("webm", ("libvpx-vp9",), "libopus"),
}

ENCODER_OPTIONS: dict[str, dict[str, str]] = {
    # Visually lossless at a speed that leaves the cores to the model.
    "libx264": {"preset": "veryfast", "crf": "17"},
    "libopenh264": {},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "6", "crf": "24", "b:v": "0", "row-mt": "1"},
}

FINEST = 1_000_000
"""Time bases finer than a microsecond overflow the 32 bits that MP4 has for them."""

COMMON = Fraction(1, 90_000)


class Writer(Protocol):
    """A file being written, Frame by Frame.

    Attributes:
        sound: what became of the sound: "copied", "none", …
    """

    sound: str

    def __enter__(self) -> Writer: ...

    def __exit__(self, *_: object) -> None:
        """Discard what was not finished."""
        ...

    def write(self, frame: Frame) -> None:
        """Append a frame, shown at its ``pts``.

        Raises:
            MediaError: it cannot be written.
        """
        ...

    def finish(self) -> None:
        """Complete the file and put it under its name.

        Raises:
            MediaError: it cannot be written; nothing is left behind.
        """
        ...


def check_output(output: Path, source: Path | None, *, still: bool | None = None, replace: bool = True) -> None:
    """Refuse an output that cannot work, before anything costs time.

    Args:
        output: the file to be written.
        source: the file that is read, which must not be overwritten.
        still: a picture is written; None when that is not known yet.
        replace: an existing file may be overwritten.

    Raises:
        MediaError: in one line, why.
    """
    from apps.media.pictures import SUFFIXES

    suffix = output.suffix.lower()
    pictures, videos = " ".join(SUFFIXES), " ".join(VIDEOS)
    if output.is_dir():
        raise MediaError(f"{output}: is a folder; give the name of a file")
    if suffix not in SUFFIXES and suffix not in VIDEOS:
        given = f"the ending {suffix!r}" if suffix else "a name without an ending"
        raise MediaError(f"{output}: {given} is not supported; use {videos} for videos, {pictures} for pictures")
    if still is True and suffix not in SUFFIXES:
        raise MediaError(f"{output}: the input is a still picture; name the output {pictures}")
    if still is False and suffix not in VIDEOS:
        raise MediaError(f"{output}: the input is a video; name the output {videos}")
    check_folder(output)
    if output.exists():
        if source is not None and source.exists() and output.samefile(source):
            raise MediaError(f"{output}: the output is the input; give it another name")
        if not output.is_file():
            raise MediaError(f"{output}: is not a regular file")
        if not replace:
            raise MediaError(f"{output}: exists already; leave --no-overwrite out to replace it")


def check_folder(output: Path) -> None:
    """Refuse a file whose folder is not there, or may not be written to.

    Raises:
        MediaError: in one line, why.
    """
    if not output.parent.is_dir():
        raise MediaError(f"{output}: the folder {output.parent} does not exist; make it first")
    if not os.access(output.resolve().parent, os.W_OK):
        raise MediaError(f"{output}: the folder {output.parent} may not be written to; choose another")


def open_writer(output: Path, width: int, height: int, source: Reader | None = None, rate: float = 30.0) -> Writer:
    """Begin a file of the kind that its name asks for.

    Args:
        output: checked by ``check_output``.
        width: pixels, even.
        height: pixels, even.
        source: where the frames come from: its time base is used, and its sound carried over.
        rate: frames per second to tell the encoder where the source has none.

    Raises:
        MediaError: it cannot be written there.
    """
    from apps.media.pictures import SUFFIXES

    if output.suffix.lower() in SUFFIXES:
        return PictureWriter(output)
    return VideoWriter(output, width, height, source, rate)


class PictureWriter:
    """Writes the last frame it is given as a picture."""

    sound = "none"

    def __init__(self, output: Path) -> None:
        self._output = output
        self._pixels: Pixels | None = None

    def __enter__(self) -> PictureWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._pixels = None

    def write(self, frame: Frame) -> None:
        """Take the picture."""
        self._pixels = frame.pixels

    def finish(self) -> None:
        """Write it; see ``Writer``."""
        from apps.media.pictures import write_picture

        if self._pixels is None:
            raise MediaError(f"{self._output}: there is no picture to write")
        write_picture(self._output, self._pixels)


class VideoWriter:
    """Encodes frames with their own times, and carries the sound along."""

    def __init__(self, output: Path, width: int, height: int, source: Reader | None, rate: float) -> None:
        import av

        assert width % 2 == 0 and height % 2 == 0, "H.264 with 4:2:0 colour has even sizes only"
        self._output = output
        self._width, self._height = width, height
        self._errors: tuple[type[BaseException], ...] = (av.error.FFmpegError, OSError)
        self._sound: Any = None
        self._container: Any = None
        self._shown: dict[int, int] = {}
        self._held: Any = None
        self._span = (0, 0)
        self._first: int | None = None
        self.frames = 0
        kind, encoders, sound_encoder = VIDEOS[output.suffix.lower()]
        self._by_steps = kind in ("mp4", "mov")
        encoder = _first_usable(encoders, output)
        self._atomic = AtomicFile(output)
        try:
            # The index at the front lets a browser start to play before all is there.
            options = {"movflags": "+faststart"} if self._by_steps else {}
            self._container = av.open(cast("BinaryIO", self._atomic.file), "w", format=kind, container_options=options)
            self._time_base = _time_base(source)
            self._rate = (source.rate if source else None) or rate
            self._stream = self._add_stream(encoder)
            self.sound = "none"
            if source is not None and source.has_sound:
                from apps.media.sound import SoundTrack

                self._sound = SoundTrack(source.path, self._container, kind, sound_encoder, source.joined)
                self.sound = self._sound.fate
        except self._errors as error:
            self._discard()
            raise self._failed(error) from error
        except BaseException:
            self._discard()
            raise

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._discard()

    def write(self, frame: Frame) -> None:
        """Encode a frame; see ``Writer``."""
        from apps.media.colour import video_frame

        picture = video_frame(frame.pixels)
        seconds = frame.pts if frame.pts is not None else self.frames / self._rate
        picture.pts = round(seconds / float(self._time_base))
        picture.time_base = self._time_base
        shown = frame.tag if isinstance(frame.tag, (int, float)) else 1 / self._rate
        self._shown[picture.pts] = max(1, round(shown / float(self._time_base)))
        try:
            self._mux(self._stream.encode(picture))
            if self._sound is not None:
                self._sound.write_until(seconds)
            self._atomic.file.check()
        except self._errors as error:
            raise self._failed(error) from error
        self.frames += 1

    def finish(self) -> None:
        """Complete the file; see ``Writer``."""
        if not self.frames:
            raise MediaError(f"{self._output}: there is no frame to write")
        try:
            self._mux(self._stream.encode(None), last=True)
            if self._sound is not None:
                self._sound.finish()
                self.sound = self._sound.fate
                self._sound.close()
            self._atomic.file.check()
            container, self._container = self._container, None
            container.close()
        except self._errors as error:
            raise self._failed(error) from error
        self._atomic.commit()

    def _add_stream(self, encoder: str) -> Any:
        from apps.media.colour import encoder_colours

        rate = Fraction(self._rate).limit_denominator(1001)
        stream: Any = self._container.add_stream(encoder, rate=rate, options=dict(ENCODER_OPTIONS[encoder]))
        stream.width, stream.height, stream.pix_fmt = self._width, self._height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = self._time_base
        for name, value in encoder_colours(self._height).items():
            setattr(stream.codec_context, name, value)
        return stream

    def _mux(self, packets: list[Any], *, last: bool = False) -> None:
        """Write packets with how long each is shown: for the last frame of a file, nothing else tells."""
        for packet in packets:
            self._flush_held()
            self._held = packet
            begin, end = self._span if self._first is not None else (packet.pts, packet.pts)
            self._first = packet.dts if self._first is None else self._first
            packet.duration = self._shown.pop(packet.pts, 0)
            self._span = min(begin, packet.pts), max(end, packet.pts + packet.duration)
        if last and self._held is not None:
            if self._by_steps:
                # The others last until the next one is decoded; what is left of the whole is the last one's.
                self._held.duration = max(1, self._span[1] - self._span[0] - (self._held.dts - self._first))
            self._flush_held()

    def _flush_held(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._container.mux(held)

    def _failed(self, error: BaseException) -> MediaError:
        return MediaError(f"{self._output}: cannot be written ({reason(error)}); nothing was left behind")

    def _discard(self) -> None:
        if self._sound is not None:
            self._sound.close()
        if self._container is not None:
            container, self._container = self._container, None
            try:
                container.close()
            except Exception as error:  # the file goes anyway; what mattered was raised before
                log.debug("closing an unfinished file: %s", error)
        self._atomic.discard()


def _first_usable(encoders: tuple[str, ...], output: Path) -> str:
    from av.codec import Codec
    from av.error import FFmpegError

    for name in encoders:
        try:
            Codec(name, "w")
            return name
        except (FFmpegError, ValueError):
            continue
    raise MediaError(f"{output}: this FFmpeg has no encoder for it ({', '.join(encoders)}); install PyAV from PyPI")


def _time_base(source: Reader | None) -> Fraction:
    """The source's own unit of time, so that its times are written exactly; a common one where that is unsuitable."""
    base = source.time_base if source is not None else COMMON
    return base if 0 < base <= Fraction(1, 20) and base.denominator <= FINEST else COMMON
