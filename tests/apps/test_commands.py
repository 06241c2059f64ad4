"""The command line as people use it: real files, the real model, real processes; one line for what is wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from streamdiff.models.load import TINY
from tests.apps.media import decoded, frame, packets, video
from tests.commands import Result

pytestmark = pytest.mark.skipif(
    not (TINY / "model_index.json").is_file(), reason="the embedded model's weights are not there"
)

SMALL = ["--width", "64", "--height", "64"]


def process(*words: object, **options: Any) -> Result:
    done = subprocess.run(
        [sys.executable, "-m", "apps.cli.main", *map(str, words)],
        capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, **options,
    )  # fmt: skip
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "in.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (70, 90, 3), dtype=np.uint8)).save(path)
    return path


def test_a_timeline_in_a_file_runs_on_the_files_own_time(command: Any, tmp_path: Path) -> None:
    source, output = video(tmp_path / "in.mp4", 20), tmp_path / "out.mkv"
    line = tmp_path / "line.toml"
    line.write_text("[[point]]\nat = 0\nprompt = 'photo'\n[[point]]\nat = 0.4\nprompt = 'blueprint'\n")
    command("run", source, "-o", output, "--timeline", line, *SMALL)
    found = decoded(output)
    blue = [float(pixels[..., 2].mean() - pixels[..., 0].mean()) for _, pixels in found]
    before = [b for (t, _), b in zip(found, blue, strict=True) if t < 0.38]
    after = [b for (t, _), b in zip(found, blue, strict=True) if t > 0.42]
    assert len(before) > 5 and len(after) > 5 and min(after) > max(before) + 30
    line.write_text("loop = 1")
    command("run", source, "-o", output, "--timeline", line, *SMALL).refused("no [[point]]")


def test_a_video_keeps_its_frames_times_and_sound(command: Any, tmp_path: Path) -> None:
    source, output = video(tmp_path / "in.mp4", 30, sound=True), tmp_path / "out.mp4"
    result = command("run", source, "-o", output, "--prompt", "neon", *SMALL)
    assert result.code == 0, result.err
    assert "30 frames" in result.out and "sound: copied" in result.out and "engine:" in result.out
    got = decoded(output)
    assert np.allclose([t for t, _ in got], [t for t, _ in decoded(source)], atol=1e-3)
    assert got[0][1].shape == (64, 64, 3)
    assert [p for p, _ in packets(output)] == [p for p, _ in packets(source)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_several_steps_lose_no_frame(command: Any, tmp_path: Path) -> None:
    source, output = video(tmp_path / "in.mp4", 11), tmp_path / "out.mkv"
    result = command(
        "run", source, "-o", output, "--prompt", "neon", "--steps", 3, "--guidance", "onetime", "--guidance-scale", 1.4,
        "--negative-prompt", "photo", "--frame-buffer-size", 2, "--delta", 0.8, "--seed", 5, *SMALL,
    )  # fmt: skip
    assert result.code == 0, result.err
    assert len(decoded(output)) == 11


def test_a_still_scene_is_repeated(command: Any, tmp_path: Path) -> None:
    import av

    source, output = tmp_path / "in.mkv", tmp_path / "out.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame(5), format="rgb24")))
        container.mux(stream.encode(None))
    result = command(
        "run", source, "-o", output, "--prompt", "neon", "--similarity-threshold", 0.5, "--max-skip", 100, *SMALL
    )
    assert result.code == 0, result.err
    assert "repeated by the similarity filter: 19" in result.out
    assert len(decoded(output)) == 20


def test_a_picture(command: Any, picture: Path, tmp_path: Path) -> None:
    result = command("run", picture, "-o", tmp_path / "out.png", "--prompt", "pencil sketch", *SMALL)
    assert result.code == 0 and result.err == ""
    assert np.asarray(Image.open(tmp_path / "out.png")).shape == (64, 64, 3)


def test_the_size_follows_the_input(command: Any, tmp_path: Path) -> None:
    from apps.sizes import fit_size

    assert fit_size((1920, 1080), 256 * 256) == (344, 192)
    assert fit_size((1080, 1920), 256 * 256) == (192, 344)
    assert fit_size((1, 1), 256 * 256) == (256, 256)
    assert fit_size((1920, 1080), 256 * 256, width=128) == (128, 72)
    assert fit_size((10_000, 1), 256 * 256) == (1024, 64)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--strength", "nan"], "strength"), (["--strength", "1.5"], "less than or equal to 1"),
        (["--steps", "0"], "steps"), (["--guidance-scale", "inf"], "guidance_scale"), (["--seed", "-1"], "seed"),
        (["--width", "100"], "multiple of 8"), (["--similarity-threshold", "1"], "similarity_threshold"),
        (["--timesteps", "a,b"], "whole numbers"), (["--timesteps", "1,5"], "smaller than the one before"),
        (["--engine", "tensorflow"], "unknown engine"), (["--device", "toaster"], "unknown device"),
        (["--model", "no/such/model/here"], "is not there"), (["--model", "some-owner/some-model"], "--model tiny"),
        (["--lora", "none.safetensors:1"], "is not there"), (["--vae", "nowhere"], "not a folder"),
        (["--config", "none.toml"], "there is no such file"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_in_one_line(
    command: Any, picture: Path, tmp_path: Path, options: list[str], says: str
) -> None:
    command("run", picture, "-o", tmp_path / "out.png", *options).refused(says)
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(("options", "says"), [(["--guidance", "much"], "guidance"), (["--nonsense"], "nonsense")])
def test_wrong_usage(command: Any, picture: Path, tmp_path: Path, options: list[str], says: str) -> None:
    command("run", picture, "-o", tmp_path / "out.png", *options).refused(says, code=2)


def test_a_lora_that_matches_nothing(command: Any, picture: Path, tmp_path: Path) -> None:
    from tests.models.toys import make_foreign_lora

    lora = make_foreign_lora(tmp_path / "foreign.safetensors")
    command("run", picture, "-o", tmp_path / "out.png", "--lora", f"{lora}:0.8").refused("does not fit this model")


def test_guidance_without_a_scale_is_told(command: Any, picture: Path, tmp_path: Path) -> None:
    words = ("run", picture, "-o", tmp_path / "out.png", "--prompt", "neon", "--width", "64", "--height", "64")
    told = command(*words, "--guidance", "full")
    assert told.code == 0 and "guidance full has no effect at a scale of 1; try --guidance-scale 2" in told.err
    assert "guidance" not in command(*words, "--guidance", "full", "--guidance-scale", "1.5").err


def test_prompts_it_does_not_know(command: Any, picture: Path, tmp_path: Path) -> None:
    result = command("run", picture, "-o", tmp_path / "out.png", "--prompt", "watercolr", *SMALL)
    assert result.code == 0 and "'watercolor'" in result.err and len(result.err.splitlines()) == 1
    result = command("run", picture, "-o", tmp_path / "out.png", "--prompt", "neon " * 2_000, *SMALL)
    assert result.code == 0 and "10000 characters" in result.err
    result = command("run", picture, "-o", tmp_path / "out.png", *SMALL)
    assert result.code == 0 and "no prompt was given" in result.err


def test_a_configuration_file(command: Any, picture: Path, tmp_path: Path) -> None:
    config = tmp_path / "my.toml"
    config.write_text('prompt = "neon"\nwidth = 64\nheight = 64\nengine = "openvino"\nlora = []\n')
    result = command("run", picture, "-o", tmp_path / "a.png", "--config", config)
    assert result.code == 0, result.err
    command("run", picture, "-o", tmp_path / "b.png", "--prompt", "neon", *SMALL)
    command("run", picture, "-o", tmp_path / "c.png", "--config", config, "--prompt", "pencil sketch")
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c
    for text, says in [
        ("strenght = 0.5", "unknown setting 'strenght'"),
        ("strength = 7", "strength"),
        ("a = [", "TOML"),
    ]:
        config.write_text(text)
        command("run", picture, "-o", tmp_path / "d.png", "--config", config).refused(says)


@pytest.mark.parametrize("name", ["empty.mp4", "text.mp4", "none.mp4", "cut.mp4"])
def test_inputs_that_cannot_be_read(command: Any, tmp_path: Path, name: str) -> None:
    source = tmp_path / name
    if name == "cut.mp4":
        source.write_bytes(video(tmp_path / "whole.mp4").read_bytes()[:700])
    elif name != "none.mp4":
        source.write_text("" if name == "empty.mp4" else "words " * 99)
    command("run", source, "-o", tmp_path / "out.mp4").refused(name)
    assert not (tmp_path / "out.mp4").exists()


def test_a_failing_run_leaves_the_old_output(command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamdiff import Stream

    source, output = video(tmp_path / "in.mp4", 20), tmp_path / "out.mp4"
    output.write_bytes(b"an older film")
    push = Stream.push

    def fails(self: Stream, given: Any) -> Any:
        if given.index == 7:
            raise RuntimeError("the model broke")
        return push(self, given)

    monkeypatch.setattr(Stream, "push", fails)
    command("run", source, "-o", output, "--prompt", "neon", *SMALL).refused("the model broke")
    assert output.read_bytes() == b"an older film"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_styles(command: Any, picture: Path, tmp_path: Path) -> None:
    listed = command("styles")
    assert listed.code == 0
    for prompt in (
        "pencil sketch",
        "oil painting",
        "watercolor",
        "comic book",
        "van gogh",
        "ukiyo-e",
        "pixel art",
        "neon",
        "at night",
    ):
        assert prompt in listed.out
    drawn = command("styles", "--image", picture, "-o", tmp_path / "sheet.png", *SMALL)
    assert drawn.code == 0, drawn.err
    assert np.asarray(Image.open(tmp_path / "sheet.png")).std() > 20
    command("styles", "--image", picture).refused("-o styles.png")


def test_doctor(command: Any) -> None:
    said = command("doctor")
    assert said.code == 0 and "openvino" in said.out and said.out.splitlines()[-1] == "ready"
    told = json.loads(command("doctor", "--json").out)
    assert told["usable"] and told["cores"] >= 1 and told["model"]["ok"]
    assert command("doctor", "--engine", "tensorflow").code == 1


def test_bench_measures(command: Any) -> None:
    result = command("bench", "--size", "64x64", "--frames", "5", "--json", "--no-baseline")
    assert result.code == 0, result.err
    told = json.loads(result.out)
    assert set(told["steps"]) == {"1", "2", "4"}
    assert all(told["parts"][part]["median_ms"] > 0 for part in ("encode", "unet", "decode"))
    assert told["machine"]["engine"].startswith("openvino") and told["start_to_first_frame_s"] > 0
    command("bench", "--size", "wide").refused("such as 256x256")


# In processes of their own.


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from apps.cli.failures import guarded; from apps.cli.main import app; "
        "guarded(lambda: app(['run', '--help'], standalone_mode=False)); "
        "print([m for m in ('torch', 'av', 'cv2', 'openvino') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "--strength" in done.stdout


def test_version() -> None:
    from streamdiff import __version__

    assert process("--version").out.split() == ["streamdiff", __version__]


def test_an_error_is_one_line_in_a_real_process(tmp_path: Path) -> None:
    process("run", tmp_path / "none.mp4", "-o", tmp_path / "out.mp4").refused("no such file")


@pytest.mark.skipif(sys.platform == "win32", reason="signals are others there")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_in_the_middle_leaves_nothing(tmp_path: Path, number: signal.Signals, code: int) -> None:
    source, output = video(tmp_path / "in.mkv", 900, size=(96, 96)), tmp_path / "out.mp4"
    words = [sys.executable, "-m", "apps.cli.main", "run", source, "-o", output, "--prompt", "neon", *SMALL]
    child = subprocess.Popen([str(w) for w in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out.mp4.*")) and time.monotonic() < deadline:
        time.sleep(0.05)  # until it writes
    child.send_signal(number)
    _, err = child.communicate(timeout=60)
    assert child.returncode == code
    assert len(err.splitlines()) == 1 and "Traceback" not in err
    assert [p.name for p in tmp_path.iterdir()] == ["in.mkv"]


def test_the_demo(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "apps.demo", "--input", str(video(tmp_path / "in.mp4", 20, size=(64, 64))), "--out-dir",
         str(tmp_path / "out"), "--every", "0.3", "--prompt", "neon", "--prompt", "pencil sketch"],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(decoded(tmp_path / "out" / "demo.mp4")) == 20
    assert Image.open(tmp_path / "out" / "demo.png").size[0] > 64
    assert "frames per second" in done.stdout
