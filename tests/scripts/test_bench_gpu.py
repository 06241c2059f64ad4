"""The GPU benchmark, tried at toy size on the CPU; its shapes, and what it says of what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engines import EngineError, choose
from scripts.bench_gpu import measures
from scripts.bench_gpu.__main__ import main
from scripts.bench_gpu.card import Energy, NotMeasured, file_name, peak_flops
from scripts.bench_gpu.models import SHAPES, TOYS, RandomModel
from scripts.bench_gpu.report import GOALS, Report
from streamdiff import Frame, Stream, StreamConfig
from tests.test_fused_step import RecordingRuntime
from tests.toy import picture

CPU = torch.device("cpu")


def test_the_whole_of_it_at_toy_size(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "toy.json"
    main(toy=True, output=path, engine=None, device="cpu")
    report = json.loads(path.read_text())
    assert report["device"] and report["peak_tflops"] > 0 and report["goals"] == []
    (model,) = report["models"].values()
    assert set(model["engines"]) == {"torch"}
    found = model["engines"]["torch"]
    assert set(found["steps"]) == set(found["one_by_one"]) == set(found["share_of_peak"]) == {"1", "4"}
    assert (
        set(found["guidance"]) == {"none", "full", "self", "onetime"} and found["guidance"]["full"]["times_full"] == 1
    )
    assert found["sequential"]["4"]["stream_batch_ratio"] > 0
    assert found["diffusers"]["pipeline"] == "StableDiffusionImg2ImgPipeline" and found["diffusers"]["1"]["ratio"] > 0
    still = found["still_footage"]
    assert still["without"]["computed"] == still["without"]["frames"] > still["with"]["computed"]
    missing = {item["what"]: item["why"] for item in report["not_measured"]}
    assert {"cuda", "tensorrt", "tensorrt-rtx", "toy on torch: energy"} <= set(missing) and all(missing.values())
    assert list(path.parent.iterdir()) == [path]


def test_a_cpu_is_measured_as_a_trial_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Exception, match="--toy"):
        main(toy=False, output=None, engine=None, device=None)


@pytest.mark.parametrize(("name", "parameters"), [("sd-turbo", 865_910_724), ("sd-1.5", 859_520_964)])
def test_the_shapes_are_the_published_ones(name: str, parameters: int) -> None:
    """Counts of the published UNets: 401 G multiplications in one call, of which the prompt's keys are left out."""
    random = RandomModel(next(shape for shape in SHAPES if shape.name == name))
    assert random.parameters == parameters
    flops = random.flops()
    assert 0.79e12 < flops["unet"] < 0.803e12
    assert 0 < flops["encoder"] < flops["unet"] and 0 < flops["decoder"] < flops["unet"]


def test_operations_grow_with_the_picture() -> None:
    """Twice the side is four times the operations of a convolution."""
    small, large = (RandomModel(replace(TOYS[0], size=size)).flops() for size in (64, 128))
    assert large["decoder"] == 4 * small["decoder"] and large["encoder"] == 4 * small["encoder"]


@pytest.mark.parametrize("make", [lambda: choose("torch", "cpu"), RecordingRuntime])
def test_sequential_gives_what_the_stream_gives(make: Callable[[], RecordingRuntime]) -> None:
    size = {"width": 64, "height": 64}
    with Stream(RandomModel(TOYS[0]).model(), make(), StreamConfig.make(**size, steps=3, prompt="x")) as stream:
        step = measures._sequential_step(stream, 3)
        for i in range(3):
            want = stream.push(Frame(picture(i))) + stream.flush()
            got = step([picture(i)])
            assert got.shape == (1, 64, 64, 3) and got.dtype == np.uint8
            assert int(np.abs(got[0].astype(int) - want[0].pixels).max()) <= 1


def test_one_by_one_records_nothing_and_shares_the_engines() -> None:
    runtime = RecordingRuntime()
    size = {"width": 64, "height": 64}
    with Stream(RandomModel(TOYS[0]).model(), runtime, StreamConfig.make(**size)) as stream:
        pictures = [picture(0)]
        assert measures.one_by_one(stream, pictures, 3, steps=2).median > 0
        assert runtime.graphs.recorded == 0
        measures.frames_per_second(stream, pictures, 3, steps=2)
        assert runtime.graphs.recorded == 1


def test_what_fails_is_written_down_and_the_rest_goes_on(tmp_path: Path) -> None:
    report = Report(CPU, tmp_path / "report.json", toy=True)
    for error in (EngineError("no\nmore"), NotMeasured("why"), torch.OutOfMemoryError("full"), RuntimeError("a\nb")):
        with report.part("this"):
            raise error
    with pytest.raises(ZeroDivisionError), report.part("that"):
        _ = 1 / 0
    assert json.loads((tmp_path / "report.json").read_text())["not_measured"] == [
        {"what": "this", "why": why} for why in ("no", "why", "full", "RuntimeError: a")
    ]


def test_goals_are_met_missed_or_unknown() -> None:
    report = Report(CPU, None, toy=False)
    report.data["models"] = {
        "sd-turbo": {"engines": {"cuda": {"steps": {"1": {"fps": 160.0}}, "diffusers": {"1": {"ratio": 9.0}}}}}
    }
    report.judge()
    assert [goal["met"] for goal in report.data["goals"]] == [True, False, None, None] and len(GOALS) == 4


def test_a_cpu_has_no_counter_of_energy() -> None:
    with pytest.raises(NotMeasured, match="NVIDIA"):
        Energy(CPU)


def test_the_device_names_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100 80GB HBM3")
    assert file_name(torch.device("cuda")) == "nvidia-h100-80gb-hbm3"
    assert peak_flops(CPU, 64, repeats=3) > 0
