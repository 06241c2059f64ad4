"""Stream: what a failure of the model costs, and which settings are taken back after it."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pytest
import torch

from streamdiff import Frame, Stream
from tests.toy import Toy, frames, picture, toy


def failing_once(made: Toy, part: str, stream: Stream) -> None:
    """The next call of one of the stream's networks raises."""
    engines = stream._active.engines
    engine = getattr(engines, part)
    calls = iter([True])

    def call(*inputs: torch.Tensor) -> torch.Tensor:
        if next(calls, False):
            raise RuntimeError("out of memory")
        return engine(*inputs)

    changed = replace(engines, **{part: call})
    stream._wanted = stream._active = replace(stream._active, engines=changed)
    if part == "unet":
        stream._batch._unet = call


@pytest.mark.parametrize("part", ["encoder", "unet", "decoder"])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("threshold", [None, 0.0])
def test_one_failure_costs_what_it_must_and_no_more(part: str, steps: int, threshold: float | None) -> None:
    made = toy()
    stream = made.stream(steps=steps, similarity_threshold=threshold, max_skip=10_000)
    out: list[Frame] = []
    for i in range(3):
        out += stream.push(Frame(picture(i), index=i))
    failing_once(made, part, stream)
    failed = 0
    for i in range(3, 40):
        try:
            out += stream.push(Frame(picture(min(i, 5)), index=i))
        except RuntimeError:
            failed += 1
    out += stream.flush()
    assert failed == 1
    # Every frame either came out, in order, or was counted: one at most, and with it none that only repeats it.
    assert [f.index for f in out] == sorted(f.index for f in out)
    assert len(out) + stream.lost == 40
    assert stream.lost == 1


def test_what_had_finished_survives_a_failure_after_it() -> None:
    made = toy()
    stream = made.stream(steps=4)
    out = [f for frame in frames(5) for f in stream.push(frame)]
    stream.update(steps=1)
    predict, calls = made.unet.predict, [0]

    def unet(*inputs: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        if calls[0] == 4:  # after the three of the drain: the entering frame's own
            raise RuntimeError("out of memory")
        return predict(*inputs)

    made.unet.predict = unet  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        stream.push(Frame(picture(9), index=5))
    out += stream.push(Frame(picture(10), index=6))
    assert [f.index for f in out] == [0, 1, 2, 3, 4, 6]
    assert stream.lost == 1


def test_what_had_finished_survives_a_failure_at_the_end() -> None:
    made = toy()
    stream = made.stream(steps=4)
    out = [f for frame in frames(5) for f in stream.push(frame)]
    predict, calls = made.unet.predict, [0]

    def unet(*inputs: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        if calls[0] == 2:
            raise RuntimeError("out of memory")
        return predict(*inputs)

    made.unet.predict = unet  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        stream.flush()
    out += stream.flush()
    assert [f.index for f in out] == sorted({f.index for f in out})
    assert len(out) + stream.lost == 5
    assert stream.lost <= 1


@pytest.mark.parametrize(
    "larger",
    [
        {"width": 128},
        {"steps": 4},
        {"frame_buffer_size": 4},
        {"guidance": "full", "guidance_scale": 2.0},
        {"guidance": "onetime", "guidance_scale": 2.0},
    ],
)
def test_a_size_that_shows_only_when_it_is_run_that_it_does_not_fit(larger: dict[str, Any]) -> None:
    made = toy()
    stream = made.stream()
    predict = made.unet.predict

    def unet(x: torch.Tensor, conditioning: torch.Tensor) -> torch.Tensor:
        if x.shape[0] * x.shape[-1] > 8:
            raise RuntimeError("out of memory")
        return predict(x, conditioning)

    made.unet.predict = unet  # type: ignore[method-assign]
    before = stream.config
    out = stream.push(Frame(picture(0), index=0))
    stream.update(prompt="kept", **larger)
    for i in range(1, 8):
        with contextlib.suppress(RuntimeError):
            out += stream.push(Frame(picture(i), index=i))
    assert stream.config == before.changed(prompt="kept", guidance_scale=stream.config.guidance_scale)
    assert out[-1].index == 7
    assert len(out) + stream.lost == 8


def test_a_buffer_that_does_not_fit_with_all_slots_full() -> None:
    """Its first steps, with the smaller loads of before, do."""
    made = toy()
    stream = made.stream(steps=4)
    predict = made.unet.predict

    def unet(x: torch.Tensor, conditioning: torch.Tensor) -> torch.Tensor:
        if len(x) > 5:
            raise RuntimeError("out of memory")
        return predict(x, conditioning)

    made.unet.predict = unet  # type: ignore[method-assign]
    out: list[Frame] = []
    stream.update(frame_buffer_size=1)
    for i in range(6):
        out += stream.push(Frame(picture(i), index=i))
    stream.update(frame_buffer_size=2)
    failed = 0
    for i in range(6, 22):
        try:
            out += stream.push(Frame(picture(i), index=i))
        except RuntimeError:
            failed += 1
    out += stream.flush()
    assert (failed, stream.config.frame_buffer_size) == (1, 1)
    assert len(out) + stream.lost == 22


def test_ctrl_c_takes_no_setting_back() -> None:
    made = toy()
    stream = made.stream()
    stream(picture(0))
    stream.update(width=128)

    def interrupted(*_: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt

    predict, made.unet.predict = made.unet.predict, interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        stream(picture(1))
    made.unet.predict = predict  # type: ignore[method-assign]
    assert stream(picture(2)).shape == (64, 128, 3)
