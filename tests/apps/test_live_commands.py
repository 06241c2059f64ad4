"""``streamdiff live`` and its short forms, as people start them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest

from apps.sources.file import FileSource
from streamdiff.models.load import TINY
from tests.apps.media import turned, video
from tests.apps.sources.clip import encode, flash_and_beep, pieces

pytestmark = pytest.mark.alone
needs_model = pytest.mark.skipif(
    not (TINY / "model_index.json").is_file(), reason="the embedded model's weights are not there"
)
SMALL = ("--width", "64", "--height", "64", "--prompt", "pencil sketch")


def streamdiff(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return subprocess.run([sys.executable, "-m", "apps.cli.main", *map(str, words)], capture_output=True, text=True,
                          timeout=120, env={**kept, **environment})  # fmt: skip


def pictures_in(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0)]


@needs_model
def test_a_file_as_fast_as_it_goes_loses_nothing(tmp_path: Path) -> None:
    source = video(tmp_path / "in.mp4", 30, times=[40 * i for i in range(30)])
    done = streamdiff("live", "-i", f"{source}?pace=fast", "-o", tmp_path / "out.mkv", "-o", "null", *SMALL)
    assert done.returncode == 0, done.stderr
    assert pictures_in(tmp_path / "out.mkv") == pytest.approx([i / 25 for i in range(30)], abs=0.002)
    assert "30 pictures read" in done.stdout and done.stdout.count("30 delivered, 0 overtaken, 0 lost") == 2


@needs_model
def test_the_output_has_the_shape_of_what_is_seen(tmp_path: Path) -> None:
    """A phone's film stands upright, and so does what becomes of it."""
    source = turned(video(tmp_path / "in.mp4", 5))
    done = streamdiff("live", "-i", f"{source}?pace=fast", "-o", tmp_path / "out.mkv", "--width", "96")
    assert done.returncode == 0, done.stderr
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert [(f.width, f.height) for f in container.decode(video=0)] == [(96, 128)] * 5


@needs_model
def test_sound_is_with_its_picture_in_the_recorded_file(tmp_path: Path) -> None:
    source, output = tmp_path / "in.mp4", tmp_path / "out.mp4"
    encode(str(source), "mp4")
    look = ("--width", "64", "--height", "64", "--prompt", "photo", "--strength", "0.1")
    done = streamdiff("live", "-i", f"{source}?loop=1", "-o", output, "--seconds", "7", "--plain", *look)
    assert done.returncode == 0, done.stderr
    recorded = FileSource(output, paced=False)
    flashes, beeps = flash_and_beep(*pieces(recorded, 10_000))
    recorded.close()
    assert len(flashes) >= 2 and len(beeps) >= 3  # a busy machine may overtake a flash, never a beep
    assert max(min(abs(flash - beep) for beep in beeps) for flash in flashes) <= 0.04


@needs_model
def test_the_pattern_for_a_second(tmp_path: Path) -> None:
    done = streamdiff("live", "-i", "pattern?size=96x64", "-o", tmp_path / "out.mp4", "--seconds", "1", *SMALL)
    assert done.returncode == 0, done.stderr
    assert len(pictures_in(tmp_path / "out.mp4")) >= 3


@needs_model
@pytest.mark.skipif(sys.platform == "win32", reason="signals are of another kind there")
def test_stopped_in_the_middle_the_file_is_complete(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "apps.cli.main", "live", "-i", "pattern", "-o", str(tmp_path / "out.mp4"), *SMALL]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(1.0)
    process.terminate()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + 15 and "Traceback" not in errors
    assert len(pictures_in(tmp_path / "out.mp4")) >= 3


@needs_model
@pytest.mark.skipif(sys.platform == "win32", reason="signals are of another kind there")
def test_ctrl_c_is_how_it_ends_and_the_summary_follows(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "apps.cli.main", "live", "-i", "pattern", "-o", str(tmp_path / "out.mp4"), *SMALL]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and "Ctrl-C" in process.stdout.readline()
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    told, errors = process.communicate(timeout=30)
    assert process.returncode == 0 and not errors and "out.mp4: " in told and "delivered" in told
    assert len(pictures_in(tmp_path / "out.mp4")) >= 3


@needs_model
def test_a_window_and_a_file_at_once(display: str, tmp_path: Path) -> None:
    words = ("live", "-i", "pattern", "-o", "window", "-o", tmp_path / "out.mkv", "--seconds", "2", *SMALL)
    done = streamdiff(*words, DISPLAY=display)
    assert done.returncode == 0, done.stderr
    shown = re.search(r"window: (\d+) delivered", done.stdout)
    assert shown is not None and int(shown[1]) >= 3 and len(pictures_in(tmp_path / "out.mkv")) >= 3


def test_the_list_names_every_kind() -> None:
    done = streamdiff("live", "--list")
    assert done.returncode == 0
    for kind in ("camera", "screen", "rtsp://", "pattern", "window", "virtual-camera", "null", "on this machine"):
        assert kind in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("live", "-i", "nothing.mp4"), "no such file"),
        (("live", "-i", "pattern", "-o", "a.avi"), "ends in .mp4"),
        (("live", "-i", "pattern", "-o", "window", "-o", "window"), "one window"),
        (("live", "-i", "pattern", "-o", "null", "--strength", "7"), "strength"),
        (("webcam", "-i", "camera?speed=1"), "unknown option"),
    ],
)
def test_what_cannot_work_is_one_line(words: tuple[str, ...], says: str) -> None:
    done = streamdiff(*words)
    assert done.returncode in (1, 2) and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert says in line


@needs_model
@pytest.mark.skipif(Path("/dev/video0").exists(), reason="there is a camera here")
@pytest.mark.parametrize(("words", "says"), [(("webcam",), "camera 0"), (("virtual-camera", "-i", "pattern"), "OBS")])
def test_no_device_is_one_line(words: tuple[str, ...], says: str) -> None:
    if words[0] == "virtual-camera" and sys.platform == "linux":
        says = "v4l2loopback"
    done = streamdiff(*words, *SMALL)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("streamdiff: error: ") and says in done.stderr.splitlines()[-1]
