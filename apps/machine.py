"""What this machine is, for people who read measurements and error reports."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16", "i8mm")
"""What makes a difference to a network on a CPU, as Linux names it (x86 and Arm)."""

PACKAGES = (
    "streamdiff",
    "torch",
    "openvino",
    "diffusers",
    "transformers",
    "safetensors",
    "av",
    "opencv-python-headless",
    "numpy",
    "pillow",
    "pydantic",
    "typer",
    "rich",
)


def cpu_name() -> str:
    """The processor as its maker calls it."""
    if (found := _cpuinfo("model name") or _cpuinfo("Model")) is not None:
        return found
    if sys.platform == "darwin":
        import subprocess

        words = ["sysctl", "-n", "machdep.cpu.brand_string"]
        asked = subprocess.run(words, capture_output=True, text=True, check=False)
        if asked.returncode == 0 and asked.stdout.strip():
            return asked.stdout.strip()
    return platform.processor() or platform.machine() or "unknown"


def cpu_flags() -> list[str]:
    """Those of ``FLAGS`` that the processor has; empty where the system does not tell."""
    has = set((_cpuinfo("flags") or _cpuinfo("Features") or "").split())
    return [flag for flag in FLAGS if flag in has]


def cores() -> int:
    """Cores this process may use: a container or a mask may allow fewer than the machine has."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_cores()
    return max(1, min(allowed, quota)) if quota is not None else allowed


def memory_gb() -> float:
    """Memory of the machine, in GB (10^9 bytes)."""
    import psutil

    return psutil.virtual_memory().total / 1e9


def gpus() -> list[str]:
    """Accelerators that PyTorch can use."""
    import torch

    found = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("Apple GPU (mps)")
    return found


def versions() -> dict[str, str | None]:
    """Versions of the packages that matter; None for those that are not installed."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def system() -> str:
    """Operating system and architecture."""
    return f"{platform.system()} {platform.release()}, {platform.machine()}"


def peak_memory_mb() -> float:
    """The most memory this process has had resident, in MB (10^6 bytes)."""
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset / 1e6
    import resource

    # Linux tells it in kilobytes, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def _cpuinfo(key: str) -> str | None:
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key and value.strip():
            return value.strip()
    return None


def _cgroup_cores() -> int | None:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else max(1, round(int(quota) / int(period)))
