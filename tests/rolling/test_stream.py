"""RollingStream: video from a prompt, a camera restyled, live changes, continuation, seeds, who gets what back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from streamdiff import ClosedError, ConfigError, Frame, LiveStream, PictureError
from streamdiff.rolling import RollingConfig, RollingModel, RollingStream
from streamdiff.rolling.cache import BlockCache
from streamdiff.rolling.denoiser import RollingDenoiser
from tests.rolling.toys import PictureVae, toy_model
from tests.toy import collect, frames, picture


@pytest.fixture(scope="module")
def model() -> RollingModel:
    return toy_model()


@pytest.fixture(scope="module")
def plain() -> RollingModel:
    """With a VAE of single pictures: 3 pictures in a block."""
    return toy_model(PictureVae())


def stream(model: RollingModel, **settings: Any) -> RollingStream:
    return RollingStream(model, RollingConfig.make(**{"width": 64, "height": 64, "prompt": "a lake", **settings}))


def shown(given: Sequence[Frame]) -> np.ndarray:
    return np.stack([frame.pixels for frame in given])


def pushed(s: RollingStream, given: Sequence[Frame]) -> list[Frame]:
    return [out for frame in given for out in s.push(frame)]


def test_text_to_video(model: RollingModel) -> None:
    out = list(stream(model).generate(7))
    assert [frame.index for frame in out] == list(range(9 + 6 * 12))
    assert [frame.pts for frame in out] == [i / 16 for i in range(81)]
    assert shown(out).shape == (81, 64, 64, 3)
    assert shown(out).std() > 10


def test_nothing_leaves_before_it_is_final(model: RollingModel) -> None:
    s, whole = stream(model), list(stream(model).generate(7))
    going = s.generate()
    first = [next(going) for _ in range(9)]
    assert len(s._denoiser.held) == 4  # the window had ramped up: 5 blocks went in, one came out
    assert np.array_equal(shown(first), shown(whole[:9]))


def test_a_camera_gets_every_frame_back_in_order(model: RollingModel) -> None:
    s, given = stream(model, level=2), frames(9 + 4 * 12 + 5)
    counts = [len(s.push(frame)) for frame in given]
    # A window of three blocks: the first comes out when the third has been gathered.
    assert {i: n for i, n in enumerate(counts) if n} == {32: 9, 44: 12, 56: 12}
    assert s.in_flight == 5 + 2 * 12
    s.reset()
    assert s.in_flight == 0
    out = pushed(s, given)
    out += s.flush()
    assert [(f.index, f.pts) for f in out] == [(f.index, f.pts) for f in given]
    assert s.in_flight == 0 and s.flush() == [] and s.lost == 0


def test_the_camera_shows_and_more_at_a_higher_level(plain: RollingModel) -> None:
    # This VAE neither blurs nor delays, so what a picture keeps of its own shows in its own place.
    likeness: list[float] = []
    given = frames(24)
    for level in (1, 2, 3, 4):
        s = stream(plain, level=level)
        out = shown(pushed(s, given) + s.flush()).astype(float)
        source = shown(given).astype(float)
        likeness.append(float(np.corrcoef(out.ravel(), source.ravel())[0, 1]))
    assert likeness == sorted(likeness) and likeness[-1] > likeness[0] + 0.1


@pytest.mark.parametrize("kind", ["model", "plain"])
def test_leaving_and_coming_back(kind: str, request: pytest.FixtureRequest) -> None:
    """Camera, prompt, camera, continued: all frames come out, with the identity they went in with."""
    s = stream(request.getfixturevalue(kind))
    given = [replace(frame, tag="camera") for frame in frames(40)]
    out = pushed(s, given[:20])
    made = list(s.generate(2))
    camera = [frame for frame in made if frame.tag == "camera"]
    out += camera
    assert made[: len(camera)] == camera
    assert len(made) - len(camera) == 2 * (12 if kind == "model" else 3)
    out += pushed(s, given[20:]) + s.flush()
    assert [frame.index for frame in out] == list(range(40))


def test_a_camera_after_the_start_fills_whole_blocks(model: RollingModel) -> None:
    """The decoder's next latent frame gives four pictures, so the encoder's first must be made of four too."""
    s = stream(model, level=4)
    assert len(list(s.generate(1))) == 9
    counts = [len(s.push(frame)) for frame in frames(24)]
    assert {i: n for i, n in enumerate(counts) if n} == {11: 12, 23: 12}


def test_a_prompt_change_shows_at_once_and_without_a_break(plain: RollingModel) -> None:
    results: dict[str, np.ndarray] = {}
    for name, changes in {
        "same": [], "changed": [{"prompt": "a city"}], "kept": [{"prompt": "a city", "recache": False}],
        "back": [{"prompt": "a city"}, {"prompt": "a lake"}],
    }.items():  # fmt: skip
        s = stream(plain)
        out = list(s.generate(6))
        for change in changes:
            s.update(**change)
        results[name] = shown(out + list(s.generate(4)))
    same = results["same"]
    assert len(same) == 10 * 3
    assert np.array_equal(results["back"], same)
    for name in ("changed", "kept"):
        assert np.array_equal(results[name][:18], same[:18])
        assert not np.array_equal(results[name][18:21], same[18:21])
    assert not np.array_equal(results["changed"][18:21], results["kept"][18:21])


def test_a_change_of_level_finishes_the_window_first(plain: RollingModel) -> None:
    s, given = stream(plain, level=1), frames(21)
    out = pushed(s, given[:12])
    assert len(out) == 3 and s.in_flight == 9
    s.update(level=4)
    assert pushed(s, given[12:14]) == []  # the block is still being gathered
    out += s.push(given[14])  # one level only: the old window comes out, and this block at once
    assert [frame.index for frame in out] == list(range(15))
    out += pushed(s, given[15:]) + s.flush()
    assert [frame.index for frame in out] == list(range(21))


def test_a_change_of_size_finishes_all_and_begins_anew(model: RollingModel) -> None:
    s, given = stream(model), frames(30)
    out = pushed(s, given[:15])
    s.update(width=96)
    out += pushed(s, given[15:]) + s.flush()
    assert [frame.index for frame in out] == list(range(30))
    assert {frame.pixels.shape for frame in out[:15]} == {(64, 64, 3)}
    assert {frame.pixels.shape for frame in out[15:]} == {(64, 96, 3)}
    fresh = stream(model, width=96)
    assert np.array_equal(shown(out[15:]), shown(pushed(fresh, given[15:]) + fresh.flush()))


def test_a_size_that_does_not_fit_leaves_the_old_one(plain: RollingModel, monkeypatch: pytest.MonkeyPatch) -> None:
    s, given = stream(plain), frames(12)
    out = pushed(s, given[:5])
    allocate = BlockCache.__init__

    def fails(self: BlockCache, *args: Any) -> None:
        if args[5][2] == 12:  # latents across
            raise torch.OutOfMemoryError("no memory")
        allocate(self, *args)

    monkeypatch.setattr(BlockCache, "__init__", fails)
    s.update(width=96, prompt="a city")
    with pytest.raises(torch.OutOfMemoryError):
        s.push(given[5])
    assert (s.config.width, s.config.prompt, s.lost) == (64, "a city", 1)  # all but what does not fit
    out += pushed(s, given[6:]) + s.flush()
    assert [frame.index for frame in out] == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    for begin in (s.reset, lambda: s.continue_from(given)):
        s.update(width=96)
        with pytest.raises(torch.OutOfMemoryError):
            begin()
        assert s.config.width == 64
        assert [frame.index for frame in pushed(s, given) + s.flush()] == list(range(12))


def test_too_few_pictures_to_continue_change_nothing(plain: RollingModel) -> None:
    s, given = stream(plain), frames(12)
    out = pushed(s, given[:5])
    with pytest.raises(ConfigError, match="continuing takes"):
        s.continue_from(given[:2])
    out += pushed(s, given[5:]) + s.flush()
    assert np.array_equal(shown(out), shown(pushed(fresh := stream(plain), given) + fresh.flush()))


def test_times_go_on_over_a_change_of_size(plain: RollingModel) -> None:
    s = stream(plain)
    out = list(s.generate(2))
    s.update(width=96)
    out += list(s.generate(2))
    assert [frame.index for frame in out] == list(range(len(out)))


def test_a_new_anchor_takes_the_old_one_s_place(plain: RollingModel) -> None:
    a, b = stream(plain), stream(plain)
    given = frames(36)
    assert np.array_equal(shown(pushed(a, given[:15])), shown(pushed(b, given[:15])))
    a.re_anchor()
    same = [np.array_equal(x.pixels, y.pixels) for f in given[15:] for x, y in zip(a.push(f), b.push(f), strict=True)]
    # The block that entered next has the old sink behind it; once it is final, what follows has another.
    assert all(same[:6]) and not any(same[6:])


def test_continuing_given_pictures(model: RollingModel) -> None:
    given = [picture(i) for i in range(23)]
    s, cut = stream(model), stream(model)
    s.continue_from([Frame(pixels) for pixels in given])
    cut.continue_from(given[2:])  # 21 of them fill blocks, and these are the last
    out = list(s.generate(2))
    assert np.array_equal(shown(out), shown(list(cut.generate(2))))
    assert [frame.index for frame in out] == list(range(24))  # no first picture alone: the video goes on
    assert not np.array_equal(shown(out)[:9], shown(list(stream(model).generate(1))))
    with pytest.raises(ConfigError, match="continuing takes 9 pictures or more, given 8"):
        s.continue_from(given[:8])


def test_continuing_what_was_made_here_is_going_on(plain: RollingModel) -> None:
    """With a VAE that loses nothing on the way (these pictures are flat in each latent), history is what was made."""
    s = stream(plain)
    video = list(s.generate(2))
    a, b = stream(plain), stream(plain)
    a.continue_from(video)
    b.continue_from([frame.pixels for frame in video])
    assert np.array_equal(shown(list(a.generate(1))), shown(list(b.generate(1))))


def test_a_blend_that_moves_is_shown_to_the_history_once_a_block(plain: RollingModel) -> None:
    s = stream(plain)
    passes: list[int] = []
    forward = plain.transformer.forward
    given = frames(30)
    pushed(s, given[:15])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain.transformer, "forward", lambda *a: (passes.append(1), forward(*a))[1])
        for i, frame in enumerate(given[15:18]):
            s.update(second_prompt="a city", blend=0.1 * (i + 1))
            s.push(frame)
    # One pass of the window, one clean pass, and at most one for each block of the history.
    assert len(passes) <= 2 + 6
    other = stream(plain)
    pushed(other, given[:15])
    other.update(second_prompt="a city", blend=0.3)  # where the blend had arrived when the block went in
    pushed(other, given[15:18])
    assert np.array_equal(shown(pushed(other, given[18:]) + other.flush()), shown(pushed(s, given[18:]) + s.flush()))


def test_seeds(model: RollingModel) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two, other = (list(stream(model, seed=seed).generate(2)) for seed in (3, 3, 4))
    assert np.array_equal(shown(one), shown(two))
    assert not np.array_equal(shown(one), shown(other))
    s = stream(model, seed=4)
    s.update(seed=3)
    assert np.array_equal(shown(one), shown(list(s.generate(2))))
    assert torch.equal(torch.get_rng_state(), before)


def test_two_sessions_of_one_model_do_not_meet(model: RollingModel) -> None:
    a, b = stream(model, seed=1), stream(model, seed=2)
    given = frames(33)
    mixed: tuple[list[Frame], list[Frame]] = [], []
    for frame in given:
        for s, out in zip((a, b), mixed, strict=True):
            out += s.push(frame)
    for seed, out in zip((1, 2), mixed, strict=True):
        alone = pushed(stream(model, seed=seed), given)
        assert len(alone) == 21 and np.array_equal(shown(out), shown(alone))


def test_a_reset_begins_anew(model: RollingModel) -> None:
    s = stream(model)
    first = shown(list(s.generate(2)))
    s.update(prompt="a city")
    s.reset()
    assert not np.array_equal(shown(list(s.generate(2))), first)
    s.update(prompt="a lake")
    s.reset()
    assert np.array_equal(shown(list(s.generate(2))), first)


async def test_a_live_stream_runs_it(plain: RollingModel) -> None:
    given = frames(14)
    async with LiveStream(stream(plain), "lossless") as live:  # type: ignore[arg-type]

        async def feed() -> None:
            for i, frame in enumerate(given):
                if i == 7:
                    live.update(level=4, prompt="a city")
                await live.put(frame)
            live.end()

        _, out = await asyncio.gather(feed(), collect(live))
    assert [frame.index for frame in out] == list(range(14))


class Failing(PictureVae):
    """Fails to decode, or to encode, when it is told to."""

    fail: str = ""

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        if self.fail == "encode":
            raise RuntimeError("no memory")
        return super().__call__(pictures)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        if self.fail == "decode":
            raise RuntimeError("no memory")
        return super().decode(latents)


@pytest.mark.parametrize(("fail", "lost"), [("encode", 2), ("decode", 3)])
def test_an_error_of_the_model_loses_one_block(fail: str, lost: int) -> None:
    vae = Failing()
    s, given = stream(toy_model(vae), level=4), frames(12)
    out = pushed(s, given[:4])
    vae.fail = fail
    with pytest.raises(RuntimeError, match="no memory"):
        pushed(s, given[4:6])
    vae.fail = ""
    assert s.lost == lost
    out += pushed(s, given[6:]) + s.flush()
    indices = [frame.index for frame in out]
    assert indices == sorted(indices) and set(indices) >= {0, 1, 2, *range(6, 12)}


def test_a_first_block_that_failed_costs_no_frame_of_the_next(
    model: RollingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    s, given = stream(model, level=4), frames(9 + 9 + 12)
    push = RollingDenoiser.push

    def fails(*args: Any) -> None:
        monkeypatch.setattr(RollingDenoiser, "push", push)
        raise RuntimeError("no memory")

    monkeypatch.setattr(RollingDenoiser, "push", fails)
    with pytest.raises(RuntimeError, match="no memory"):
        pushed(s, given[:9])
    assert s.lost == 9
    out = pushed(s, given[9:]) + s.flush()
    assert [frame.index for frame in out] == list(range(9, 30))


def test_settings_that_cannot_be(model: RollingModel) -> None:
    for settings, message in (
        ({"width": 100}, r"width = 100: must be a multiple of 16 \(nearest: 96\)"),
        ({"height": 72}, r"height = 72: must be a multiple of 16 \(nearest: 64\)"),
        ({"level": 5}, "level = 5: this model's ladder has the levels 1 to 4"),
        ({"level": 0}, "level = 0: input should be greater than or equal to 1"),
        ({"strength": 0.5}, "unknown setting 'strength'"),
    ):
        with pytest.raises(ConfigError, match=message):
            stream(model, **settings)
        s = stream(model)
        with pytest.raises(ConfigError, match=message):
            s.update(**settings)
        assert s.config == stream(model).config
    with pytest.raises(PictureError):
        stream(model).push(Frame(np.zeros((64, 64), np.uint8)))


def test_a_closed_stream(model: RollingModel) -> None:
    with stream(model) as s:
        pass
    for use in (s.flush, s.re_anchor, s.reset, lambda: s.config, lambda: next(s.generate())):
        with pytest.raises(ClosedError):
            use()
