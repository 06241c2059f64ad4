"""The sound track: packets copied as they are where the new file can hold them, else encoded again."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

from apps.media.atomic import reason
from apps.media.video_reader import open_container, start_of

AHEAD = 0.5
"""Seconds by which sound is written before the picture it belongs to, so that players need not search for it."""


class SoundTrack:
    """Carries the sound of one file into another, in step with the picture.

    It opens the source a second time: the reader of the picture then needs to know nothing of it.

    Attributes:
        fate: what became of the sound, for the user: "copied", "encoded again as aac", "left out (…)", "none".
    """

    def __init__(self, source: Path, target: Any, kind: str, encoder: str) -> None:
        """Add the source's sound streams to a container that is about to be written.

        Args:
            source: the file the sound comes from.
            target: PyAV output container, before its header is written.
            kind: FFmpeg's name of that kind of container.
            encoder: codec for sound that the target cannot hold as it is.
        """
        self._source = open_container(source)
        self._target = target
        self._kind = kind
        self._start = start_of(self._source)
        self._copies: dict[int, Any] = {}
        self._encoders: dict[int, Any] = {}
        fates: list[str] = []
        for stream in self._source.streams.audio:
            fates.append(self._add(stream, encoder))
        self.fate = ", ".join(dict.fromkeys(fates)) or "none"
        self._packets = self._demux()
        self._next: Any = None

    def write_until(self, seconds: float | None) -> None:
        """Write what belongs to the picture up to a time; all the rest for None."""
        limit = None if seconds is None else seconds + AHEAD
        while True:
            packet = self._next or next(self._packets, None)
            self._next = None
            if packet is None:
                return
            time = None if packet.dts is None else float(packet.dts * packet.time_base - self._start)
            if limit is not None and time is not None and time > limit:
                self._next = packet
                return
            self._write(packet)

    def finish(self) -> None:
        """Write all that is left."""
        self.write_until(None)
        for stream in self._encoders.values():
            self._target.mux(stream.encode(None))

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def _add(self, stream: Any, encoder: str) -> str:
        if stream.codec_context is None:
            return "left out (its codec is unknown)"
        if _holds(self._kind, stream):
            self._copies[stream.index] = self._target.add_stream_from_template(stream)
            return "copied"
        try:
            # Rates that the encoder does not know are resampled by it to the nearest it does.
            made = self._target.add_stream(encoder, rate=48000 if encoder == "libopus" else stream.rate)
            made.layout = "mono" if stream.channels == 1 else "stereo"
            self._encoders[stream.index] = made
            return f"encoded again as {encoder.removeprefix('lib')}"
        except (ValueError, FFmpegError) as error:
            return f"left out ({reason(error)})"

    def _demux(self) -> Iterator[Any]:
        wanted = [s for s in self._source.streams.audio if s.index in self._copies or s.index in self._encoders]
        if not wanted:
            return
        try:
            for packet in self._source.demux(wanted):
                # The last packets of a demuxer are empty: they only flush decoders.
                if packet.size or packet.stream_index in self._encoders:
                    yield packet
        except FFmpegError:
            return  # the picture's reader meets the same damage, and tells of it

    def _write(self, packet: Any) -> None:
        index = packet.stream_index
        if index in self._copies:
            offset = int(self._start / packet.time_base)
            if packet.dts is None:
                return  # cannot be placed in time
            packet.pts = packet.pts - offset if packet.pts is not None else None
            packet.dts -= offset
            packet.stream = self._copies[index]
            self._target.mux(packet)
            return
        encoder = self._encoders[index]
        try:
            frames = packet.decode()
        except FFmpegError:
            return  # a moment of silence, as a player would make of it
        for frame in frames:
            if frame.pts is not None:
                frame.pts -= int(Fraction(self._start) / frame.time_base)
            self._target.mux(encoder.encode(frame))


def _holds(kind: str, stream: Any) -> bool:
    """Whether a kind of container takes sound as it is: many tell only when their header is written."""
    if kind == "mp4" and stream.codec_context.name.startswith("pcm_") and stream.channels > 2:
        return False  # without the names of its channels, which few files have, the whole file fails at its end
    try:
        with av.open(io.BytesIO(), "w", format=kind) as trial:
            trial.add_stream_from_template(stream)
            trial.start_encoding()
        return True
    except (ValueError, FFmpegError):
        return False
