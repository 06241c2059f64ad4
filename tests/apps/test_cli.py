"""The program on the worst days of a machine, in processes of its own; and what it prints."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from apps.cli.console import print_line
from apps.media import open_writer
from streamdiff import Frame
from streamdiff.models.load import TINY
from tests.apps.media import video

needs_model = pytest.mark.skipif(
    not (TINY / "model_index.json").is_file(), reason="the embedded model's weights are not there"
)
SMALL = ["--width", "64", "--height", "64"]

# Limits the size of files, as a disk does that is full; the engines are in the cache before.
LIMITED = """
import resource, runpy, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, 4_000))
sys.argv[0] = "streamdiff"
runpy.run_module("apps.cli.main", run_name="__main__")
"""


def noise_film(path: Path) -> Path:
    random = np.random.default_rng(0)
    with open_writer(path, 64, 64) as writer:
        for index in range(40):
            writer.write(Frame(random.integers(0, 255, (64, 64, 3), dtype=np.uint8), pts=index / 30))
        writer.finish()
    return path


@needs_model
@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_in_the_middle_of_a_run(tmp_path: Path) -> None:
    source, output = noise_film(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    words = ["run", str(source), "-o", str(output), "--prompt", "neon", *SMALL]
    subprocess.run([sys.executable, "-m", "apps.cli.main", *words], check=True, capture_output=True, timeout=120)
    assert output.stat().st_size > 4_000
    output.write_bytes(b"an older film")
    done = subprocess.run([sys.executable, "-c", LIMITED, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("streamdiff: error: ") and "cannot be written" in line
    assert output.read_bytes() == b"an older film"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


@needs_model
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the cache lies elsewhere there")
def test_the_first_run_on_a_machine_is_silent_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "apps.cli.main", "run", str(video(tmp_path / "in.mp4", 3)), "-o",
         str(tmp_path / "out.mp4"), "--prompt", "neon", *SMALL],
        capture_output=True, text=True, timeout=240, env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "missing.mp4", "-o", "out.mp4"], "there is no such file"),
        (["run", "text.mp4", "-o", "out.mp4"], "not a picture or video"),
        (["run", "film.mp4", "-o", "film.mp4"], "the output is the input"),
        (["run", "film.mp4", "-o", "out.gif"], "not supported"),
        (["run", "film.mp4", "-o", "none/out.mp4"], "does not exist"),
        (["run", "film.mp4", "-o", "out.mp4", "--config", "."], "Is a directory"),
    ],
)
def test_real_processes_refuse_in_one_line(tmp_path: Path, words: list[str], says: str) -> None:
    (tmp_path / "text.mp4").write_text("words\n" * 99)
    before = video(tmp_path / "film.mp4", 3).read_bytes()
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "apps.cli.main", *words],
        capture_output=True, text=True, timeout=60, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and says in done.stderr and "Traceback" not in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["film.mp4", "text.mp4"]
    assert (tmp_path / "film.mp4").read_bytes() == before


@pytest.mark.parametrize(("words", "says"), [(["--input", "missing.mp4"], "no such file"), (["--steps", "0"], "steps")])
def test_the_demo_refuses_in_one_line(tmp_path: Path, words: list[str], says: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "apps.demo", "--out-dir", str(tmp_path), *words],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and says in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_line_is_a_line_and_a_name_keeps_its_spaces() -> None:
    screen = io.StringIO()
    print_line("my  film.mp4:\n  cannot be read \x1b[31m", screen)
    assert screen.getvalue() == "my  film.mp4: cannot be read \\x1b[31m\n"
