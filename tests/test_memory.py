"""A long run keeps its memory: 20,000 frames through a LiveStream at mixed settings."""

from __future__ import annotations

import asyncio
import gc

import numpy as np
import psutil

from streamdiff import Frame, LiveStream, Stream
from tests.toy import picture

FRAMES = 20_000
WARM = 1_000
CHANGES: list[dict[str, object]] = [
    {"steps": 2}, {"guidance": "self", "guidance_scale": 1.5}, {"prompt": "neon"}, {"frame_buffer_size": 2},
    {"similarity_threshold": 0.5}, {"seed": 3}, {"guidance": "onetime"}, {"width": 72}, {"strength": 0.7},
    {"guidance": "full"}, {"steps": 3, "prompt": "pencil sketch"}, {"similarity_threshold": None},
    {"width": 64, "frame_buffer_size": 1, "steps": 1, "guidance": "none"},
]  # fmt: skip


def resident() -> float:
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20


async def run(stream: Stream) -> list[float]:
    pictures: list[np.ndarray] = [picture(i) for i in range(50)]
    sizes: list[float] = []
    async with LiveStream(stream, "lossless") as live:

        async def feed() -> None:
            for i in range(FRAMES):
                if i % 20 == 0:
                    # The whole round of changes lies within the frames that count as warming up.
                    live.update(**CHANGES[(i // 20) % len(CHANGES)])
                # Two equal frames in a row now and then, so that the similarity filter has something to do.
                await live.put(Frame(pictures[(i // 3) % 50], index=i))
            live.end()

        async def consume() -> None:
            async for frame in live:
                if frame.index + 1 in (WARM, FRAMES // 2, FRAMES):
                    sizes.append(resident())

        await asyncio.gather(feed(), consume())
    assert live.metrics.frames_out == FRAMES
    return sizes


async def test_twenty_thousand_frames() -> None:
    from tests.toy import toy

    warm, half, end = await run(toy().stream())
    assert end - warm < 20, f"resident MiB after {WARM}, {FRAMES // 2}, {FRAMES}: {warm:.1f}, {half:.1f}, {end:.1f}"


def test_a_slider_leaves_no_rows_behind() -> None:
    from streamdiff.conditioning import KEPT, Conditioning
    from tests.toy import toy

    made = toy()
    conditioning = Conditioning(made.model, made.runtime)
    first = conditioning.rows((500,), "a")
    for i in range(3 * KEPT):
        conditioning.rows((500,), "a", "b", (i + 1) / (3 * KEPT + 1))
        assert conditioning.rows((500,), "a") is first  # what is in use stays
    kept = conditioning._rows
    assert len(kept) <= KEPT
