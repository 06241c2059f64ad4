"""Feature reuse: the whole UNet every N-th time, and whenever the kept features are another scene's or prompt's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from streamdiff import ConfigError, Frame, Stream
from streamdiff.feature_reuse import ReusingUnet
from tests.toy import Toy, frames, picture, toy


class Counted:
    """An engine that writes down its calls."""

    def __init__(self, calls: list[str], name: str, channels: int) -> None:
        self.calls, self.name, self.channels = calls, name, channels

    def __call__(self, x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        self.calls.append(self.name)
        deep = rest[1] if len(rest) > 1 else x.mean(1, keepdim=True).expand(-1, 2, -1, -1)
        prediction = x[:, :1] * 2 + deep[:, :1] * 3
        return torch.cat([prediction, deep], 1) if self.channels > 1 else prediction


def reusing(every: int, slots: int = 1) -> tuple[ReusingUnet, list[str]]:
    calls: list[str] = []
    return ReusingUnet(Counted(calls, "whole", 3), Counted(calls, "shallow", 1), 1, every, slots), calls


ROW = torch.zeros(1, 5)


@pytest.mark.parametrize("every", [2, 3, 5])
def test_the_whole_unet_runs_every_nth_time(every: int) -> None:
    unet, calls = reusing(every)
    for i in range(3 * every):
        x = torch.full((1, 1, 2, 2), float(i))
        kept = float(i - i % every)
        torch.testing.assert_close(unet(x, ROW), 2 * x + 3 * kept)
    assert calls == (["whole"] + ["shallow"] * (every - 1)) * 3


def test_other_conditioning_renews() -> None:
    unet, calls = reusing(8)
    x = torch.zeros(1, 1, 2, 2)
    for row in (ROW, ROW, ROW.clone(), ROW, ROW):
        unet(x, row)
    assert calls == ["whole", "shallow", "whole", "whole", "shallow"]


@pytest.mark.parametrize("slots", [1, 3])
def test_another_scene_renews_until_it_has_gone_through(slots: int) -> None:
    unet, calls = reusing(8, slots)
    dark, light = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 90, np.uint8)
    for pixels in [dark] * 3 + [light] * 5:
        unet.look(pixels)
        unet(torch.zeros(1, 1, 2, 2), ROW)
    assert calls == ["whole", "shallow", "shallow"] + ["whole"] * slots + ["shallow"] * (5 - slots)


def test_a_slow_change_is_not_another_scene() -> None:
    unet, calls = reusing(4)
    for i in range(8):
        unet.look(np.full((64, 64, 3), 2 * i, np.uint8))
        unet(torch.zeros(1, 1, 2, 2), ROW)
    assert calls == ["whole", "shallow", "shallow", "shallow"] * 2


def run(stream: Stream, given: list[Frame]) -> list[np.ndarray]:
    out = [frame for item in given for frame in stream.push(item)] + stream.flush()
    assert [frame.index for frame in out] == [frame.index for frame in given]
    return [frame.pixels for frame in out]


def still(made: Toy, steps: int, **settings: object) -> list[np.ndarray]:
    given = [Frame(picture(1), index=i) for i in range(8)]
    return run(made.stream(steps=steps, prompt="x", **settings), given)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_still_scene_looks_the_same(steps: int) -> None:
    """Equal frames have equal deep features: what is reused is what would be computed."""
    made = toy()
    for a, b in zip(still(made, steps), still(made, steps, reuse_every=3), strict=True):
        assert np.abs(a.astype(int) - b).max() <= 1


@pytest.mark.parametrize("steps", [1, 3])
def test_another_seed_is_never_mixed_with_the_old_one(steps: int) -> None:
    made, given = toy(), [Frame(picture(1), index=i) for i in range(16)]
    outs = []
    for start in (0, 5):
        stream = made.stream(steps=steps, prompt="x", reuse_every=4, seed=start)
        out: list[Frame] = []
        for i, frame in enumerate(given):
            if i == 6:
                stream.update(seed=5)
            out += stream.push(frame)
        outs.append(out + stream.flush())
    before, after = ([frame.pixels.astype(int) for frame in out] for out in outs)
    assert np.abs(before[5] - after[5]).max() > 1
    assert all(np.abs(a - b).max() <= 1 for a, b in zip(before[6:], after[6:], strict=True))


def test_it_saves_calls_and_loses_no_frame() -> None:
    made = toy()
    still(made, 1, reuse_every=2)
    whole = len(made.unet.calls)
    made.unet.calls.clear()
    still(made, 1)
    assert whole == len(made.unet.calls) // 2


def test_it_can_be_changed_while_running() -> None:
    stream = toy().stream(steps=2)
    given = frames(12)
    out: list[Frame] = []
    for i, frame in enumerate(given):
        if i in (3, 6, 9):
            stream.update(reuse_every={3: 2, 6: 4, 9: 1}[i])
        out += stream.push(frame)
    out += stream.flush()
    assert [frame.index for frame in out] == list(range(12))


def test_a_unet_of_one_level_says_so() -> None:
    made = toy()
    object.__setattr__(made.model, "deep_channels", 0)
    with pytest.raises(ConfigError, match="one level"):
        made.stream(reuse_every=2)
