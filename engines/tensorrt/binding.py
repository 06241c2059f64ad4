"""Which of the two packages is there, its log, and what is needed before the first call into it."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import logging
import sys
import threading
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import torch

from engines.errors import EngineError

log = logging.getLogger("streamdiff.engines")

Flavour = Literal["tensorrt", "tensorrt-rtx"]
FLAVOURS: tuple[Flavour, ...] = ("tensorrt", "tensorrt-rtx")
"""The preferred one first: who has installed TensorRT went to some trouble for it."""

_MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
_MISSING = {
    "tensorrt": (
        "tensorrt is not installed; NVIDIA gives it out from its own package index, as its TensorRT installation guide "
        'says; for RTX cards pip install "streamdiff[tensorrt-rtx]" gives --engine tensorrt-rtx'
    ),
    "tensorrt-rtx": 'tensorrt-rtx is not installed; pip install "streamdiff[tensorrt-rtx]"',
}


@dataclass(frozen=True)
class Binding:
    """One of the two packages, loaded.

    Attributes:
        flavour: its name.
        module: the package itself, untyped.
        version: of the package.
        logger: its ILogger; every object of the package takes it, and only one may be made in a process.
    """

    flavour: Flavour
    module: Any
    version: str
    logger: Any
    _errors: list[str] = field(repr=False)

    def forget(self) -> None:
        """Forget earlier errors, before a call whose failure ``reason`` is to explain."""
        self._errors.clear()

    def reason(self) -> str:
        """What the package has said went wrong since ``forget``, on one line."""
        # The first message is the cause, later ones its echoes on the way up.
        return self._errors[0] if self._errors else "it gave no reason"


@dataclass(frozen=True, slots=True)
class Card:
    """A CUDA device, as far as it decides whether a plan made for another one fits.

    Attributes:
        name: e.g. "NVIDIA GeForce RTX 4090".
        capability: compute capability, e.g. (8, 9).
        driver: newest CUDA version that the driver speaks, e.g. "13.0".
    """

    name: str
    capability: tuple[int, int]
    driver: str


def installed(flavour: Flavour) -> bool:
    """Whether the package is there; it is not imported."""
    return importlib.util.find_spec(_MODULES[flavour]) is not None


def missing(flavour: Flavour) -> str:
    """One line on how to get a package that is not installed."""
    return _MISSING[flavour]


def load(flavour: Flavour | None = None) -> Binding:
    """Import a package.

    Args:
        flavour: which; None takes the first of ``FLAVOURS`` that is installed.

    Raises:
        EngineError: it is unknown or not installed, or its libraries cannot be loaded.
    """
    if flavour is None:
        # Where neither is, the one that can be had with a single command is said to be missing.
        found: list[Flavour] = [f for f in FLAVOURS if installed(f)]
        flavour = found[0] if found else "tensorrt-rtx"
    if flavour not in _MODULES:
        raise EngineError(f"unknown flavour {flavour!r} of TensorRT; known: {', '.join(FLAVOURS)}")
    if not installed(flavour):
        raise EngineError(missing(flavour))
    with _loading:
        return _loaded(flavour)


_loading = threading.Lock()


@lru_cache
def _loaded(flavour: Flavour) -> Binding:
    try:
        module: Any = importlib.import_module(_MODULES[flavour])
    except (ImportError, OSError) as error:
        raise EngineError(
            f"{flavour} is installed, but its libraries cannot be loaded ({one_line(str(error))}); "
            "install it again, for the same CUDA version as the driver's"
        ) from error
    errors: list[str] = []
    return Binding(flavour, module, str(module.__version__), _logger(module, errors), errors)


def check_cuda(flavour: Flavour) -> None:
    """Check that there is a CUDA device: without one the packages answer None, or end the process.

    Raises:
        EngineError: there is none, or PyTorch cannot use it.
    """
    if torch.version.cuda is None:
        raise EngineError(f"{flavour} needs an NVIDIA card and a PyTorch with CUDA; this one is {torch.__version__}")
    if not torch.cuda.is_available():
        raise EngineError(
            f"{flavour} needs an NVIDIA card and its driver, and no CUDA device is usable here; nvidia-smi shows both"
        )


def card(flavour: Flavour, device: torch.device) -> Card:
    """What a CUDA device is.

    Raises:
        EngineError: there is none.
    """
    check_cuda(flavour)
    return Card(torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device), _driver(flavour))


def supported(binding: Binding, card: Card) -> bool:
    """Whether the package names this kind of card; RTX leaves out those of data centres, where some plans build and run
    and others do not."""
    kinds = getattr(binding.module, "ComputeCapability", None)
    return kinds is None or hasattr(kinds, f"SM{card.capability[0]}{card.capability[1]}")


def _driver(flavour: Flavour) -> str:
    version = ctypes.c_int()
    try:
        library = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        failed = library.cuDriverGetVersion(ctypes.byref(version))
    except OSError as error:
        raise EngineError(f"{flavour} needs NVIDIA's driver, which cannot be loaded ({one_line(str(error))})") from None
    if failed:
        raise EngineError(f"{flavour} needs NVIDIA's driver, which does not tell its version (error {failed})")
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def _logger(module: Any, errors: list[str]) -> Any:
    """An ILogger that writes into our log and keeps errors for ``Binding.reason``."""
    severity = module.ILogger.Severity
    # Its warnings are notes for whoever drew the graph ("make sure input timestep has Int64 binding"), and its
    # information is about every layer: neither is for a person who watches a picture.
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.INFO,
        severity.INFO: logging.DEBUG,
    }

    class Logger(module.ILogger):
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            level = levels.get(severity)
            if level is None:
                return
            line = one_line(msg)
            # A network that fails on every frame must not fill the memory with the same line.
            if level == logging.ERROR and len(errors) < 16:
                errors.append(line)
            log.log(level, "%s: %s", module.__name__, line)

    return Logger()


def one_line(text: str) -> str:
    """A message on one line, short enough to show."""
    text = " ".join(text.split())
    return text if len(text) <= 240 else text[:237] + "..."
