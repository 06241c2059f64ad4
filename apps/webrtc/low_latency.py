"""What takes the milliseconds out of aiortc: the one place where its insides are touched.

Each class here replaces one of aiortc's and changes one thing; ``install`` puts them in place, once for the process.
``tests/apps/webrtc/test_low_latency.py`` holds every seam against the installed aiortc, so that a new version of it
cannot undo them unseen.
"""

from __future__ import annotations

import fractions
import functools
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, cast

import av
from aiortc import codecs, rtcrtpreceiver, rtcrtpsender, rtp
from aiortc.codecs.base import Decoder, Encoder
from aiortc.codecs.h264 import H264Decoder, H264Encoder
from aiortc.codecs.vpx import Vp8Encoder
from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.mediastreams import VIDEO_TIME_BASE, convert_timebase
from aiortc.rtcrtpparameters import RTCRtpCodecParameters, RTCRtpHeaderExtensionParameters
from av.codec.context import Flags
from av.frame import Frame

PLAYOUT_DELAY = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
PLAYOUT_DELAY_ID = 5
NO_DELAY = b"\0\0\0"  # least and most delay, 12 bits each, in units of 10 ms

LEAST_BITRATE = 300_000
MOST_BITRATE = 8_000_000
START_BITRATE = 2_500_000
HYSTERESIS = 0.25  # share of the bitrate
LATE = 90_000 // 4  # ticks of a video's clock: as long as a sender that sends again may take
FRAME_RATE = 30


class MarkerJitterBuffer(JitterBuffer):
    """Releases a video frame with its own last packet, which carries the RTP marker bit (RFC 6184, 5.1; RFC 7741, 4.1).

    aiortc waits for the first packet of the next frame: one whole frame interval. And for a packet that never comes it
    waits until its 512 places are full, for seconds: after ``LATE`` nobody waits any more, and a keyframe is asked for.
    """

    def add(self, packet: Any) -> tuple[bool, JitterFrame | None]:
        """Take a packet; whether a keyframe is to be asked for, and the frame that is released."""
        keyframe, frame = super().add(packet)
        if frame is None and self._is_video and self._give_up(packet):
            return True, self._remove_frame(packet.sequence_number)
        return keyframe, frame

    def _give_up(self, newest: Any) -> bool:
        """Forget all before the newest frame, where the oldest has waited too long; whether it had."""
        assert self._origin is not None
        places = range(self._origin, self._origin + self._capacity)
        # With every packet but a frame's last: the first places tell, as a rule, and the others are not looked at.
        oldest = next((packet for n in places if (packet := self._packets[n % self._capacity]) is not None), newest)
        # Time stamps have 32 bits; a packet out of order may be older than the oldest.
        if not LATE < (newest.timestamp - oldest.timestamp) % (1 << 32) < 1 << 31:
            return False
        held = [self._packets[n % self._capacity] for n in places]
        starts = [
            count
            for count, (before, packet) in enumerate(pairwise(held), 1)
            if before is not None and packet is not None and before.timestamp != packet.timestamp
        ]
        if not starts:
            return False
        self.remove(starts[-1])
        return True

    def _remove_frame(self, sequence_number: int) -> JitterFrame | None:
        frame = super()._remove_frame(sequence_number)
        if not self._is_video:
            return frame
        if frame is None:
            frame = self._marked_frame()
        # Packets of padding that follow a frame are no frame: a decoder takes an empty one for the end of the film.
        return frame if frame is not None and frame.data else None

    def _marked_frame(self) -> JitterFrame | None:
        assert self._origin is not None
        data: list[bytes] = []
        first: Any = None
        for count in range(self.capacity):
            packet = self._packets[(self._origin + count) % self._capacity]
            if packet is None or (first is not None and packet.timestamp != first.timestamp):
                return None
            first = first or packet
            data.append(cast(Any, packet)._data)
            if packet.marker:
                self.remove(count + 1)
                return JitterFrame(data=b"".join(data), timestamp=first.timestamp)
        return None


class ImmediateExtensions(rtp.HeaderExtensionsMap):
    """Sends the playout-delay extension with no delay at all: the browser then shows each frame at once."""

    _playout_delay: int | None = None

    def configure(self, parameters: Any) -> None:
        """Note the id that was agreed on."""
        super().configure(parameters)
        for extension in parameters.headerExtensions:
            if extension.uri == PLAYOUT_DELAY:
                self._playout_delay = extension.id

    def set(self, values: Any) -> tuple[int, bytes]:
        """Pack a packet's extensions."""
        profile, packed = super().set(values)
        if self._playout_delay is None:
            return profile, packed
        present = rtp.unpack_header_extensions(profile, packed) if packed else []
        return rtp.pack_header_extensions([*present, (self._playout_delay, NO_DELAY)])


class ImmediateH264Decoder(H264Decoder):
    """Gives a picture as soon as it is there: no frame threads, no reordering delay."""

    def __init__(self) -> None:
        super().__init__()
        self.codec.thread_count = 1
        self.codec.flags |= Flags.low_delay


