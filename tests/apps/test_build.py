"""``streamdiff build`` and ``streamdiff engines``, as a user runs them, on a small model."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from apps import building, comparison
from apps.quality import psnr
from engines import EngineError
from engines.openvino_engine import OpenVINORuntime
from engines.torch_engine import TorchRuntime
from streamdiff import Stream, load_model
from streamdiff.calibration import record
from tests.models.toys import make_folder
from tests.toy import picture

SIZE = (64, 64)


class Silent:
    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, text: str, total: int | None = None) -> None:
        self.stages.append(text)

    def part(self) -> None: ...

    def share(self, phase: str, share: float) -> None: ...


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("model") / "m", "tinyvae")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STREAMDIFF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"


def pictures(count: int = 8) -> list[np.ndarray]:
    return [picture(i) for i in range(count)]


@pytest.mark.filterwarnings("ignore")
def test_what_is_recorded_covers_every_network_and_many_timesteps(cache: Path, folder: Path) -> None:
    model = load_model(folder)
    samples = record(model, OpenVINORuntime("fp32"), SIZE, pictures(), 8)
    assert set(samples) == {"encoder", "unet", "unet-deep", "unet-shallow", "decoder"}
    assert samples["unet"] == samples["unet-deep"]
    rows = {float(row[1].sum()) for row in samples["unet"]}
    assert len(rows) >= 8
    assert all(len(tensor) == 1 for row in samples["unet-shallow"] for tensor in row)


@pytest.mark.filterwarnings("ignore")
def test_int8_is_built_measured_and_then_used(cache: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nncf", reason="nncf is not installed")
    monkeypatch.setattr(building, "SETTINGS", 8)
    model = load_model(folder)
    using = building.precisions(OpenVINORuntime())
    assert building.built_eight(model, SIZE, using) is None
    watch = Silent()
    verdict = building.build_eight(model, SIZE, pictures(), watch, using)
    assert {"quantising the unet", "quantising the unet-shallow"} <= set(watch.stages)
    assert verdict.eight_psnr > 20 and verdict.full_ms > 0
    known = building.built_eight(model, SIZE, using)
    assert known is not None and known.figures() == verdict.figures()
    for reuse in (1, 2):
        with Stream.from_pretrained(model, precision="int8", width=64, height=64, reuse_every=reuse) as stream:
            assert stream(picture(1)).shape == (64, 64, 3)
    with pytest.raises(EngineError, match="not been built at this size"):
        Stream.from_pretrained(model, precision="int8", width=72, height=64)


def test_the_unet_is_made_ready_for_more_rows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, tuple[int, ...]]] = []

    def engine(runtime: Any, network: Any) -> Any:
        return lambda *inputs: ran.append((network.name, tuple(len(x) for x in inputs)))

    monkeypatch.setattr(building, "shared_engine", engine)
    watch = Silent()
    building.build(load_model(folder), TorchRuntime("cpu"), SIZE, watch, 3)
    unets = ["unet", "unet-deep", "unet-shallow"]
    assert {(name, counts[0]) for name, counts in ran} == {(name, n) for name in unets for n in (2, 3)}
    assert all(len(set(counts)) == 1 for _, counts in ran)
    assert any("unet for 3 rows at once" in stage for stage in watch.stages)


@pytest.mark.parametrize(
    ("loss", "ms", "good"), [(0.9, 5.0, True), (1.1, 5.0, False), (-0.5, 9.0, True), (0.0, 9.9, False)]
)
def test_the_verdict(loss: float, ms: float, good: bool) -> None:
    assert building.Verdict(loss, 50.0, 35.0, 10.0, ms).good is good


def test_psnr() -> None:
    a = np.full((4, 4, 3), 100, np.uint8)
    assert psnr(a, a) == 99
    assert psnr(a, a + 10) == pytest.approx(10 * np.log10(255**2 / 100))


@pytest.mark.filterwarnings("ignore")
def test_build_list_and_remove_from_the_command_line(command: Any, cache: Path, folder: Path) -> None:
    built = command("build", folder, "--size", "64x64")
    assert built.code == 0 and "built" in built.out, built.err
    listed = command("engines", "list")
    assert "unet-shallow" in listed.out and "openvino" in listed.out
    checked = command("build", folder, "--size", "64x64", "--precision", "fp32", "--check")
    assert checked.code == 0 and checked.out.count("relative") == 5, checked.err
    assert all(float(line.split()[-2]) < 1e-3 for line in checked.out.splitlines() if line.endswith("relative"))
    for wrong in (("engines", "remove"), ("engines", "remove", "nonsense"), ("build", folder, "--size", "64")):
        refused = command(*wrong)
        assert refused.code in (1, 2) and len(refused.err.strip().splitlines()) == 1, refused.err
    count = command("engines", "list").out.splitlines()[-1].split()[0]
    removed = command("engines", "remove", folder)
    assert removed.code == 0 and f"removed {count} engines" in removed.out
    assert "no engines" in command("engines", "list").out
    shutil.rmtree(cache)
    assert "no engines" in command("engines", "list").out


def test_int8_for_another_engine_is_refused(command: Any, cache: Path, folder: Path) -> None:
    refused = command("build", folder, "--precision", "int8", "--engine", "torch")
    assert refused.code != 0 and "int8" in refused.err and "Traceback" not in refused.err


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx is not installed")
def test_int8_for_tensorrt_is_prepared_and_compared_on_its_own_card(monkeypatch: pytest.MonkeyPatch) -> None:
    from engines.tensorrt import TensorRTRuntime, binding

    monkeypatch.setattr(binding, "check_cuda", lambda flavour: None)
    monkeypatch.setattr(binding, "card", lambda flavour, device: binding.Card("a card", (8, 9), "13.0"))
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    full = TensorRTRuntime("cuda:0", "tensorrt-rtx")
    using = building.precisions(full)
    eight = using.eight
    assert using.full is full and using.quantiser is eight and isinstance(eight, TensorRTRuntime)
    assert not using.by_itself
    assert (eight.precision, eight.name, str(eight.device)) == ("int8", "tensorrt-rtx", "cuda:0")
    # The truth is float32 on that card too, and not what its tensor cores make of it.
    assert using.exact.name == "torch" and str(using.exact.device) == "cuda:0"
    assert not torch.backends.cudnn.allow_tf32
    with pytest.raises(EngineError, match="int8 is not for torch: use --device cpu"):
        building.precisions(TorchRuntime("cpu"))
    with pytest.raises(EngineError, match="fp8 is not for openvino: use --engine tensorrt or tensorrt-rtx"):
        building.precisions(OpenVINORuntime(), "fp8")
    eight = building.precisions(full, "fp8").eight
    assert isinstance(eight, TensorRTRuntime) and eight.precision == "fp8"


def test_the_engines_are_compared_in_one_table(cache: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = [("torch", "fp32"), ("openvino", "fp32"), ("openvino", "int8")]
    monkeypatch.setattr(comparison, "candidates", lambda: chosen)
    said: list[str] = []
    rows = comparison.compare(str(folder), SIZE, 5, baseline=False, say=said.append)
    assert said == ["torch fp32", "openvino fp32", "openvino int8"]
    assert rows[0]["psnr_db"] == 99 and rows[1]["psnr_db"] > 50
    assert all(row["peak_memory_mb"] > 0 and row["steps"]["4"]["fps"] > 0 for row in rows[:2])
    assert "streamdiff build" in rows[2]["failed"]
