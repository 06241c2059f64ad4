"""LiveStream: newest wins or none lost, clean ends in the middle of anything (ALGORITHMS 4)."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from streamdiff import ClosedError, ConfigError, Frame, LiveStream, PictureError
from tests.toy import collect, failing, frames, picture, slow, toy


@pytest.mark.parametrize("settings", [{}, {"steps": 3}, {"steps": 2, "frame_buffer_size": 3}])
async def test_lossless_gives_every_frame_in_order(settings: dict[str, int]) -> None:
    made = toy()
    plain = made.stream(**settings)
    want = [f for frame in frames(30) for f in plain.push(frame)] + plain.flush()
    async with LiveStream(made.stream(**settings), "lossless") as live:

        async def feed() -> None:
            for frame in frames(30):
                await live.put(frame)
            live.end()

        _, got = await asyncio.gather(feed(), collect(live))
    assert [(f.index, f.pts) for f in got] == [(f.index, f.pts) for f in want]
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(got, want, strict=True))
    assert live.metrics.dropped == 0
    assert live.metrics.frames_in == live.metrics.frames_out == 30
    assert live.metrics.latency.count == 30


async def test_lossless_holds_the_reader_back() -> None:
    async with LiveStream(slow(toy(), 0.01), "lossless", capacity=2) as live:

        async def feed() -> None:
            for frame in frames(20):
                await live.put(frame)
                # 2 wait before the model, 1 is in it, 2 wait behind it, 1 is being taken.
                assert live.metrics.frames_in - live.metrics.frames_out <= 7
            live.end()

        _, got = await asyncio.gather(feed(), collect(live))
    assert len(got) == 20


async def test_live_drops_the_old_and_the_delay_does_not_grow() -> None:
    async with LiveStream(slow(toy(), 0.02)) as live:
        got: list[Frame] = []
        ages: list[float] = []

        async def consume() -> None:
            async for frame in live:
                assert frame.captured is not None
                ages.append(time.monotonic() - frame.captured)
                got.append(frame)

        consumer = asyncio.create_task(consume())
        for frame in frames(150):  # 500 a second into a model of 50 a second
            live.push(frame)
            await asyncio.sleep(0.002)
        live.end()
        await consumer
    indices = [f.index for f in got]
    assert indices == sorted(set(indices))
    assert indices[-1] == 149  # the newest always comes
    metrics = live.metrics
    assert metrics.dropped > 0
    assert metrics.frames_in == 150 == len(got) + metrics.dropped + metrics.failed
    # Behind a queue that keeps everything the last frames would be seconds old: 150 x 20 ms.
    assert max(ages[-5:]) < 0.5


async def test_pushing_never_waits() -> None:
    stream = slow(toy(), 0.3)
    async with LiveStream(stream) as live:
        started = time.monotonic()
        for frame in frames(50):
            live.push(frame)
        assert time.monotonic() - started < 0.2


async def test_a_slow_consumer_gets_the_newest() -> None:
    async with LiveStream(toy().stream()) as live:
        for frame in frames(30):
            live.push(frame)
            await asyncio.sleep(0.01)
        while live.metrics.model.count + live.metrics.dropped_in < 30:
            await asyncio.sleep(0.01)  # until the model has seen the last of them
        first = await anext(live)
        assert first.index >= 27
        assert live.metrics.dropped_out > 0


@pytest.mark.parametrize("policy", ["live", "lossless"])
@pytest.mark.parametrize("moment", ["before", "input", "model", "output", "iterating", "ended"])
async def test_closes_in_the_middle_of_anything(policy: str, moment: str) -> None:
    made = toy()
    stream = slow(made, 0.05, steps=2)
    live = LiveStream(stream, policy)
    async with live:
        tasks: list[asyncio.Task[object]] = []
        if moment == "input":
            live.push(picture(0))
        elif moment == "model":
            live.push(picture(0))
            await asyncio.sleep(0.02)
        elif moment == "output":
            for i in range(10):
                live.push(picture(i))
                await asyncio.sleep(0.03)
        elif moment == "iterating":
            tasks = [asyncio.create_task(collect(live)), asyncio.create_task(collect(live))]
            if policy == "lossless":
                tasks += [asyncio.create_task(live.put(picture(i))) for i in range(20)]
            await asyncio.sleep(0.02)
        elif moment == "ended":
            live.push(picture(0))
            live.end()
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 2)
    assert all(r is None or isinstance(r, list | ClosedError) for r in results)
    await live.close()
    assert not any(t.name == "streamdiff-model" and t.is_alive() for t in threading.enumerate())
    with pytest.raises(ClosedError):
        live.push(picture(0))
    assert stream.in_flight == 0  # the stream is the caller's again, emptied
    assert stream.config.steps == 2


async def test_a_cancelled_consumer_leaves_a_stream_that_closes() -> None:
    async with LiveStream(toy().stream()) as live:
        task = asyncio.create_task(collect(live))
        await asyncio.sleep(0.01)
        task.cancel()
        live.push(picture(0))
        assert (await anext(live)).index == 0


async def test_one_failing_frame_is_counted_and_the_stream_goes_on() -> None:
    made = toy()
    stream = made.stream()
    bad = failing(made)
    async with LiveStream(stream) as live:
        bad[0] = True
        live.push(frames(2)[0])
        while bad[0]:
            await asyncio.sleep(0.001)
        live.push(frames(2)[1])
        assert (await anext(live)).index == 1
        assert live.metrics.failed == 1


async def test_a_failure_at_the_end_costs_what_it_must_and_no_more() -> None:
    made = toy()
    stream = made.stream(steps=4)
    bad = failing(made)
    async with LiveStream(stream, capacity=8) as live:
        for frame in frames(5):
            live.push(frame)
        while live.metrics.model.count < 2:
            await asyncio.sleep(0.001)
        bad[0] = True
        live.end()
        got = await collect(live)
    assert live.metrics.failed <= 1
    assert len(got) + live.metrics.failed == 5 and [f.index for f in got] == sorted(f.index for f in got)


async def test_what_did_not_enter_is_counted() -> None:
    async with LiveStream(slow(toy(), 0.05), "lossless", capacity=1) as live:
        for frame in frames(3):
            await live.put(frame)
        waiting = asyncio.create_task(live.put(picture(9)))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        live.end()
        with pytest.raises(PictureError):
            await live.put("no picture")
        with pytest.raises(ClosedError):
            await live.put(picture(9))
        got = await collect(live)
    counts = live.metrics
    assert len(got) == 3 and counts.frames_in == counts.frames_out + counts.dropped_in == 5


async def test_a_model_that_always_fails_ends_the_stream_with_its_error() -> None:
    made = toy()

    def unet(*inputs):  # type: ignore[no-untyped-def]
        raise RuntimeError("broken weights")

    stream = made.stream()
    made.unet.predict = unet  # type: ignore[method-assign]
    async with LiveStream(stream, "lossless") as live:
        live.push(picture(0))
        with pytest.raises(RuntimeError, match="broken weights"):
            await asyncio.wait_for(anext(live), 5)
        with pytest.raises((RuntimeError, ClosedError)):
            await live.put(picture(0))


async def test_a_still_scene_is_delivered_at_once_and_without_sleeping() -> None:
    made = toy()
    async with LiveStream(made.stream(similarity_threshold=0.0, max_skip=1000)) as live:
        for i in range(50):
            live.push(Frame(picture(0), index=i))
            assert (await anext(live)).index == i
        assert live.metrics.skipped == 49
    assert len(made.unet.calls) == 1


@pytest.mark.parametrize("buffer", [2, 3, 4])
async def test_frames_that_come_out_together_do_not_overtake_one_another(buffer: int) -> None:
    async with LiveStream(toy().stream(frame_buffer_size=buffer)) as live:
        task = asyncio.create_task(collect(live))
        for frame in frames(36):
            live.push(frame)
            await asyncio.sleep(0.01)
        live.end()
        got = await task
    assert len(got) + live.metrics.dropped_in == 36
    assert live.metrics.dropped_out == 0


async def test_what_is_in_at_the_end_comes_out() -> None:
    async with LiveStream(toy().stream(steps=8)) as live:
        task = asyncio.create_task(collect(live))
        for frame in frames(12):
            live.push(frame)
            await asyncio.sleep(0.02)
        live.end()
        got = await task
    assert [f.index for f in got][-1] == 11
    assert len(got) == 12 - live.metrics.dropped_in


async def test_closing_does_not_wait_for_what_is_in_flight() -> None:
    stream = slow(toy(), 0.15, steps=8)
    async with LiveStream(stream) as live:
        for i in range(8):
            live.push(picture(i))
            await asyncio.sleep(0.16)
        started = time.monotonic()
        await live.close()
    assert time.monotonic() - started < 0.6  # one step, not the seven that would drain it


@pytest.mark.parametrize("buffer", [1, 3])
async def test_a_broken_model_ends_a_live_stream_too(buffer: int) -> None:
    made = toy()

    def unet(*inputs):  # type: ignore[no-untyped-def]
        raise RuntimeError("broken weights")

    stream = made.stream(frame_buffer_size=buffer)
    made.unet.predict = unet  # type: ignore[method-assign]
    async with LiveStream(stream) as live:
        taker = asyncio.create_task(collect(live))
        with pytest.raises((RuntimeError, ClosedError)):
            for _ in range(200):
                live.push(picture(0))
                await asyncio.sleep(0.005)
        with pytest.raises(RuntimeError, match="broken weights"):
            await asyncio.wait_for(taker, 5)
        metrics = live.metrics
        assert metrics.failed >= 10 * buffer


@pytest.mark.parametrize("policy", ["live", "lossless"])
async def test_pushing_after_the_end_is_refused(policy: str) -> None:
    async with LiveStream(toy().stream(), policy) as live:
        live.end()
        with pytest.raises(ClosedError):
            live.push(picture(0))


async def test_a_camera_may_fill_its_array_again() -> None:
    buffer = picture(0).copy()
    want = toy().stream()(picture(0))
    async with LiveStream(slow(toy(), 0.05)) as live:
        live.push(buffer)
        buffer[:] = 0
        assert np.array_equal((await anext(live)).pixels, want)


def test_a_capacity_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="capacity"):
        LiveStream(toy().stream(), capacity=0)


async def test_used_before_it_is_open() -> None:
    live = LiveStream(toy().stream())
    with pytest.raises(ClosedError):
        live.push(picture(0))
    with pytest.raises(ClosedError):
        await anext(live)
    await live.close()


async def test_frames_may_come_from_another_thread() -> None:
    async with LiveStream(toy().stream(), "lossless", capacity=64) as live:
        thread = threading.Thread(target=lambda: [live.push(frame) for frame in frames(40)])
        thread.start()
        got = [(await anext(live)).index for _ in range(40)]
        thread.join()
    assert got == list(range(40))


async def test_a_frame_that_was_waited_for_too_briefly_is_there_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async with LiveStream(toy().stream()) as live:
        live._output.offer((frames(1)[0], time.monotonic() + 0.3))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(anext(live), 0.05)
        assert (await anext(live)).index == 0
