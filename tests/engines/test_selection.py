"""Choosing an engine: automatic, forced, refused in one line, and said once."""

from __future__ import annotations

import importlib.util
import logging

import pytest
import torch

import engines.selection
from engines import Candidate, EngineError, available, choose


def test_a_cpu_gets_openvino() -> None:
    assert choose(device="cpu").name == "openvino"


def test_it_can_be_forced() -> None:
    runtime = choose("torch", "cpu")
    assert runtime.name == "torch" and runtime.device == torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "device", "says"),
    [("tensorflow", None, "known: auto"), ("auto", "toaster", "cpu, cuda"), ("openvino", "meta", "not usable")],
)
def test_what_cannot_be_is_refused_in_one_line(name: str, device: str | None, says: str) -> None:
    with pytest.raises(EngineError, match=says) as caught:
        choose(name, device)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_without_a_card() -> None:
    with pytest.raises(EngineError, match="not usable on this machine"):
        choose("torch", "cuda")


def test_openvino_can_be_forced_beside_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.selection, "_torch_device", lambda: torch.device("cuda"))
    assert choose("openvino").device == torch.device("cpu")


def test_a_missing_openvino_is_said_and_torch_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engines.selection.importlib.util, "find_spec", lambda name: None)
    assert choose(device="cpu").name == "torch"
    assert "pip install openvino" in caplog.text
    with pytest.raises(EngineError, match="pip install openvino"):
        choose("openvino", "cpu")


def test_onnxruntime_runs_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = choose("onnxruntime", "cpu")
    assert runtime.name == "onnxruntime" and runtime.device == torch.device("cpu")
    assert next(c.name for c in available()) != "onnxruntime"
    # Without openvino too the choice is torch, which needs no more packages.
    monkeypatch.setattr(engines.selection, "_openvino", lambda: Candidate("openvino", False, "not here"))
    assert choose(device="cpu").name == "torch"


def test_onnxruntime_chooses_its_device_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    present = ["DmlExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: present)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose("onnxruntime").description.endswith("DirectML")
    assert choose("onnxruntime", "cpu").description.endswith("CPU")
    (candidate,) = (c for c in available() if c.name == "onnxruntime")
    assert candidate.usable and candidate.why.endswith("DirectML, CPU")


@pytest.mark.parametrize("package", ["onnxruntime", "onnx", "onnxscript"])
def test_a_missing_onnxruntime_is_said(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else found(name))
    says = rf'{package} is not installed; pip install "streamdiff\[onnx\]"'
    with pytest.raises(EngineError, match=says):
        choose("onnxruntime", "cpu")
    (candidate,) = (c for c in available() if c.name == "onnxruntime")
    assert not candidate.usable and "streamdiff[onnx]" in candidate.why
    assert choose("torch", "cpu").name == "torch"


def test_the_choice_is_said_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.selection, "_said", set())
    caplog.set_level(logging.INFO)
    for _ in range(3):
        choose("torch", "cpu")
    assert sum("engine:" in record.message for record in caplog.records) == 1


def test_available_names_what_is_there() -> None:
    found = available()
    assert {c.name for c in found} == {"openvino", "cuda", "torch", "onnxruntime", "tensorrt", "tensorrt-rtx"}
    assert all(c.why for c in found)