class SteadyBitrate:
    """For an encoder: wider bounds of the bitrate, and no change that is not worth a new encoder and its keyframe."""

    _bitrate = START_BITRATE

    @property
    def target_bitrate(self) -> int:
        """Bits per second."""
        return self._bitrate

    @target_bitrate.setter
    def target_bitrate(self, bitrate: int) -> None:
        wanted = max(LEAST_BITRATE, min(bitrate, MOST_BITRATE))
        if abs(wanted - self._bitrate) >= HYSTERESIS * self._bitrate:
            self._bitrate = wanted


class FastH264Encoder(SteadyBitrate, H264Encoder):
    """H.264 for live pictures: in hardware where there is some, else x264 at superfast instead of medium."""

    def __init__(self) -> None:
        super().__init__()
        self._name = best_h264()

    def _encode_frame(self, frame: av.VideoFrame, force_keyframe: bool) -> Iterator[bytes]:
        shape = (frame.width, frame.height, self.target_bitrate)
        if self.codec is None or (self.codec.width, self.codec.height, self.codec.bit_rate) != shape:
            self.codec = h264_codec(self._name, *shape)
        frame.pict_type = av.video.frame.PictureType.I if force_keyframe else av.video.frame.PictureType.NONE
        try:
            packets = self.codec.encode(frame)
        except (av.FFmpegError, ValueError):
            if self._name == SOFTWARE_NAME:
                raise
            # The device takes no further stream, or not this size.
            self._name = SOFTWARE_NAME
            self.codec = h264_codec(self._name, *shape)
            packets = self.codec.encode(frame)
        data = b"".join(bytes(packet) for packet in packets)
        if data:
            yield from self._split_bitstream(data)


HARDWARE: dict[str, dict[str, str]] = {
    "h264_nvenc": {"preset": "p1", "tune": "ull", "zerolatency": "1", "delay": "0", "forced-idr": "1"},
    "h264_videotoolbox": {"realtime": "1", "prio_speed": "1"},
    "h264_amf": {"usage": "ultralowlatency", "quality": "speed"},
    "h264_qsv": {"preset": "veryfast", "async_depth": "1", "low_delay_brc": "1"},
}
SOFTWARE_NAME = "libx264"
SOFTWARE = {"preset": "superfast", "tune": "zerolatency", "level": "4.0", "bf": "0"}


def h264_codec(name: str, width: int, height: int, bitrate: int) -> Any:
    """An encoder of FFmpeg, set up for live pictures; it opens with the first picture."""
    codec = av.CodecContext.create(name, "w")
    codec.width, codec.height, codec.bit_rate = width, height, bitrate
    codec.pix_fmt = "yuv420p"
    codec.framerate = fractions.Fraction(FRAME_RATE, 1)
    codec.time_base = fractions.Fraction(1, 90_000)
    codec.gop_size = 3000  # keyframes come when they are asked for
    codec.max_b_frames = 0
    codec.options = HARDWARE.get(name, SOFTWARE)
    if name == SOFTWARE_NAME:
        codec.profile = "Baseline"
        codec.thread_count = 1
    return codec


@functools.cache
def best_h264(width: int = 256, height: int = 256) -> str:
    """The first hardware encoder that turns one picture into one packet here, else libx264."""
    for name in HARDWARE:
        try:
            frame = av.VideoFrame(width, height, "yuv420p")
            frame.pts, frame.time_base = 0, fractions.Fraction(1, 90_000)
            if h264_codec(name, width, height, START_BITRATE).encode(frame):
                return name
        except (av.FFmpegError, ValueError, OSError):
            continue  # not in this FFmpeg, or no such device
    return SOFTWARE_NAME


class FastVp8Encoder(SteadyBitrate, Vp8Encoder):
    """VP8 with the source's time stamps."""

    def encode(self, frame: Frame, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        """As aiortc's, with the time stamp as it was: the codec counts in a time base of its own."""
        timestamp = convert_timebase(frame.pts, frame.time_base, VIDEO_TIME_BASE)
        return super().encode(frame, force_keyframe)[0], timestamp


def get_decoder(codec: RTCRtpCodecParameters) -> Decoder:
    """aiortc's decoders, but ours for H.264."""
    return ImmediateH264Decoder() if codec.mimeType.lower() == "video/h264" else codecs.get_decoder(codec)


def get_encoder(codec: RTCRtpCodecParameters) -> Encoder:
    """aiortc's encoders, but ours for video."""
    ours: dict[str, type[Encoder]] = {"video/h264": FastH264Encoder, "video/vp8": FastVp8Encoder}
    made = ours.get(codec.mimeType.lower())
    return made() if made is not None else codecs.get_encoder(codec)


def install() -> None:
    """Put all of it in place; may be called again."""
    rtcrtpreceiver.JitterBuffer = MarkerJitterBuffer  # type: ignore[misc]
    rtcrtpreceiver.get_decoder = get_decoder
    rtcrtpsender.get_encoder = get_encoder
    rtp.HeaderExtensionsMap = ImmediateExtensions  # type: ignore[misc]
    extensions = codecs.HEADER_EXTENSIONS["video"]
    if all(extension.uri != PLAYOUT_DELAY for extension in extensions):
        extensions.append(RTCRtpHeaderExtensionParameters(id=PLAYOUT_DELAY_ID, uri=PLAYOUT_DELAY))
