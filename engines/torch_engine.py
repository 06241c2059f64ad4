"""PyTorch as it is, eager: the reference for all other engines, and what runs where nothing else does."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from engines.base import Engine, Network
from engines.errors import EngineError

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class TorchEngine:
    """One module on one device; half precision inside on a GPU, the caller's types outside."""

    def __init__(self, module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        self._module = module
        self._device = device
        self._dtype = dtype
        # Sessions that share the engine take turns, as Network.build says.
        self._lock = threading.Lock()

    @torch.inference_mode()
    def __call__(self, *inputs: Tensor) -> Tensor:
        """Run on inputs [batch, *shape]."""
        with self._lock:
            if self._dtype == torch.float32:
                return self._module(*inputs)
            with torch.autocast(self._device.type, self._dtype):
                output: Tensor = self._module(*inputs)
        return output.float() if output.is_floating_point() else output


class TorchRuntime:
    """Eager PyTorch on a CPU, CUDA or MPS device."""

    name = "torch"

    def __init__(self, device: torch.device | str = "cpu", precision: str | None = None) -> None:
        """Prepare the runtime.

        Args:
            device: of the modules.
            precision: "fp32", "fp16" or "bf16"; None is fp32 on a CPU, fp16 elsewhere.

        Raises:
            EngineError: another precision.
        """
        self.device = torch.device(device)
        precision = precision or ("fp32" if self.device.type == "cpu" else "fp16")
        if precision not in DTYPES:
            raise EngineError(f"precision {precision!r}: torch runs {', '.join(DTYPES)}")
        self._dtype = DTYPES[precision]
        if self.device.type == "cuda" and precision == "fp32":
            without_tf32()

    @property
    def description(self) -> str:
        """Version, precision and device."""
        precision = str(self._dtype).removeprefix("torch.")
        return f"torch {torch.__version__}, {precision}, {self.device}"

    def compile(self, network: Network) -> Engine:
        """Build the module and put it on the device.

        Raises:
            EngineError: it does not fit there.
        """
        module = network.build().eval().requires_grad_(False)
        with enough_memory(network.name, self.device):
            module.to(self.device)
        dtype = torch.float32 if network.exact else self._dtype
        return TorchEngine(module, self.device, dtype)


def without_tf32() -> None:
    """Whoever asks for fp32 is to get it: on CUDA, PyTorch's convolutions otherwise keep 10 bits of each number.

    For the whole process, whose other float32 convolutions become as exact.
    """
    torch.backends.cudnn.allow_tf32 = False


@contextmanager
def enough_memory(name: str, device: torch.device) -> Generator[None]:
    """For what puts something of this name on the device.

    Raises:
        EngineError: it does not fit there.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise EngineError(
            f"{device} has not enough memory for the {name}; close other programs or use a smaller model or size"
        ) from None
