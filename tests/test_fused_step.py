"""The fused step, over a fake graph: exactly what the networks give one by one, whatever happens in between."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from engines import EngineError, Recorder
from engines.base import Step
from engines.torch_engine import TorchRuntime
from streamdiff import Frame, Guidance, Stream, fused_step
from tests.engines.fake_graphs import FakeGraphs
from tests.toy import Toy, frames, picture, toy


class RecordingRuntime(TorchRuntime):
    """PyTorch on the CPU that records as a CUDA runtime does."""

    def __init__(self) -> None:
        super().__init__("cpu")
        self.graphs = FakeGraphs()
        self.refuses = False

    def record(self, work: Callable[[], None], given: Tensor, made: Tensor) -> Step:
        if self.refuses:
            raise EngineError("not enough memory")
        replay = self.graphs.record(work)

        def step(rows: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
            np.stack(rows, out=given.numpy())
            replay()
            return made.numpy().copy()

        return step


def recording(**options: Any) -> tuple[Toy, RecordingRuntime]:
    runtime = RecordingRuntime()
    return replace(toy(**options), runtime=runtime), runtime


def plain(made: Toy, **start: Any) -> Stream:
    """A stream of the same model that records nothing."""
    return replace(made, runtime=TorchRuntime("cpu")).stream(**start)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded at the second push in the steady state."""
    monkeypatch.setattr(fused_step, "SETTLED", 2)


def run(stream: Stream, given: Sequence[Frame]) -> list[Frame]:
    return [out for frame in given for out in stream.push(frame)]


def same(a: Sequence[Frame], b: Sequence[Frame]) -> bool:
    assert [(f.index, f.repeated, f.pts) for f in a] == [(f.index, f.repeated, f.pts) for f in b]
    return all(np.array_equal(x.pixels, y.pixels) for x, y in zip(a, b, strict=True))


CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "prompt": st.sampled_from(["a", "b", "c"]),
        "negative_prompt": st.sampled_from(["", "x"]),
        "strength": st.sampled_from([0.2, 0.9]),
        "steps": st.integers(1, 4),
        "guidance": st.sampled_from(list(Guidance)),
        "guidance_scale": st.sampled_from([1.0, 1.6]),
        "delta": st.sampled_from([0.0, 1.0]),
        "seed": st.integers(0, 3),
        "frame_buffer_size": st.integers(1, 3),
        "width": st.sampled_from([64, 72]),
        "similarity_threshold": st.sampled_from([None, 0.5]),
        "reuse_every": st.integers(1, 2),
        "calm": st.sampled_from([0.0, 0.4, 0.9]),
    },
)
WHAT = st.tuples(st.integers(0, 9), st.booleans(), CHANGES, st.sampled_from(["", "", "", "flush", "reset"]))


@settings(max_examples=60, deadline=None)
@example(start={}, script=[(2, False, {"calm": 0.4}, ""), (3, False, {}, "")], prediction="epsilon", conditioned=False)
@given(
    start=CHANGES,
    script=st.lists(WHAT, min_size=1, max_size=5),
    prediction=st.sampled_from(["epsilon", "v_prediction", "sample"]),
    conditioned=st.booleans(),
)
def test_equals_the_networks_one_by_one(start, script, prediction, conditioned) -> None:
    made, _ = recording(prediction=prediction, image_conditioned=conditioned)
    fused, other = made.stream(**start), plain(made, **start)
    count = 0
    for pushes, still, change, then in script:
        for _ in range(pushes):
            frame = Frame(picture(0 if still else count, 72, 64), pts=count / 30, index=count)
            count += 1
            assert same(fused.push(frame), other.push(frame))
        for stream in (fused, other):
            stream.update(**change)
        if then == "flush":
            assert same(fused.flush(), other.flush())
        elif then == "reset":
            fused.reset(), other.reset()
    assert same(fused.flush(), other.flush())
    assert (fused.lost, fused.skipped) == (other.lost, other.skipped) == (0, other.skipped)


@pytest.mark.parametrize("mode", list(Guidance))
@pytest.mark.parametrize(("steps", "buffer"), [(1, 1), (2, 1), (4, 1), (3, 2), (1, 3)])
def test_the_steady_state_is_one_replay_a_push(mode: Guidance, steps: int, buffer: int) -> None:
    start = {"steps": steps, "frame_buffer_size": buffer, "guidance": mode, "guidance_scale": 1.5, "prompt": "a"}
    made, runtime = recording(image_conditioned=steps == 2)
    fused, other = made.stream(**start), plain(made, **start)
    pushes = steps + 6
    given = frames(pushes * buffer)
    first = (steps - 1 + 2) * buffer  # filling, and two pushes until it has settled
    out = run(fused, given[:first])
    made.unet.calls.clear()
    out += run(fused, given[first:])
    assert (runtime.graphs.recorded, runtime.graphs.replayed) == (1, pushes - steps)
    assert not made.unet.calls
    assert same(out, run(other, given))
    assert same(fused.flush(), other.flush())


def test_prompt_and_seed_change_without_another_recording() -> None:
    made, runtime = recording()
    start = {"steps": 2, "guidance": "onetime", "guidance_scale": 1.4}
    fused, other = made.stream(**start), plain(made, **start)
    outs: list[list[Frame]] = [[], []]
    for change in ({}, {"prompt": "b"}, {"seed": 5}, {"negative_prompt": "c", "prompt": "a"}, {}):
        for stream, out in zip((fused, other), outs, strict=True):
            stream.update(**change)
            out += run(stream, frames(5))
    assert same(*outs)
    assert runtime.graphs.recorded == 1
    # Each change but the last costs one push with frames of both terms.
    assert runtime.graphs.replayed == 25 - 2 - 3


