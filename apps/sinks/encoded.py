"""What FFmpeg writes: a file of which a crash loses nothing, or a stream to an address."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import PictureType

from apps.media.atomic import reason
from apps.media.colour import encoder_colours, video_frame
from apps.sinks import priority
from apps.sinks.sink import Picture
from apps.sources.source import SOUND_RATE, Sound
from apps.uri import shown
from streamdiff.errors import ConfigError, DeviceError, MediaError
from streamdiff.frame import Frame

CLOCK = Fraction(1, 90_000)
KEYFRAMES = 1
"""Seconds from keyframe to keyframe at the most: what a player needs to begin, and where a fragment ends."""

SILENCE = 5.0
"""Seconds after which a peer that takes nothing counts as lost."""

CODECS: dict[str, tuple[tuple[str, ...], str, dict[str, str]]] = {
    # name: encoders in order of preference, pixel format, options for a file
    "h264": (("libx264", "libopenh264"), "yuv420p", {"preset": "veryfast", "crf": "17"}),
    "h265": (
        ("libx265",),
        "yuv420p",
        {"preset": "ultrafast", "crf": "20", "forced-idr": "1", "x265-params": "log-level=error"},
    ),
    "av1": (("libsvtav1",), "yuv420p", {"preset": "11", "crf": "30"}),
    "prores": (("prores_ks",), "yuv422p10le", {"profile": "2"}),
}
LIVE_OPTIONS = {
    "libx264": {"preset": "ultrafast", "tune": "zerolatency"},
    "libopenh264": {},
}
# The header comes with the first fragment and not before: only then can it say that AAC begins before the picture.
FRAGMENTED = {"movflags": "frag_keyframe+delay_moov+default_base_moof"}
FILES: dict[str, tuple[str, dict[str, str], str]] = {
    # suffix: container, options, encoder of sound
    ".mp4": ("mp4", FRAGMENTED, "aac"),
    ".mov": ("mov", FRAGMENTED, "aac"),
    ".mkv": ("matroska", {"cluster_time_limit": "1000"}, "aac"),
}
ADDRESSES: dict[str, tuple[str, dict[str, str], str]] = {
    "rtmp": ("flv", {"flvflags": "no_duration_filesize"}, "aac"),
    "rtmps": ("flv", {"flvflags": "no_duration_filesize"}, "aac"),
    "srt": ("mpegts", {}, "aac"),
    "udp": ("mpegts", {}, "aac"),
    "rtsp": ("rtsp", {"rtsp_transport": "tcp"}, "aac"),
    "whip": ("whip", {}, "libopus"),
}


class Encoded:
    """Pictures at their own times and sound in step; see ``Sink``."""

    takes_sound: bool

    def __init__(
        self,
        target: str | Path,
        name: str,
        kind: str,
        options: dict[str, str],
        picture: Picture,
        *,
        codec: str,
        sound: str,
        final: Path | None = None,
    ) -> None:
        """Begin; ``to_file`` and ``to_address`` know what belongs together. A file takes the name ``final`` when it is
        completed, if one is given.

        Raises:
            DeviceError: it cannot be opened.
            MediaError: this FFmpeg has no encoder for it.
        """
        self.name, self.width, self.height = name, picture.width, picture.height
        self.takes_sound = picture.has_sound
        self._path, self._final = target if isinstance(target, Path) else None, final
        self._live = live = kind not in {k for k, _, _ in FILES.values()}
        where = target if self._path is None else f"file:{target}"
        encoder, form, quality = _encoder(codec, name)
        try:
            self._container = av.open(where, "w", format=kind, options=options, timeout=(SILENCE, SILENCE))
        except (FFmpegError, OSError, ValueError) as error:
            raise DeviceError(f"{name}: cannot be opened ({reason(error)})") from error
        rate = Fraction(picture.rate).limit_denominator(1001)
        self._video: Any = self._container.add_stream(
            encoder, rate=rate, options=dict(LIVE_OPTIONS[encoder] if live else quality)
        )
        self._video.width, self._video.height, self._video.pix_fmt = picture.width, picture.height, form
        context = self._video.codec_context
        self._video.time_base = context.time_base = CLOCK
        # At the source's rate; pictures that come more slowly have theirs by the clock, in ``write``.
        context.gop_size = max(1, round(picture.rate))
        if encoder == "libx265" and kind in ("mp4", "mov"):
            context.codec_tag = "hvc1"  # Apple's players know no other
        context.max_b_frames = 0
        for key, value in encoder_colours(picture.height).items():
            setattr(context, key, value)
        if kind == "whip":
            context.profile = "Baseline"  # what every browser takes
        if live:
            context.bit_rate = max(1_000_000, picture.width * picture.height * 12)
        self._form = form
        self._sound: Any = None
        if picture.has_sound:
            self._sound = self._container.add_stream(sound, rate=SOUND_RATE)
            self._sound.layout = "stereo"
        os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 would tell every terminal its settings
        try:
            with priority.kept():
                self._container.start_encoding()  # now, and not with the first picture: it is here that nobody answers
        except (FFmpegError, OSError, ValueError) as error:
            raise DeviceError(f"{name}: cannot be opened ({reason(error)})") from error
        self._last = -1
        self._keyframe = 0

    def write(self, frame: Frame) -> None:
        """See ``Sink``."""
        shown = video_frame(frame.pixels)
        if self._form != "yuv420p":
            shown = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.pixels), format="rgb24").reformat(
                format=self._form, dst_colorspace=5 if self.height < 720 else 1
            )
        shown.pts = self._last = max(self._last + 1, round((frame.pts or 0.0) / CLOCK))
        shown.time_base = CLOCK
        if shown.pts - self._keyframe >= KEYFRAMES / CLOCK:
            self._keyframe = shown.pts
            shown.pict_type = PictureType.I
        self._mux(self._video, shown)

    def write_sound(self, sound: Sound) -> None:
        """See ``Sink``."""
        if self._sound is None:
            return
        part = av.AudioFrame.from_ndarray(sound.samples.reshape(1, -1), format="s16", layout="stereo")
        part.sample_rate = SOUND_RATE
        part.time_base = Fraction(1, SOUND_RATE)
        part.pts = round(sound.pts * SOUND_RATE)
        if part.pts >= 0:
            self._mux(self._sound, part)

    def close(self) -> None:
        """See ``Sink``."""
        container, self._container = self._container, None
        if container is None:
            return
        try:
            if self._last >= 0:
                for stream in filter(None, (self._video, self._sound)):
                    container.mux(stream.encode(None))
        except (FFmpegError, OSError) as error:
            self._not_completed(error)
        finally:
            try:
                container.close()
            except (FFmpegError, OSError) as error:
                self._not_completed(error)
        self._put_in_place()

    def _put_in_place(self) -> None:
        """Let a file have its name; one without a picture is none."""
        if self._path is None:
            return
        try:
            if self._last < 0:
                self._path.unlink(missing_ok=True)
            elif self._final is not None:
                self._path.replace(self._final)
        except OSError as error:
            raise DeviceError(f"{self.name}: cannot take its name; it is {self._path} ({reason(error)})") from error

    def _not_completed(self, error: Exception) -> None:
        if not self._live:  # a peer that has gone misses nothing; a file lacks its end
            raise DeviceError(f"{self.name}: cannot be completed ({reason(error)})") from error

    def _mux(self, stream: Any, piece: Any) -> None:
        try:
            self._container.mux(stream.encode(piece))
        except (FFmpegError, OSError) as error:
            raise DeviceError(f"{self.name}: cannot be written ({reason(error)})") from error


def to_file(path: Path, picture: Picture, *, codec: str = "h264", replace: bool = False) -> Encoded:
    """Begin a file that is playable however the program ends.

    An existing file is kept, and the next free name with a number taken; where it may be replaced, it is so only once
    the new one is complete.
    """
    if codec == "prores" and path.suffix.lower() != ".mov":
        raise ConfigError(f"{path}: ProRes goes into a .mov file")
    kind, options, sound = FILES[path.suffix.lower()]
    wanted = path.resolve() if replace else path  # a link stays, and what it points to is replaced
    chosen = free_name(wanted)
    final = wanted if replace and chosen != wanted else None
    return Encoded(
        chosen, str(path if replace else chosen), kind, options, picture, codec=codec, sound=sound, final=final
    )


def to_address(url: str, picture: Picture, *, bearer: str | None = None) -> Encoded:
    """Connect to where a stream is wanted; ``whip+https://…`` for WHIP, with the token that its server asks for."""
    scheme, _, rest = url.partition(":")
    base, _, over = scheme.partition("+")
    kind, options, sound = ADDRESSES[base]
    target = f"{over}:{rest}" if over else url
    if base == "whip":
        options = {**options, **_identity(), **({"authorization": bearer} if bearer else {})}
    return Encoded(target, shown(url), kind, options, picture, codec="h264", sound=sound)


def _identity() -> dict[str, str]:
    """The certificate that WHIP's encryption shows; the one that FFmpeg makes by itself is refused by some servers."""
    from apps.certificate import certificate_files

    try:
        certificate, key = certificate_files()
    except OSError:
        return {}
    return {"cert_file": str(certificate), "key_file": str(key)}


def free_name(path: Path) -> Path:
    """The path itself, or with the first number that is free: clip-2.mp4."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_stem(f"{path.stem}-{number}")
    return free


def _encoder(codec: str, name: str) -> tuple[str, str, dict[str, str]]:
    from av.codec import codecs_available

    encoders, form, options = CODECS[codec]
    for encoder in encoders:
        if encoder in codecs_available:
            return encoder, form, options if encoder != "libopenh264" else {}
    raise MediaError(f"{name}: this FFmpeg has no encoder for {codec} ({', '.join(encoders)}); pip install av")
