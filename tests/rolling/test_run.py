"""``streamdiff run --mode rolling``: a video file through the windowed mode, and what is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamdiff import Frame, LiveStream
from streamdiff.rolling import RollingConfig, RollingStream
from tests.apps.media import decoded, video
from tests.rolling.toys import PictureVae, toy_model

SMALL = ("--mode", "rolling", "--width", "64", "--height", "64", "--prompt", "a lake at dawn")


@pytest.mark.parametrize("level", [2, 4])
def test_a_video_keeps_its_frames_and_times(folder: Path, tmp_path: Path, level: int, command: Any) -> None:
    times = [40 * i for i in range(31)]  # no whole number of blocks
    source, output = video(tmp_path / "in.mp4", 31, times=times), tmp_path / "out.mkv"
    done = command("run", source, "-o", output, "--rolling-model", folder, "--level", level, *SMALL)
    assert done.code == 0, done.err
    assert "31 frames, 64x64" in done.out and "engine: " in done.out
    found = decoded(output)
    assert [time for time, _ in found] == pytest.approx([t / 1000 for t in times], abs=0.002)
    assert min(pixels.std() for _, pixels in found) > 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--strength", "0.5"), "strength is nothing that --mode rolling knows"),
        (("--lora", "a:1"), "lora is nothing"),
        (("--level", "9"), "level = 9"),
        (("--width", "72"), "multiple of 16"),
        (("--precision", "int8"), "the rolling mode has fp32"),
        (("--checkpoint", "none.pt"), "none.pt"),
    ],
)
def test_what_is_refused_in_one_line(
    folder: Path, tmp_path: Path, options: tuple[str, ...], says: str, command: Any
) -> None:
    source = video(tmp_path / "in.mp4", 5)
    command("run", source, "-o", tmp_path / "out.mp4", "--rolling-model", folder, *SMALL, *options).refused(says)
    assert not (tmp_path / "out.mp4").exists()


def test_the_modes_keep_to_their_own_options(tmp_path: Path, command: Any) -> None:
    source = video(tmp_path / "in.mp4", 5)
    for words, says in (
        (("--level", "2"), "--level is for --mode rolling"),
        (("--mode", "rolling", "--checkpoint", "x.pt"), "that is for Wan2.1"),
        (("--mode", "rolling", "--rolling-model", str(tmp_path / "none")), "is not a folder"),
    ):
        command("run", source, "-o", tmp_path / "out.mp4", *words).refused(says)


def test_a_file_for_both_modes(folder: Path, tmp_path: Path, command: Any) -> None:
    source, config = video(tmp_path / "in.mp4", 12), tmp_path / "both.toml"
    config.write_text(
        f'mode = "rolling"\nrolling-model = "{folder}"\nmodel = "tiny"\nstrength = 0.6\nprompt = "a lake"\n'
        'width = 64\nheight = 64\nprecision = "int8"\n'  # of the picture stream's engine
    )
    done = command("run", source, "-o", tmp_path / "out.mp4", "--config", config)
    assert done.code == 0 and "12 frames, 64x64" in done.out, done.err
    config.write_text('mode = "both"')
    command("run", source, "-o", tmp_path / "out.mp4", "--config", config).refused("mode = 'both'")
    timeline = tmp_path / "timeline.toml"
    timeline.write_text('[[point]]\nat = 0\nmode = "rolling"\n')
    command("run", source, "-o", tmp_path / "out.mp4", "--timeline", timeline).refused("a file is made in one mode")


async def test_the_live_queue_runs_it_too() -> None:
    stream = RollingStream(toy_model(PictureVae()), RollingConfig(prompt="a", width=64, height=64, level=3))
    random = np.random.default_rng(0)
    got: list[Any] = []
    async with LiveStream(stream, "lossless") as live:

        async def feed() -> None:
            for i in range(20):
                await live.put(Frame(random.integers(0, 256, (64, 64, 3), np.uint8), pts=i / 16, tag=i))
                if i == 10:
                    live.update(prompt="b")
            live.end()

        feeding = asyncio.create_task(feed())
        async for frame in live:
            got.append(frame.tag)
        await feeding
        assert live.config.prompt == "b" and live.metrics.frames_out == 20
    assert got == list(range(20))
    stream.close()