def test_a_slider_that_is_dragged_is_not_recorded_at_every_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_step, "SETTLED", 5)
    made, runtime = recording()
    stream = made.stream(guidance="full", guidance_scale=2.0)
    for i in range(10):
        stream.update(guidance_scale=2 + i / 10)
        run(stream, frames(3))
    assert runtime.graphs.recorded == 0
    run(stream, frames(2))
    assert runtime.graphs.recorded == 1


def test_what_changes_the_step_drops_it() -> None:
    made, runtime = recording()
    stream = made.stream(steps=2)
    for recorded, change in enumerate(
        ({}, {"steps": 3}, {"strength": 0.9}, {"width": 72}, {"frame_buffer_size": 2}), 1
    ):
        stream.update(**change)
        run(stream, frames(12))
        assert runtime.graphs.recorded == recorded


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("buffer", [1, 2])
@pytest.mark.parametrize("mode", [Guidance.none, Guidance.onetime_negative])
def test_a_failing_replay_loses_only_what_entered(steps: int, buffer: int, mode: Guidance) -> None:
    start = {"steps": steps, "frame_buffer_size": buffer, "guidance": mode, "guidance_scale": 1.5}
    made, runtime = recording()
    fused, other = made.stream(**start), plain(made, **start)
    given = frames(10 * buffer + steps * buffer)
    bad = range(6 * buffer, 7 * buffer)
    out: list[Frame] = []
    failed = 0
    for frame in given:
        runtime.graphs.fails = frame.index in bad
        try:
            out += fused.push(frame)
        except RuntimeError as error:
            assert "the device has gone" in str(error)
            failed += 1
    assert failed == 1 and fused.lost == buffer
    out += fused.flush()
    want = run(other, [frame for frame in given if frame.index not in bad]) + other.flush()
    assert same(out, want)


def test_a_buffer_that_enters_half_full_goes_the_other_way() -> None:
    """A still scene brings out what waits for its buffer to fill."""
    made, runtime = recording()
    start = {"steps": 3, "frame_buffer_size": 2, "similarity_threshold": 0.0, "max_skip": 1}
    fused, other = made.stream(**start), plain(made, **start)
    shown = [*range(14), 14, 14, *range(15, 27)]
    given = [Frame(picture(i), index=n) for n, i in enumerate(shown)]
    assert same(run(fused, given), run(other, given))
    assert fused.skipped == 1
    assert runtime.graphs.replayed > 0 and runtime.graphs.recorded == 1
    assert same(fused.flush(), other.flush())


def test_half_full_buffers_of_one_step_cost_no_other_recording() -> None:
    made, runtime = recording()
    start = {"frame_buffer_size": 2, "similarity_threshold": 0.0, "max_skip": 1}
    fused, other = made.stream(**start), plain(made, **start)
    shown = [*range(15), 14, *range(15, 36), 35, *range(36, 60)]
    given = [Frame(picture(i), index=n) for n, i in enumerate(shown)]
    assert same(run(fused, given), run(other, given))
    assert fused.skipped == 2
    assert runtime.graphs.replayed > 10 and runtime.graphs.recorded == 1


def test_a_step_that_does_not_fit_is_said_once_and_done_without(caplog: pytest.LogCaptureFixture) -> None:
    made, runtime = recording()
    fused, other = made.stream(steps=2), plain(made, steps=2)
    runtime.refuses = True
    assert same(run(fused, frames(12)), run(other, frames(12)))
    assert sum("not enough memory" in record.message for record in caplog.records) == 1
    assert fused.lost == 0


def test_pictures_are_the_callers_to_keep_and_frames_are_left_alone() -> None:
    made, _ = recording()
    stream = made.stream()
    given = frames(8)
    before = [frame.pixels.copy() for frame in given]
    out = run(stream, given)
    kept = [frame.pixels.copy() for frame in out]
    run(stream, frames(8, seed=3))
    assert all(np.array_equal(a, b.pixels) for a, b in zip(kept, out, strict=True))
    assert all(np.array_equal(a, b.pixels) for a, b in zip(before, given, strict=True))


def test_two_streams_have_steps_of_their_own() -> None:
    made, runtime = recording()
    a, b = made.stream(steps=2, prompt="a"), made.stream(steps=2, prompt="b")
    alone = plain(made, steps=2, prompt="a")
    mixed: list[Frame] = []
    for frame, other in zip(frames(10), frames(10, seed=9), strict=True):
        mixed += a.push(frame)
        b.push(other)
    assert same(mixed, run(alone, frames(10)))
    assert runtime.graphs.recorded == 2


def test_closing_and_a_new_size_give_its_memory_back() -> None:
    made, _ = recording()
    stream = made.stream(steps=3)
    run(stream, frames(8))
    for end in (lambda: (stream.update(width=72), run(stream, frames(1))), stream.close):
        step = weakref.ref(stream._fusing._step)
        assert step() is not None
        end()
        gc.collect()
        assert step() is None
        if stream._conditioning:
            run(stream, frames(8))


def test_only_what_can_record_is_asked_to() -> None:
    assert isinstance(RecordingRuntime(), Recorder)
    assert not isinstance(TorchRuntime("cpu"), Recorder)
    stream = toy().stream()
    run(stream, frames(6))
    assert stream._fusing._step is None
