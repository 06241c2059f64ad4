"""Choosing the runtime: automatic, or as the user says; said aloud once."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from engines import compiled
from engines.base import Runtime
from engines.errors import EngineError
from engines.export import require

if TYPE_CHECKING:
    from engines.tensorrt.binding import Flavour

log = logging.getLogger("streamdiff.engines")

NAMES = ("openvino", "cuda", "torch", "onnxruntime", "tensorrt", "tensorrt-rtx")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A runtime and whether it can be used on this machine.

    Attributes:
        name: as ``choose`` takes it.
        usable: whether it can run here.
        why: one line: what it would run on, or what is missing and how to get it.
    """

    name: str
    usable: bool
    why: str


def available() -> list[Candidate]:
    """All runtimes this version knows, the preferred one for this machine first."""
    found = [_openvino(), _torch(), _cuda()]
    if _torch_device().type != "cpu":
        found.reverse()
    # After the others: automatic choice never takes these. OpenVINO is the faster one on a CPU.
    found += [_onnxruntime(), _tensorrt("tensorrt"), _tensorrt("tensorrt-rtx")]
    return sorted(found, key=lambda candidate: not candidate.usable)


_said: set[str] = set()


def choose(
    name: str = "auto",
    device: str | None = None,
    precision: str | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Runtime:
    """Make a runtime.

    Args:
        name: "auto", or one of ``NAMES``; "auto" takes one of the first three.
        device: torch's name of a device ("cpu", "cuda", "cuda:1", "mps"); None takes the best there is.
        precision: as the runtime's class takes it; None is its best.
        progress: told how far a build is, as a phase and a share of 1, by runtimes whose builds take minutes.

    Raises:
        EngineError: unknown name, or it cannot be used here.
    """
    if name not in ("auto", *NAMES):
        raise EngineError(f"unknown engine {name!r}; known: auto, {', '.join(NAMES)}")
    # Forced on a machine with a GPU, OpenVINO still means the CPU.
    wanted = _device("cpu" if name == "openvino" and device is None else device)
    if name == "auto":
        best = {"cpu": _openvino, "cuda": _cuda}.get(wanted.type, _torch)()
        if not best.usable:
            log.warning("using the slower torch engine: %s", best.why)
            best = _torch()
        name = best.name
    runtime = _make(name, wanted, precision, device is None, progress)
    if runtime.description not in _said:
        _said.add(runtime.description)
        log.info("engine: %s", runtime.description)
    return runtime


def _make(
    name: str,
    device: torch.device,
    precision: str | None,
    best: bool,
    progress: Callable[[str, float], None] | None,
) -> Runtime:
    if name == "onnxruntime":
        from engines.onnxruntime_engine import OnnxRuntime

        # What is best is its own matter: it may have DirectML, which torch knows nothing of, or lack CUDA.
        return OnnxRuntime(None if best else device, precision)
    if name == "torch":
        from engines.torch_engine import TorchRuntime

        return TorchRuntime(device, precision)
    if name == "cuda":
        from engines.cuda_engine import CudaRuntime

        return CudaRuntime(device, precision)
    if name == "tensorrt" or name == "tensorrt-rtx":
        candidate = _tensorrt(name)
        if not candidate.usable:
            raise EngineError(candidate.why)
        from engines.tensorrt import TensorRTRuntime

        return TensorRTRuntime(device, name, precision or "fp16", progress=progress)
    candidate = _openvino()
    if not candidate.usable:
        raise EngineError(candidate.why)
    if device.type != "cpu":
        raise EngineError(
            f"the openvino engine runs on the CPU, not on {device}; leave --device out, or use --engine torch there"
        )
    from engines.openvino_engine import OpenVINORuntime

    return OpenVINORuntime(precision)


def _openvino() -> Candidate:
    if importlib.util.find_spec("openvino") is None:
        return Candidate("openvino", False, "openvino is not installed; pip install openvino")
    return Candidate("openvino", True, f"OpenVINO {importlib.metadata.version('openvino')} on the CPU")


def _torch() -> Candidate:
    return Candidate("torch", True, f"PyTorch {torch.__version__} on {_torch_device().type}")


def _cuda() -> Candidate:
    lacking = compiled.missing()
    if lacking is not None:
        return Candidate("cuda", False, lacking)
    name = torch.cuda.get_device_name()
    return Candidate("cuda", True, f"PyTorch {torch.__version__}, compiled, on {name}")


def _onnxruntime() -> Candidate:
    try:
        require("onnxruntime", "onnx", "onnxscript")
    except EngineError as error:
        return Candidate("onnxruntime", False, str(error))
    from engines.onnxruntime_engine import providers

    return Candidate("onnxruntime", True, f"ONNX Runtime with {', '.join(providers())}")


def _tensorrt(flavour: Flavour) -> Candidate:
    # The package is not imported here: that takes seconds, and few will use it.
    from engines.tensorrt import binding

    try:
        binding.check_cuda(flavour)
    except EngineError as error:
        return Candidate(flavour, False, str(error))
    if not binding.installed(flavour):
        return Candidate(flavour, False, binding.missing(flavour))
    return Candidate(flavour, True, f"{flavour} on {torch.cuda.get_device_name()}")


def _torch_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _device(name: str | None) -> torch.device:
    if name is None:
        return _torch_device()
    try:
        device = torch.device(name)
    except RuntimeError:
        raise EngineError(f"unknown device {name!r}; use cpu, cuda, cuda:N or mps") from None
    usable = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not usable.get(device.type, False):
        raise EngineError(f"device {name!r} is not usable on this machine; leave --device out to take the best one")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EngineError(f"device {name!r}: this machine has {torch.cuda.device_count()} CUDA device(s)")
    return device
