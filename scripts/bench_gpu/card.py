"""The device itself: its name, the peak of its matrix multiplication, and the energy it has used."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from apps import machine


class NotMeasured(Exception):
    """Something cannot be measured here; the message says why."""


def device_name(device: torch.device) -> str:
    """As its maker calls it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else machine.cpu_name()


def file_name(device: torch.device) -> str:
    """The device's name as a file's: "nvidia-h100-80gb-hbm3"."""
    name = re.sub(r"[^a-z0-9]+", "-", device_name(device).lower()).strip("-")
    # Some drivers leave the maker out.
    return name if device.type != "cuda" or torch.version.hip or name.startswith("nvidia") else f"nvidia-{name}"


def peak_flops(device: torch.device, side: int, repeats: int = 30) -> float:
    """Operations a second of a large matrix multiplication: float16 on a GPU, float32 on a CPU.

    Args:
        device: where.
        side: of the square matrices; N^3 multiplications and as many additions.
        repeats: multiplications, of which the median counts.
    """
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in "ab")
    out = torch.empty_like(a)
    seconds = [_seconds(lambda: torch.mm(a, b, out=out), device) for _ in range(repeats + 5)][5:]
    return 2 * side**3 / statistics.median(seconds)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    if device.type != "cuda":
        started = time.perf_counter()
        work()
        return time.perf_counter() - started
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    with torch.cuda.device(device):
        first.record()
        work()
        last.record()
    last.synchronize()
    return first.elapsed_time(last) / 1e3


class Energy:
    """The counter of a CUDA device's energy, by NVML."""

    def __init__(self, device: torch.device) -> None:
        """Find the device.

        Raises:
            NotMeasured: there is no such counter.
        """
        if device.type != "cuda":
            raise NotMeasured("only NVIDIA's cards count their energy")
        try:
            import pynvml
        except ImportError:
            raise NotMeasured("nvidia-ml-py is not installed; pip install nvidia-ml-py") from None
        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
            # By its identity: the order of devices is NVML's own.
            uuid = str(torch.cuda.get_device_properties(device).uuid)
            self._handle: Any = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")
            self.joules()
        except (pynvml.NVMLError, AttributeError) as error:
            raise NotMeasured(f"NVML does not tell this device's energy ({error})") from None

    def joules(self) -> float:
        """Since the driver was loaded."""
        return self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) / 1e3
