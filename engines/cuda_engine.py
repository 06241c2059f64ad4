"""CUDA without TensorRT: torch.compile's kernels in CUDA graphs, weights in half precision, nothing else to install."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines.base import Engine, Input, Network, Step
from engines.compiled import compiled, compiling, missing, require
from engines.errors import EngineError
from engines.graphs import CudaGraphs, Graphs, Replay, as_recording, best_kernels, recording
from engines.precision import lower
from engines.torch_engine import DTYPES, TorchRuntime, enough_memory, without_tf32


class CudaEngine:
    """One network: fixed buffers and a graph for each batch size, made when it is first asked for.

    All graphs read the same weights. Part of a larger recording, it runs plainly.
    """

    def __init__(
        self, run: Callable[..., Tensor], network: Network, device: torch.device, graphs: Graphs | None = None
    ) -> None:
        """Prepare.

        Args:
            run: the network's function, on tensors of the device; called in recordings alone, of which there is one at
                a time.
            network: for its name and its inputs.
            device: a CUDA device, with its index.
            graphs: what records; None is the device's own.
        """
        self._run = run
        self._network = network
        self._device = device
        self._graphs = graphs or CudaGraphs(device)
        # Sessions that share the engine take turns at its buffers.
        self._turns = self._graphs.turns()
        self._fixed: dict[int, _Fixed] = {}

    @torch.inference_mode()
    def __call__(self, *inputs: Tensor) -> Tensor:
        """Run on inputs [batch, *shape]; returns when the work is queued, not when it is done.

        Raises:
            EngineError: a shape the network does not have, a batch size that cannot be compiled or does not fit.
        """
        batch = len(inputs[0])
        self._check(inputs, batch)
        if recording():
            with compiling(self._network.name):
                return self._run(*map(_as_compiled, inputs))
        fixed = self._fixed.get(batch) or self._made(batch)
        with self._turns:
            return fixed(inputs)

    def _made(self, batch: int) -> _Fixed:
        name = self._network.name
        # Two that ask at once must not compile the same.
        with as_recording(), enough_memory(name, self._device), compiling(name):
            if batch not in self._fixed:
                self._fixed[batch] = _Fixed(self._run, self._network.inputs, batch, self._device, self._graphs)
        return self._fixed[batch]

    def _check(self, inputs: Sequence[Tensor], batch: int) -> None:
        # copy_ would broadcast in silence.
        for given, tensor in zip(self._network.inputs, inputs, strict=True):
            if tensor.shape != (batch, *given.shape):
                raise EngineError(
                    f"the {self._network.name} takes {given.name} as {(batch, *given.shape)}, "
                    f"and was given {tuple(tensor.shape)}"
                )


def _as_compiled(x: Tensor) -> Tensor:
    """A tensor of the kind that kernels are compiled for; for any other kind they would be compiled once more."""
    x = x.contiguous()
    return x if x.is_inference() else x.clone()


class _Fixed:
    """One batch size: the tensors that its graph reads and writes."""

    def __init__(
        self, run: Callable[..., Tensor], inputs: Sequence[Input], batch: int, device: torch.device, graphs: Graphs
    ) -> None:
        given = self._inputs = [torch.zeros((batch, *i.shape), dtype=i.dtype, device=device) for i in inputs]
        with best_kernels():
            first = run(*given)
        made = self._output = torch.empty(first.shape, dtype=first.dtype, device=device)

        # Of the tensors alone: a cycle through this object would keep weights and graphs until Python looks for cycles.
        def work() -> None:
            made.copy_(run(*given))

        self._replay = graphs.record(work)

    def __call__(self, inputs: Sequence[Tensor]) -> Tensor:
        """In the caller's turn, on his stream."""
        for fixed, given in zip(self._inputs, inputs, strict=True):
            fixed.copy_(given, non_blocking=True)
        self._replay()
        return self._output.clone()


class CudaStep:
    """A recorded step from host to host: pinned buffers, copies on a stream of their own, one wait at the end."""

    def __init__(self, replay: Replay, given: Tensor, made: Tensor) -> None:
        """As ``Recorder.record``; the tensors are contiguous."""
        self._replay = replay
        self._given, self._made = given, made
        self._rows, self._output = _pinned(given), _pinned(made)
        # Of another priority, and so never the stream that some other session captures on: torch has 32 of each, and
        # gives them out in turn.
        self._copies = torch.cuda.Stream(given.device, priority=-1)
        self._copied = torch.cuda.Event()

    @torch.inference_mode()
    def __call__(self, rows: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Run on rows as ``given`` has them."""
        np.stack(rows, out=self._rows.numpy())
        with torch.cuda.device(self._given.device):
            compute = torch.cuda.current_stream()
            # The step before this one has been waited for, and reads none of it any more.
            with torch.cuda.stream(self._copies):
                self._given.copy_(self._rows, non_blocking=True)
            compute.wait_stream(self._copies)
            self._replay()
            self._copies.wait_stream(compute)
            with torch.cuda.stream(self._copies):
                self._output.copy_(self._made, non_blocking=True)
                self._copied.record()
        self._copied.synchronize()
        return self._output.numpy().copy()


def _pinned(like: Tensor) -> Tensor:
    """Of the same shape and type, in memory of the host that the device copies from and to by itself."""
    return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)


class CudaRuntime:
    """torch.compile and CUDA graphs on a CUDA device."""

    name = "cuda"

    def __init__(self, device: torch.device | str = "cuda", precision: str | None = None) -> None:
        """Prepare the runtime.

        Args:
            device: a CUDA device.
            precision: "fp16", "bf16" or "fp32"; None is fp16.

        Raises:
            EngineError: another device or precision, or torch.compile does not work here.
        """
        precision = precision or "fp16"
        if precision not in DTYPES:
            raise EngineError(f"precision {precision!r}: cuda runs {', '.join(DTYPES)}")
        if (lacking := missing()) is not None:
            raise EngineError(f"the cuda engine cannot run: {lacking}")
        wanted = torch.device(device)
        if wanted.type != "cuda":
            raise EngineError(f"the cuda engine runs on CUDA devices, not on {wanted}; use --engine torch there")
        # With its index: another thread's current device may be another one.
        self.device = torch.device("cuda", torch.cuda.current_device() if str(wanted) == "cuda" else wanted.index)
        require(self.device)
        self._precision = precision
        if precision == "fp32":
            without_tf32()

    @property
    def description(self) -> str:
        """Version, precision and card."""
        card = torch.cuda.get_device_name(self.device)
        return f"torch {torch.__version__} compiled, {self._precision}, {card} ({self.device})"

    def compile(self, network: Network) -> Engine:
        """Build the module and put it on the device; its kernels are compiled when a batch size is first asked for.

        Raises:
            EngineError: it does not fit there.
        """
        # Text encoder and conditioner run once a prompt: compiling takes longer than it could ever gain.
        if network.exact:
            return TorchRuntime(self.device).compile(network)
        module = network.build().eval().requires_grad_(False)
        if self._precision != "fp32":
            lower(module, DTYPES[self._precision])
        with enough_memory(network.name, self.device):
            module.to(device=self.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        return CudaEngine(compiled(module, network), network, self.device)

    def record(self, work: Callable[[], None], given: Tensor, made: Tensor) -> Step:
        """As ``Recorder`` says."""
        try:
            with enough_memory("whole step", self.device):
                return CudaStep(CudaGraphs(self.device).record(work), given, made)
        except RuntimeError as error:
            if isinstance(error, EngineError):
                raise
            raise EngineError(f"the whole step could not be recorded ({str(error).splitlines()[0][:200]})") from error
