"""One run in both modes: which settings reach which, the order of frames through a change, errors, and who is told."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import pytest

from apps.modes import ModalStream, SharedRolling, level_of
from apps.run_config import Mode, RunConfig
from streamdiff import ConfigError, Frame, LiveStream, ModelError, Stream
from streamdiff.channel import Channel
from streamdiff.rolling import RollingModel
from streamdiff.rolling.schedule import make_ladder
from streamdiff.rolling.transformer import RollingTransformer
from tests.rolling.toys import PictureVae, toy_model
from tests.toy import SIZE, frames, outgrown, toy, with_memory_for


def rolling_model(**facts: Any) -> RollingModel:
    return toy_model(PictureVae(), conditioned=True, ladder=make_ladder(shift=1.0), **facts)


def identity() -> RollingModel:
    """A rolling model that gives the camera's picture back."""
    model = rolling_model()
    model.transformer.wan.proj_out.weight.zero_()
    model.transformer.wan.proj_out.bias.zero_()
    return model


def modal(load: Any = rolling_model, **settings: Any) -> ModalStream:
    made = toy()
    config = RunConfig.make(**{**SIZE, "prompt": "a", **settings})
    return ModalStream(made.stream(**config.of_pictures), config, None if load is None else SharedRolling(load))


def run(stream: ModalStream, given: list[Frame]) -> list[Frame]:
    out = [done for frame in given for done in stream.push(frame)]
    return out + [done for frames in stream.drain() for done in frames]


@pytest.mark.parametrize(
    ("strength", "level"), [(0.02, 4), (0.2, 4), (0.29, 4), (0.3, 4), (0.31, 3), (0.5, 3), (0.55, 2), (0.8, 1), (1, 1)]
)
def test_strength_chooses_the_nearest_level(strength: float, level: int) -> None:
    assert level_of(strength, make_ladder(shift=1.0)) == level


def test_a_ladder_without_a_level_for_a_camera() -> None:
    with pytest.raises(ConfigError, match="from a prompt alone"):
        level_of(0.5, make_ladder((1000,)))


def test_frames_keep_their_order_through_every_change() -> None:
    given = frames(40)
    changes = {8: "rolling", 20: "stream", 23: "rolling", 24: "stream", 31: "rolling"}
    with modal(steps=3) as stream:
        out: list[Frame] = []
        for i, frame in enumerate(given):
            if i in changes:
                stream.update(mode=changes[i])
            out += stream.push(frame)
        assert (stream.config.mode, stream.burst) == (Mode.rolling, 3)
        out += [done for frames in stream.drain() for done in frames]
        assert [frame.index for frame in out] == [frame.index for frame in given]
        assert stream.lost == 0


def test_each_mode_does_what_its_own_stream_does() -> None:
    given = frames(12)
    with modal() as stream, toy().stream(prompt="a") as alone:
        wanted = [done for frame in given for done in alone.push(frame)]
        assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(run(stream, given), wanted, strict=True))
        stream.update(mode="rolling", strength=0.4)
        rolled = run(stream, given)
        assert not any(np.array_equal(a.pixels, b.pixels) for a, b in zip(rolled, wanted, strict=True))
        stream.update(mode="stream", strength=0.5)
        assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(run(stream, given), wanted, strict=True))


def test_settings_reach_the_rolling_stream_and_the_size_is_the_outputs() -> None:
    given = frames(6)
    with modal(mode="rolling", width=128, height=64) as stream:
        plain = run(stream, given)
        # The model was made for 64x64: it works at a size of that area in this shape, and its output is enlarged.
        assert {frame.pixels.shape for frame in plain} == {(64, 128, 3)}
        for change in ({"prompt": "b"}, {"strength": 0.9}, {"seed": 7}, {"second_prompt": "c", "blend": 0.5}):
            stream.update(**change)
            stream.reset()
            assert np.abs(np.stack([f.pixels for f in run(stream, given)]) - [f.pixels for f in plain]).mean() > 0.1
            plain = run(stream, given)


