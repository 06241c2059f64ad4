"""A picture and a folder of pictures as a source."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from apps.sources.pictures import Slides
from apps.sources.uri import source_from
from streamdiff.errors import ConfigError, MediaError
from streamdiff.frame import Frame


def picture(path: Path, level: int, size: tuple[int, int] = (40, 30)) -> Path:
    cv2.imwrite(str(path), np.full((size[1], size[0], 3), level, np.uint8))
    return path


def levels(slides: Slides, count: int) -> list[int]:
    frames = [slides.read() for _ in range(count)]
    assert all(isinstance(f, Frame) for f in frames)
    return [int(f.pixels[0, 0, 0]) for f in frames if f is not None]


def test_a_folder_in_order_again_and_again_with_what_was_added(tmp_path: Path) -> None:
    picture(tmp_path / "b.png", 20)
    picture(tmp_path / "a.PNG", 10, (60, 20))
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("x")
    slides = Slides(tmp_path, seconds=0.02, rate=100)
    assert (slides.width, slides.height) == (60, 20)
    assert levels(slides, 4) == [10, 10, 20, 20]
    picture(tmp_path / "c.png", 30)
    assert levels(slides, 6) == [10, 10, 20, 20, 30, 30]
    assert (slides.width, slides.height) == (40, 30)
    slides.close()
    assert slides.read() is None


def test_one_picture_and_an_end(tmp_path: Path) -> None:
    slides = Slides(picture(tmp_path / "a.png", 10), seconds=0.03, rate=100, loop=False)
    frames = [slides.read() for _ in range(4)]
    assert [f is None for f in frames] == [False, False, False, True]
    assert [f.pts for f in frames[:3] if f] == pytest.approx([0, 0.01, 0.02])


def test_pictures_that_are_gone_leave_the_last(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", 10)
    slides = Slides(tmp_path, seconds=0.01, rate=100)
    assert levels(slides, 1) == [10]
    path.unlink()
    assert levels(slides, 3) == [10, 10, 10]


def test_as_uris(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 10)
    opened = source_from(f"{tmp_path}?seconds=2&loop=0")()
    assert opened.rate == 30 and opened.read() is not None
    opened.close()
    for options, told in (("seconds=x", "seconds=x must be a number"), ("pace=fast", "pace is for videos")):
        with pytest.raises(ConfigError, match=told):
            source_from(f"{tmp_path}?{options}")
    with pytest.raises(MediaError, match="no such file"):
        source_from(str(tmp_path / "none.png"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match="no pictures"):
        source_from(str(tmp_path / "empty"))()
