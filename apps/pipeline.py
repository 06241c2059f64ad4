"""The one way frames take through every program: reader, LiveStream, writer, each at its own pace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from streamdiff.frame import Frame
from streamdiff.live import LiveStream, Policy
from streamdiff.picture import cover
from streamdiff.streaming import C, Streaming


class Sized(Protocol):
    """What says how large the stream's pictures are."""

    width: int
    height: int


class Sink(Protocol):
    """What takes finished frames: a ``Writer``, or anything with its ``write``."""

    def write(self, frame: Frame) -> None:
        """Take a frame."""
        ...


@dataclass(frozen=True, slots=True)
class Totals:
    """What a run amounted to.

    Attributes:
        frames: written.
        skipped: of these, repeated by the similarity filter.
        seconds: from the first frame read to the last one written.
        latency: seconds from capture to delivery, in the median; NaN without frames.
    """

    frames: int
    skipped: int
    seconds: float
    latency: float

    @property
    def fps(self) -> float:
        """Frames per second, end to end."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0


def stylise(
    frames: Iterable[Frame],
    stream: Streaming[C],
    sink: Sink,
    *,
    on_input: Callable[[Frame, LiveStream[C]], None] | None = None,
    on_output: Callable[[Frame], None] | None = None,
) -> Totals:
    """Send frames through a stream; none is lost, and the slowest part sets the pace.

    Decoding, the model and encoding overlap, each in a thread of its own.

    Args:
        frames: a ``Reader`` or anything that yields Frames.
        stream: emptied when this returns.
        sink: gets every frame, in order.
        on_input: called before a frame enters; may change settings through the LiveStream.
        on_output: called after a frame was written.

    Raises:
        StreamdiffError: whatever ended the run; the rest is stopped cleanly.
    """
    return asyncio.run(_stylise(frames, stream, sink, on_input, on_output))


async def _stylise(
    frames: Iterable[Frame],
    stream: Streaming[C],
    sink: Sink,
    on_input: Callable[[Frame, LiveStream[C]], None] | None,
    on_output: Callable[[Frame], None] | None,
) -> Totals:
    loop = asyncio.get_running_loop()
    started = time.monotonic()
    # One thread each: decoders and encoders want their calls one after another. Leaving the pools waits for the call
    # in progress, so that no file is closed under a thread that still works on it.
    with ThreadPoolExecutor(1, "read") as reading, ThreadPoolExecutor(1, "write") as writing:
        async with LiveStream(stream, Policy.lossless) as live:

            async def feed() -> None:
                source = iter(frames)
                try:
                    while (frame := await loop.run_in_executor(reading, _next, source, live.config)) is not None:
                        if on_input is not None:
                            on_input(frame, live)
                        await live.put(frame)
                    live.end()
                except BaseException:
                    await live.close()  # ends the loop below at once; the error is raised after it
                    raise

            feeder = asyncio.create_task(feed())
            try:
                async for frame in live:
                    await loop.run_in_executor(writing, sink.write, frame)
                    if on_output is not None:
                        on_output(frame)
                await feeder
            finally:
                feeder.cancel()
                await asyncio.gather(feeder, return_exceptions=True)
            metrics = live.metrics
    return Totals(metrics.frames_out, metrics.skipped, time.monotonic() - started, metrics.latency.percentile(50))


def _next(source: object, config: Sized) -> Frame | None:
    frame: Frame | None = next(source, None)  # type: ignore[call-overload]
    if frame is None:
        return None
    # Scaled here, in the reader's thread: the model's thread has better things to do.
    return frame.with_pixels(cover(frame.pixels, config.width, config.height))
