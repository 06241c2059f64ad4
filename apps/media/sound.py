"""The sound track: packets copied as they are where the new file can hold them, else encoded again."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.codec import Codec
from av.error import FFmpegError

from apps.media.atomic import reason
from apps.media.joined import Joined
from apps.media.video_reader import open_container, start_of

log = logging.getLogger("streamdiff.media")

AHEAD = 0.5
"""Seconds by which sound is written before the picture it belongs to, so that players need not search for it."""


class SoundTrack:
    """Carries the sound of one file into another, in step with the picture.

    It opens the source a second time: the reader of the picture then needs to know nothing of it.

    Attributes:
        fate: what became of the sound, for the user: "copied", "encoded again as aac", "left out (…)", "none"; at the
            end also how many parts of it were damaged.
    """

    def __init__(self, source: Path, target: Any, kind: str, encoder: str, joined: Joined) -> None:
        """Add the source's sound streams to a container that is about to be written.

        Args:
            source: the file the sound comes from.
            joined: the times of its picture.
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
        self._tracks = {index: joined.track() for index in (*self._copies, *self._encoders)}
        self._decoded = {index: joined.track() for index in self._encoders}  # decoders hold back what they are given
        self._packets = self._demux()
        self._next: tuple[Any, float] | None = None
        self._last: dict[int, int] = {}  # times of the packets that were copied last
        self._left_out = 0

    def write_until(self, seconds: float | None) -> None:
        """Write what belongs to the picture up to a time; all the rest for None.

        What cannot be decoded, or the new file does not take, is left out and counted: a moment of silence, as a player
        would make of it. (A full disk is told by whoever looks after the file itself.)
        """
        limit = math.inf if seconds is None else seconds + AHEAD
        while (waiting := self._next or next(self._packets, None)) is not None:
            packet, place = self._next = waiting
            if place > limit:
                return
            self._next = None
            with self._counted():
                self._write(packet, place)

    def finish(self) -> None:
        """Write all that is left; ``fate`` then tells whether something had to be left out."""
        self.write_until(None)
        for stream in self._encoders.values():
            with self._counted():
                self._target.mux(stream.encode(None))
        if self._left_out:
            self.fate += f", but for {self._left_out} damaged part(s)"

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
            # Sound at a rate that the encoder does not know is resampled.
            known = Codec(encoder, "w").audio_rates or [stream.rate]
            made = self._target.add_stream(encoder, rate=min(known, key=lambda rate: (abs(rate - stream.rate), -rate)))
            made.layout = "mono" if stream.channels == 1 else "stereo"
            self._encoders[stream.index] = made
            return f"encoded again as {encoder.removeprefix('lib')}"
        except (ValueError, FFmpegError) as error:
            return f"left out ({reason(error)})"

    def _demux(self) -> Iterator[tuple[Any, float]]:
        """Its packets, and the time at which each is due."""
        wanted = [s for s in self._source.streams.audio if s.index in self._copies or s.index in self._encoders]
        if not wanted:
            return
        try:
            for packet in self._source.demux(wanted):
                # The last packets of a demuxer are empty: they only flush decoders.
                if packet.size or packet.stream_index in self._encoders:
                    yield packet, self._place(packet)
        except FFmpegError:
            return  # the picture's reader meets the same damage, and tells of it

    def _place(self, packet: Any) -> float:
        if packet.dts is None:
            return 0.0
        time = float(packet.dts * packet.time_base - self._start)
        return self._tracks[packet.stream_index].place(time, float((packet.duration or 0) * packet.time_base))

    def _write(self, packet: Any, place: float) -> None:
        index = packet.stream_index
        if index in self._copies:
            if packet.dts is None:
                return  # cannot be placed in time
            dts = round(Fraction(place) / packet.time_base)
            if dts <= self._last.get(index, dts - 1):
                return  # where two recordings meet, the end of one may lie over the beginning of the other
            self._last[index] = dts
            packet.pts = packet.pts + dts - packet.dts if packet.pts is not None else None
            packet.dts = dts
            packet.stream = self._copies[index]
            self._target.mux(packet)
            return
        encoder = self._encoders[index]
        for frame in packet.decode():
            if frame.pts is not None:
                time = float(frame.pts * frame.time_base - self._start)
                placed = self._decoded[index].place(time, frame.samples / frame.sample_rate)
                frame.pts += round(Fraction(placed - time - float(self._start)) / frame.time_base)
            self._target.mux(encoder.encode(frame))

    @contextmanager
    def _counted(self) -> Generator[None]:
        """Leave out what cannot be carried over."""
        try:
            yield
        except FFmpegError as error:
            self._left_out += 1
            log.debug("sound was left out: %s", error)


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
