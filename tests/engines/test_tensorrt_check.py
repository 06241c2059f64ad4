"""The check of a plan against ONNX Runtime: the measures exactly, and polygraphy's runners as far as a CPU goes."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engines import EngineError
from engines.agreement import SMALL, Difference, difference, feed
from engines.export import export_onnx
from engines.tensorrt import check as checks
from engines.tensorrt import plans
from engines.tensorrt.builder import Plan
from engines.tensorrt.check import Summary, compare, inspect
from tests.engines import toys

needs_polygraphy = pytest.mark.skipif(
    importlib.util.find_spec("polygraphy") is None or importlib.util.find_spec("onnxruntime") is None,
    reason="polygraphy or onnxruntime is not installed; pip install polygraphy onnxruntime",
)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in which polygraphy was not imported yet."""
    for name in [name for name in sys.modules if name.split(".")[0] == "polygraphy"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv("POLYGRAPHY_USE_TENSORRT_RTX", "0")


@pytest.mark.parametrize(
    ("want", "got", "largest", "relative"),
    [
        (np.array([3.0, 4.0]), np.array([3.0, 4.0]), 0, 0),
        (np.array([3.0, 4.0]), np.array([3.0, 3.0]), 1, 0.2),
        (np.array([0.0, 0.0]), np.array([0.0, 0.0]), 0, 0),
        (np.array([0.0, 0.0]), np.array([0.0, 2.0]), 2, float("inf")),
        # Bytes do not wrap round, and halves do not overflow.
        (np.array([255, 0], np.uint8), np.array([0, 0], np.uint8), 255, 1),
        (np.array([60000, 0], np.float16), np.array([60000, 60000], np.float16), 60000, 1),
    ],
)
def test_the_measures(want: np.ndarray, got: np.ndarray, largest: float, relative: float) -> None:
    assert difference("y", want, got) == Difference("y", largest, pytest.approx(relative, abs=1e-12))


def test_a_nan_is_not_taken_for_agreement() -> None:
    found = difference("y", np.array([1.0, 2.0]), np.array([1.0, np.nan]))
    assert np.isnan(found.largest) and np.isnan(found.relative)


def test_inputs_fit_the_network() -> None:
    given = feed(toys.small(), 3, seed=1)
    assert given["picture"].shape == (3, 16, 24, 3) and given["picture"].dtype == np.uint8
    assert given["picture"].max() > 200 and given["t"].max() < SMALL
    again, other = feed(toys.small(), 3, seed=1), feed(toys.small(), 3, seed=2)
    assert np.array_equal(given["picture"], again["picture"]) and not np.array_equal(given["t"], other["t"])


@needs_polygraphy
def test_half_precision_is_measured_against_float(fresh: None, tmp_path: Path) -> None:
    onnxrt: Any = checks._polygraphy("tensorrt-rtx", "onnxrt")
    network = toys.small()
    for precision in ("fp32", "fp16"):
        export_onnx(network, tmp_path / f"{precision}.onnx", precision=precision, batch=2)
    full, half = (onnxrt.OnnxrtRunner(onnxrt.SessionFromOnnx(str(tmp_path / f"{p}.onnx"))) for p in ("fp32", "fp16"))
    inputs = feed(network, 2, seed=1)
    (found,) = compare(full, half, inputs)
    assert found.output == "output" and 1e-5 < found.relative < 1e-2 and found.largest > 0
    assert compare(full, full, inputs) == (Difference("output", 0, 0),)
    # The reference itself is what PyTorch computes.
    tensors = [torch.from_numpy(array) for array in inputs.values()]
    (output,) = checks._outputs(full, inputs).values()
    assert difference("output", toys.expected(network, tensors).numpy(), output).relative < 1e-5


@needs_polygraphy
def test_a_runner_that_fails_and_other_outputs_are_said(fresh: None, tmp_path: Path) -> None:
    onnxrt: Any = checks._polygraphy("tensorrt-rtx", "onnxrt")
    for batch in (1, 2):
        export_onnx(toys.small(), tmp_path / f"{batch}.onnx", batch=batch)
    one, two = (onnxrt.OnnxrtRunner(onnxrt.SessionFromOnnx(str(tmp_path / f"{b}.onnx"))) for b in (1, 2))
    with pytest.raises(EngineError, match="the check could not run"):
        compare(one, one, {"picture": np.zeros((1, 16, 24, 3), np.uint8)})

    class Other:
        name = "other"

        def __enter__(self) -> Other:
            return self

        def __exit__(self, *_: object) -> None: ...

        def get_input_metadata(self) -> dict[str, None]:
            return {}

        def infer(self, inputs: object) -> dict[str, np.ndarray]:
            return {"output": np.zeros((1, 1))}

    with pytest.raises(EngineError, match=r"reference gives output \(2, 4, 16, 24\), the plan output \(1, 1\)"):
        compare(two, Other(), feed(toys.small(), 2, seed=1))


@needs_polygraphy
@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx is not installed")
def test_polygraphy_drives_the_flavour_and_only_one_in_a_process(fresh: None, tmp_path: Path) -> None:
    import tensorrt_rtx

    backend: Any = checks._polygraphy("tensorrt-rtx", "trt")
    assert os.environ["POLYGRAPHY_USE_TENSORRT_RTX"] == "1"
    export_onnx(toys.encoder(), tmp_path / "encoder.onnx")
    _, network, _ = backend.NetworkFromOnnxPath(str(tmp_path / "encoder.onnx"))()
    assert isinstance(network, tensorrt_rtx.INetworkDefinition)
    with pytest.raises(EngineError, match="other flavour in this process"):
        checks._polygraphy("tensorrt", "trt")


@pytest.mark.parametrize("absent", ["polygraphy", "onnxruntime"])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, absent: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == absent else object())
    with pytest.raises(EngineError, match=f"{absent} is not installed.*pip install {absent}"):
        checks._polygraphy("tensorrt", "trt")


def test_a_summary_needs_no_device(tmp_path: Path) -> None:
    path = tmp_path / "unet-0.plan"
    plans.kept(path, "", lambda: Plan(b"12345", 3, {"HALF": 2, "FLOAT": 1}, {"w": (2, 3)}))
    assert inspect(path) == Summary(size=5, layers=3, precisions={"HALF": 2, "FLOAT": 1}, refittable=1)
    with pytest.raises(EngineError, match="not a whole plan"):
        inspect(tmp_path / "none.plan")