@pytest.mark.parametrize("size", [(128, 72), (64, 64), (512, 64), (80, 256)])
def test_all_of_the_picture_is_seen_at_any_aspect(size: tuple[int, int]) -> None:
    width, height = size
    pixels = np.full((height, width, 3), 40, np.uint8)
    edges = (np.s_[: height // 8], np.s_[-height // 8 :], np.s_[:, : width // 8], np.s_[:, -width // 8 :])
    with modal(identity, mode="rolling", width=width, height=height) as stream:
        for edge in edges:
            marked = pixels.copy()
            marked[edge] = 220
            (out,) = run(stream, [Frame(marked)])
            assert out.pixels.shape == pixels.shape
            inside = out.pixels[edge].astype(int).mean()
            assert inside > out.pixels.mean() + 60, (size, inside)


def test_an_error_in_finishing_the_other_mode_loses_what_was_in(monkeypatch: pytest.MonkeyPatch) -> None:
    given = frames(12)
    with modal(steps=4) as stream:
        out = [done for frame in given[:5] for done in stream.push(frame)]
        stream.update(mode="rolling")
        with monkeypatch.context() as patch:
            patch.setattr(Stream, "_advance", lambda self: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                stream.push(given[5])
        assert stream.lost == 4  # three were in, one wanted to enter
        out += run(stream, given[6:])
        assert [frame.index for frame in out] == [0, 1, *range(6, 12)]
        stream.update(mode="stream")
        assert [frame.index for frame in run(stream, given)] == list(range(12))  # nothing old comes out


async def test_mode_and_size_change_as_one() -> None:
    sizes: list[tuple[int, int]] = []
    with modal(mode="rolling", width=256, height=256) as stream:
        prepare = stream.pictures._prepare
        stream.pictures._prepare = lambda config, before: (
            sizes.append((config.width, config.height)) or prepare(config, before)
        )
        async with LiveStream(stream, "lossless") as live:
            for i, frame in enumerate(frames(6)):
                if i == 3:
                    live.update(mode="stream", width=64, height=64)
                await live.put(frame)
            live.end()
            out = [frame async for frame in live]
        assert len(out) == 6 and live.config.width == 64
        assert sizes == [(64, 64)]  # never at 256: nobody wanted that


async def test_a_size_that_does_not_fit_when_it_is_run_is_taken_back_and_told() -> None:
    made = toy()
    with_memory_for(made, 64)
    config = RunConfig.make(**SIZE)
    async with LiveStream(ModalStream(made.stream(**config.of_pictures), config)) as live:
        told = await outgrown(live)
        assert (live.config.width, live.config.prompt) == (64, "kept")
        live.update(prompt="another")
        live.push(frames(3)[2])
        assert (await anext(live)).pixels.shape == (64, 64, 3)
        assert live.metrics.failed == 1
    assert told == ["settings width were not applied: no memory for it"]


def test_what_cannot_be_changes_nothing() -> None:
    def missing() -> RollingModel:
        raise ModelError("the rolling model is not there")

    for load, error, says in ((None, ConfigError, "no rolling model"), (missing, ModelError, "is not there")):
        with modal(load) as stream:
            with pytest.raises(error, match=says):
                stream.update(mode="rolling")
            assert stream.config.mode is Mode.stream
            assert len(run(stream, frames(3))) == 3


def test_the_model_is_loaded_once_and_only_when_it_is_wanted() -> None:
    loads: list[int] = []

    def load() -> RollingModel:
        loads.append(1)
        return rolling_model()

    shared = SharedRolling(load)
    made = toy()
    config = RunConfig.make(**SIZE)
    streams = [ModalStream(made.stream(), config, shared) for _ in range(2)]
    assert not loads
    for stream in streams:
        stream.update(mode="rolling")
        stream.close()
    assert loads == [1]


def test_an_error_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    with modal(mode="rolling", strength=0.2) as stream:
        with monkeypatch.context() as patch:
            patch.setattr(RollingTransformer, "forward", lambda *_: 1 / 0)
            given = frames(3)
            stream.push(given[0])
            stream.push(given[1])
            with pytest.raises(ZeroDivisionError):
                stream.push(given[2])
        assert stream.lost == 3
        stream.update(mode="stream")
        assert len(run(stream, frames(3))) == 3
        assert stream.lost == 3


class Slow:
    """A Streaming of bursts whose every third frame takes long."""

    lost = 0
    burst = 3

    def __init__(self, seconds: float) -> None:
        self.config = RunConfig.make(**SIZE)
        self.seconds = seconds
        self.held: list[Frame] = []
        self.taken: list[int] = []

    def push(self, frame: Frame) -> list[Frame]:
        self.held.append(frame)
        self.taken.append(frame.index)
        if len(self.held) < 3:
            return []
        time.sleep(self.seconds)
        out, self.held = self.held, []
        return out

    def drain(self) -> Any:
        yield self.held

    def update(self, /, **settings: Any) -> None:
        self.config = self.config.changed(**settings)

    def reset(self) -> None:
        self.held = []


async def test_a_burst_is_spread_over_the_time_until_the_next() -> None:
    slow = Slow(0.15)
    shown: list[float] = []
    async with LiveStream(slow) as live:

        async def feed() -> None:
            for i in range(75):
                live.push(Frame(np.zeros((8, 8, 3), np.uint8), index=i))
                await asyncio.sleep(0.02)
            live.end()

        feeding = asyncio.create_task(feed())
        async for _ in live:
            shown.append(time.monotonic())
        await feeding
    # Those that came in while the model was busy went in together: a block's frames follow closely in time.
    taken = slow.taken[3:]
    within = np.diff(np.array(taken[: len(taken) // 3 * 3]).reshape(-1, 3))
    assert np.median(within) == 1
    gaps = np.diff(shown[3:-3])
    # Shown together they would be three at a time: two gaps of nothing and one of 0.15 s and more.
    assert np.median(gaps) > 0.02
    assert live.metrics.frames_out == len(shown)


async def test_a_push_that_gives_nothing_overtakes_nothing() -> None:
    channel: Channel[int] = Channel(2, asyncio.get_running_loop())
    assert channel.offer_all([1, 2, 3]) == 0  # longer than the capacity, and together
    assert channel.offer_all([]) == 0 and len(channel) == 3
    assert channel.offer_all([4]) == 2
    assert [await channel.take(), await channel.take()] == [3, 4]


def test_the_settings_know_the_modes() -> None:
    assert RunConfig.make(mode="rolling").changed(strength=0.3).mode is Mode.rolling
    with pytest.raises(ConfigError, match="mode = 'both'"):
        RunConfig.make(mode="both")
