"""torch.compile for one network: what it compiles is kept on disk, and what it cannot do is said in one line."""

from __future__ import annotations

import builtins
import importlib.util
import itertools
import os
import types
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor, nn

from engines.base import Network
from engines.cache import cache_directory, can_keep
from engines.errors import EngineError

WITHOUT = "--engine torch runs without"

_numbers = itertools.count()


def missing() -> str | None:
    """What torch.compile lacks to make kernels for the CUDA device of this machine; None where it has all.

    Only what can be seen without trying: ``require`` tries.
    """
    if not torch.cuda.is_available():
        return "it needs an NVIDIA card, its driver and a PyTorch with CUDA, and no CUDA device is usable here"
    if importlib.util.find_spec("triton") is None:
        return f"triton, which torch.compile needs, is not installed; pip install triton, or triton-windows; {WITHOUT}"
    if torch.version.cuda is not None and torch.cuda.get_device_capability() < (7, 0):
        return f"torch.compile needs a card of compute capability 7.0 or newer; {WITHOUT}"
    return None


@lru_cache
def require(device: torch.device) -> None:
    """Compile something small, once a process: a compiler or headers that are missing are found out at the start.

    Raises:
        EngineError: it failed.
    """
    keep_on_disk()
    with compiling("test kernel"), torch.inference_mode():
        torch.compile(_small)(torch.zeros(8, device=device))


def keep_on_disk() -> None:
    """Keep compiled kernels with the other engines, so that a second start is quick; the user's own choice stays."""
    folder = cache_directory() / "inductor"
    # Where it cannot be written, torch takes the system's temporary one.
    if "TORCHINDUCTOR_CACHE_DIR" not in os.environ and can_keep(folder / "x"):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)


def compiled(module: nn.Module, network: Network) -> Callable[..., Tensor]:
    """The module, to be compiled when it is first called: for that batch size, and at a second one for all others."""

    def forward(*inputs: Tensor) -> Tensor:
        return module(*inputs)

    # Dynamo counts recompilations, and remembers which sizes vary, by a function's code and name: with those of another
    # network among them it would give up after eight, and take height and width for variable. So each has its own.
    name = f"{network.name.replace('-', '_')}_{next(_numbers)}"
    code = forward.__code__.replace(co_name=name)
    own = types.FunctionType(code, {"__builtins__": builtins, "__name__": __name__}, name, None, forward.__closure__)
    return torch.compile(own)


@contextmanager
def compiling(name: str) -> Generator[None]:
    """For the first calls of what is compiled.

    Raises:
        EngineError: torch.compile or a first run failed; the message has the reason.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice for who wrote the model
            yield
    except (EngineError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise EngineError(f"torch.compile could not build the {name} ({_reason(error)}); {WITHOUT}") from error


def _small(x: Tensor) -> Tensor:
    return x * 2 + 1


def _reason(error: BaseException) -> str:
    """The first line that says something; the compiler's errors come wrapped."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.endswith("raised:")]
    return f"{type(error).__name__}: {(telling or lines or ['no reason given'])[0][:200]}"
