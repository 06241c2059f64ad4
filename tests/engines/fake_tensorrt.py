"""A TensorRT that runs a module on the CPU, and a torch.cuda beside it: what the engine asks of a GPU, in order.

It stands at the boundary only: buffers are read and written at the addresses that were bound, work is run when it is
queued, and a graph replays what was queued while it was captured.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Generator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engines.base import Network
from engines.tensorrt.binding import Binding, Flavour

DTYPES = {"FLOAT": np.float32, "HALF": np.float16, "INT64": np.int64, "UINT8": np.uint8}
NAMES = {torch.float32: "FLOAT", torch.float16: "HALF", torch.int64: "INT64", torch.uint8: "UINT8"}


class Stream:
    """Runs at once; the device is the CPU."""

    def __init__(self, events: list[str], name: str) -> None:
        self.events, self.name = events, name
        self.device = torch.device("cpu")
        self.cuda_stream = 7

    def wait_stream(self, other: Stream) -> None:
        self.events.append(f"{self.name} waits for {other.name}")

    def synchronize(self) -> None:
        self.events.append(f"wait for {self.name}")


class Context:
    """IExecutionContext."""

    def __init__(self, engine: CudaEngine) -> None:
        self.engine = engine
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return self.engine.takes(shape[0])

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        inputs = [torch.zeros(self.shapes[i.name], dtype=i.dtype) for i in self.engine.network.inputs]
        return tuple(self.engine.module(*inputs).shape)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        if self.engine.fake.fails or (self.engine.fake.capturing and self.engine.fake.capture_fails):
            return False
        self.engine.fake.queue(self._execute)
        return True

    def _execute(self) -> None:
        inputs = [torch.from_numpy(self._array(i.name, self.shapes[i.name]).copy()) for i in self.engine.network.inputs]
        output = self.engine.module(*inputs)
        self._array("output", tuple(output.shape))[:] = output.numpy()

    def _array(self, name: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        dtype = np.dtype(DTYPES[self.engine.get_tensor_dtype(name)])
        count = int(np.prod(shape)) * dtype.itemsize
        memory = (ctypes.c_byte * count).from_address(self.addresses[name])
        return np.frombuffer(memory, dtype).reshape(shape)


class CudaEngine:
    """ICudaEngine over a network's module, for one batch size or for several."""

    refittable = True

    def __init__(self, fake: FakeTensorRT, network: Network, takes: Callable[[int], bool]) -> None:
        self.fake, self.network, self.takes = fake, network, takes
        self.module: nn.Module = network.build().eval().requires_grad_(False)
        self.num_io_tensors = len(network.inputs) + 1

    def get_tensor_name(self, index: int) -> str:
        return [*(i.name for i in self.network.inputs), "output"][index]

    def get_tensor_mode(self, name: str) -> str:
        return "OUTPUT" if name == "output" else "INPUT"

    def get_tensor_dtype(self, name: str) -> str:
        return NAMES[{i.name: i.dtype for i in self.network.inputs}.get(name, torch.float32)]

    def create_execution_context(self) -> Context:
        self.fake.events.append("context")
        return Context(self)


class Refitter:
    """Refitter: what is set is read, by its address, when it refits."""

    def __init__(self, engine: CudaEngine, logger: object) -> None:
        self.engine = engine
        self.set: dict[str, tuple[int, int]] = {}

    def get_weights_prototype(self, name: str) -> Any:
        return SimpleNamespace(dtype="FLOAT")

    def set_named_weights(self, name: str, weights: tuple[str, int, int]) -> bool:
        self.set[name] = weights[1:]
        return True

    def get_missing_weights(self) -> list[str]:
        return []

    def refit_cuda_engine(self) -> bool:
        self.engine.fake.events.append("refit")
        parameters = dict(self.engine.module.named_parameters())
        for index, (name, (address, count)) in enumerate(self.set.items()):
            if self.engine.fake.refit_fails and index:
                return False
            memory = (ctypes.c_byte * (4 * count)).from_address(address)
            value = torch.from_numpy(np.frombuffer(memory, np.float32).copy())
            parameters[name].data.copy_(value.reshape(parameters[name].shape))
        return True


class FakeTensorRT:
    """The package, the device, and what happened in which order."""

    def __init__(self, flavour: Flavour = "tensorrt") -> None:
        self.events: list[str] = []
        self.fails = self.capture_fails = self.refit_fails = False
        self._recording: list[Callable[[], None]] | None = None
        dtypes = dict.fromkeys(("FLOAT", "HALF", "BF16", "INT32", "INT64", "UINT8", "BOOL"))
        module = SimpleNamespace(
            DataType=SimpleNamespace(**{name: name for name in dtypes}),
            TensorIOMode=SimpleNamespace(OUTPUT="OUTPUT"),
            Refitter=Refitter,
            Weights=lambda kind, address, count: (kind, address, count),
        )
        self.binding = Binding(flavour, module, "0", None, [])

    @property
    def capturing(self) -> bool:
        return self._recording is not None

    def queue(self, work: Callable[[], None]) -> None:
        if self._recording is None:
            self.events.append("run")
            work()
        else:
            self._recording.append(work)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put a torch.cuda in place that knows no device but the CPU."""
        fake, caller = self, Stream(self.events, "caller")

        class Graph:
            def __init__(self) -> None:
                self.work: list[Callable[[], None]] = []

            def replay(self) -> None:
                fake.events.append("replay")
                for item in self.work:
                    item()

        @contextlib.contextmanager
        def capture(graph: Graph, pool: object, stream: Stream, capture_error_mode: str) -> Generator[None]:
            fake.events.append("capture")
            fake._recording = graph.work
            yield
            fake._recording = None

        monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream(self.events, "engine"))
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
        monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: caller)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
        monkeypatch.setattr(torch.cuda, "graph", capture)
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "pool")


def parameters(network: Network) -> dict[str, Tensor]:
    """The weights of a network's module by name."""
    return dict(network.build().named_parameters())
