"""The filter against flicker: its formula, where it begins anew, and what it does to a stream."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from streamdiff import ConfigError, Frame, Stream
from streamdiff.calm import STILL, Calm
from tests.toy import picture, toy


def reference(camera: Tensor, drawn: Tensor, share: float) -> Tensor:
    """The recursion, place by place."""
    out = [drawn[0]]
    for t in range(1, len(camera)):
        change = (camera[t] - camera[t - 1]).abs().mean(0)
        height, width = change.shape
        frame = torch.empty_like(drawn[t])
        for y in range(height):
            for x in range(width):
                near = change[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].mean()
                keep = share * torch.exp(-((near / STILL) ** 2))
                frame[:, y, x] = (1 - keep) * drawn[t][:, y, x] + keep * out[-1][:, y, x]
        out.append(frame)
    return torch.stack(out)


@settings(max_examples=30, deadline=None)
@given(
    parts=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    share=st.floats(0.0, 0.95),
    speed=st.sampled_from([0.0, 0.05, 0.3, 2.0]),
    seed=st.integers(0, 99),
)
def test_the_recursion_however_frames_are_put_together(parts, size, share, speed, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    camera, drawn = torch.randn((2, sum(parts), 3, *size), generator=generator)
    camera = camera[:1] + speed * camera
    calm = Calm()
    calm.keep(share)
    got = [calm(*pair) for pair in zip(camera.split(parts), drawn.split(parts), strict=True)]
    assert (torch.cat(got) - reference(camera, drawn, share)).abs().max() < 1e-5


def test_off_it_gives_back_what_it_is_given() -> None:
    calm, latents = Calm(), torch.randn(2, 3, 4, 4)
    assert calm(latents, latents) is latents and not calm.on


def through(calm: Calm, value: float) -> float:
    """A still camera, and a drawing of one value."""
    return float(calm(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), value)).mean())


def test_where_it_begins_anew() -> None:
    calm, look, other = Calm(), object(), object()
    calm.keep(0.5)
    calm.of(look)
    assert [through(calm, v) for v in (1.0, 0.0, 0.0)] == [1.0, 0.5, 0.25]
    calm.of(look)
    assert through(calm, 0.0) == 0.125
    calm.of(other)
    assert through(calm, 3.0) == 3.0
    calm.forget()
    assert through(calm, 1.0) == 1.0
    calm.keep(0.0)
    assert through(calm, 0.0) == 0.0
    calm.keep(0.25)  # what it saw before it was off is forgotten
    assert [through(calm, v) for v in (4.0, 0.0)] == [4.0, 1.0]
    wide = torch.zeros(1, 3, 4, 5)
    assert torch.equal(calm(wide, wide + 7), wide + 7)


def test_what_is_recorded_is_not_remembered() -> None:
    calm = Calm()
    calm.keep(0.5)
    through(calm, 1.0)
    with calm.aside(torch.zeros(1, 3, 4, 4)):
        assert through(calm, 9.0) == 5.0
    assert through(calm, 0.0) == 0.5
    with pytest.raises(RuntimeError), calm.aside(torch.zeros(1, 3, 4, 4)):
        through(calm, 9.0)
        raise RuntimeError
    assert through(calm, 0.0) == 0.25


def test_what_is_broken_once_does_not_stay_so() -> None:
    calm = Calm()
    calm.keep(0.5)
    got = [through(calm, v) for v in (1.0, float("nan"), 2.0, 0.0)]
    assert np.isnan(got[1]) and got[2:] == [2.0, 1.0]
    assert torch.isnan(calm(torch.full((1, 3, 4, 4), torch.nan), torch.zeros(1, 3, 4, 4))).sum() == 0
    assert [through(calm, v) for v in (3.0, 1.0)] == [3.0, 2.0]


def noisy(count: int, size: int) -> list[Frame]:
    rng = np.random.default_rng(0)
    still = picture(1, size, size).astype(float)
    return [
        Frame(np.clip(still + rng.normal(0, 6, still.shape), 0, 255).astype(np.uint8), index=i) for i in range(count)
    ]


def outputs(stream: Stream, given_: list[Frame]) -> list[np.ndarray[Any, Any]]:
    out = [done for frame in given_ for done in stream.push(frame)] + stream.flush()
    assert [frame.index for frame in out] == [frame.index for frame in given_]
    return [frame.pixels.astype(float) for frame in out]


@pytest.mark.parametrize(("steps", "buffer"), [(1, 1), (3, 1), (2, 2)])
def test_a_still_scene_before_a_noisy_camera_is_calm(steps: int, buffer: int) -> None:
    flicker: dict[float, float] = {}
    start = {"steps": steps, "frame_buffer_size": buffer, "prompt": "a"}
    for share in (0.0, 0.5, 0.8):
        out = outputs(toy(image_conditioned=True).stream(**start, calm=share), noisy(12, 64))
        flicker[share] = float(np.mean([np.abs(a - b).mean() for a, b in pairwise(out[4:])]))
    assert flicker[0.8] < 0.7 * flicker[0.5] < 0.7 * 0.8 * flicker[0.0]


def test_a_new_look_is_there_at_once() -> None:
    made, given_ = toy(image_conditioned=True), noisy(6, 64)
    calm, plain = made.stream(prompt="a", calm=0.9), made.stream(prompt="a")
    outputs(calm, given_)
    for change in ({"prompt": "b"}, {"strength": 0.9}, {"seed": 3}, {"width": 72}):
        calm.update(**change), plain.update(**change)
        first, wanted = outputs(calm, given_[:2]), outputs(plain, given_[:2])
        assert np.array_equal(first[0], wanted[0]), change
        assert not np.array_equal(first[1], wanted[1]), change
    calm.reset()
    assert np.array_equal(outputs(calm, given_[:1])[0], wanted[0])
    calm.update(calm=0.0)
    assert all(np.array_equal(a, b) for a, b in zip(outputs(calm, given_), outputs(plain, given_), strict=True))


def test_a_control_that_moves_leaves_it_at_work() -> None:
    """Only what is drawn by makes it begin anew."""
    given_ = noisy(12, 64)
    ways = {"max_skip": lambda i: 20 + i, "calm": lambda i: 0.8 - 0.001 * (i % 2), "delta": lambda i: 1 - 0.01 * i,
            "guidance_scale": lambda i: 2 + 0.1 * i}  # fmt: skip
    for names in (["max_skip"], ["calm"], ["max_skip", "calm"], ["delta"], ["guidance_scale"]):
        still, moved = (toy().stream(prompt="a", calm=0.8) for _ in range(2))
        want = [still.push(frame)[0].pixels.astype(float) for frame in given_]
        got: list[np.ndarray[Any, Any]] = []
        for i, frame in enumerate(given_):
            moved.update(**{name: ways[name](i) for name in names})
            got.append(moved.push(frame)[0].pixels.astype(float))
        changes = [np.mean([np.abs(a - b).mean() for a, b in pairwise(out[4:])]) for out in (got, want)]
        assert changes[0] < 1.2 * changes[1]


def test_a_share_of_all_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"calm = 1.0: input should be less than or equal to 0.95"):
        toy().stream(calm=1.0)
