"""The similarity filter: what may be skipped, what never, and what a skip costs (ALGORITHMS 3)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamdiff import Frame
from streamdiff.similarity import SimilarityFilter, skip_probability
from tests.toy import frames, picture, toy


def still(count: int, *, noise: float = 0.0) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    base = picture(1, 128, 128).astype(np.float32)
    return [np.clip(base + random.normal(0, noise, base.shape), 0, 255).astype(np.uint8) for _ in range(count)]


@given(eta=st.floats(0, 0.99), seed=st.integers(0, 100))
def test_probability_is_the_formula(eta: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    a = random.uniform(0, 255, (8, 8, 3)).astype(np.float32)
    b = (a + random.uniform(-3, 3, a.shape)).astype(np.float32)
    s = float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))
    assert skip_probability(a, b, eta) == pytest.approx(max(0.0, (s - eta) / (1 - eta)), abs=1e-4)


@settings(deadline=None, max_examples=20)
@given(max_skip=st.integers(1, 12))
def test_at_most_max_skip_in_a_row_exactly(max_skip: int) -> None:
    # Threshold 0 and identical frames: the probability is one.
    gate = SimilarityFilter()
    decisions = [gate.skip(p, 0.0, max_skip) for p in still(3 * (max_skip + 1))]
    assert decisions == ([False] + [True] * max_skip) * 3


def test_a_change_of_exposure_is_never_skipped() -> None:
    """The cosine of x and x/2 is 1: a light switched off would be missed."""
    gate = SimilarityFilter()
    bright = still(1)[0]
    dark = (bright // 2).astype(np.uint8)
    for pixels in [bright, dark] * 20:
        assert not gate.skip(pixels, 0.5, 1000)


def test_a_slow_fade_is_followed() -> None:
    """Each frame is hardly darker than the last; the reference is the last one that was processed, so it adds up."""
    gate = SimilarityFilter()
    base = still(1)[0].astype(np.float32)
    shown = base
    for level in np.linspace(1, 0, 200):
        frame = (base * level).astype(np.uint8)
        if not gate.skip(frame, 0.0, 10_000):
            shown = frame.astype(np.float32)
        assert float(np.abs(frame - shown).mean()) < 3


def test_moving_pictures_pass_and_camera_noise_is_skipped() -> None:
    gate = SimilarityFilter()
    assert not any(gate.skip(f.pixels, 0.9, 10) for f in frames(20))
    gate = SimilarityFilter()
    skipped = [gate.skip(p, 0.9, 10_000) for p in still(100, noise=3.0)]
    assert sum(skipped) > 80


def test_draws_come_from_the_seed() -> None:
    def run(seed: int) -> list[bool]:
        gate = SimilarityFilter(seed)
        return [gate.skip(p, 0.9998, 1000) for p in still(60, noise=3.0)]

    assert run(1) == run(1)
    assert run(1) != run(2)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("buffer", [1, 2, 3])
def test_a_still_scene_settles_and_rests(n: int, buffer: int) -> None:
    made = toy()
    stream = made.stream(steps=n, frame_buffer_size=buffer, similarity_threshold=0.0, max_skip=10_000)
    out = [stream.push(Frame(picture(1), pts=i / 30, index=i)) for i in range(20)]
    # One frame is let in; it needs n steps; after them nothing runs.
    assert len(made.unet.calls) == n
    assert stream.in_flight == 0
    finished = [f for group in out for f in group]
    assert [f.index for f in finished] == list(range(20))
    assert [f.pts for f in finished] == [i / 30 for i in range(20)]
    assert all(np.array_equal(f.pixels, finished[0].pixels) for f in finished)
    assert [f.repeated for f in finished] == [False] + [True] * 19
    assert stream.skipped == 19
    # From then on each skipped frame is answered at once; a buffer waits for one more before it begins.
    assert all(len(group) == 1 for group in out[n + (buffer > 1) :])


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 4), buffer=st.integers(1, 3), scene=st.lists(st.integers(0, 2), min_size=1, max_size=25))
def test_every_frame_is_answered_in_order(n: int, buffer: int, scene: list[int]) -> None:
    made = toy()
    stream = made.stream(steps=n, frame_buffer_size=buffer, similarity_threshold=0.0, max_skip=5)
    plain = made.stream(steps=n)
    finished = [f for i, s in enumerate(scene) for f in stream.push(Frame(picture(s), index=i))] + stream.flush()
    want = [f for i, s in enumerate(scene) for f in plain.push(Frame(picture(s), index=i))] + plain.flush()
    assert [f.index for f in finished] == list(range(len(scene)))
    # A repeated picture is the output of a frame that looked the same, so it is what computing it would have given
    # (to one level: another batch size rounds the last bit of fp32 another way).
    for a, b in zip(finished, want, strict=True):
        assert int(np.abs(a.pixels.astype(int) - b.pixels.astype(int)).max()) <= 1


@pytest.mark.parametrize(
    "change", [{"prompt": "b"}, {"strength": 0.7}, {"seed": 3}, {"guidance": "self"}, {"max_skip": 7}]
)
def test_a_change_forces_the_next_frame_through(change: dict[str, object]) -> None:
    made = toy()
    stream = made.stream(prompt="a", similarity_threshold=0.0, max_skip=10_000)
    for _ in range(5):
        stream(picture(1))
    calls = len(made.unet.calls)
    stream.update(**change)
    stream(picture(1))
    assert len(made.unet.calls) == calls + 1
