"""ONNX Runtime: one exported graph on whatever it was built for: CPU, CUDA, CoreML or DirectML.

What is kept between runs is the ONNX file. Measured on two CPU cores with the embedded model: ONNX Runtime starts from
it in 0.23 s, and from a graph that it has optimised before in 0.09 s, but that one holds for one kind of processor
only. The rows of a batch cost linearly on a CPU, run one by one or at once, and a graph of a fixed batch is exported in
half the time; so the graphs are of batch 1 and run row by row, except on CUDA. CoreML and DirectML want fixed shapes.
"""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engines import export
from engines.base import Engine, Input, Network
from engines.cache import cache_file, can_keep
from engines.errors import EngineError, last_line
from engines.notes import Note, write_note

log = logging.getLogger("streamdiff.engines")


@dataclass(frozen=True, slots=True)
class _Provider:
    """One of ONNX Runtime's execution providers.

    Attributes:
        name: as ONNX Runtime calls it.
        label: as people call it.
        precision: of the graphs that run on it.
        whole: it takes a batch at once; otherwise row by row.
    """

    name: str
    label: str
    precision: export.Precision
    whole: bool = False


_CPU = _Provider("CPUExecutionProvider", "CPU", "fp32")
_CUDA = _Provider("CUDAExecutionProvider", "CUDA", "fp16", whole=True)
# CoreML chooses its own precision; it starts from the exact numbers.
_COREML = _Provider("CoreMLExecutionProvider", "CoreML", "fp32")
_DIRECTML = _Provider("DmlExecutionProvider", "DirectML", "fp16")

_BY_DEVICE = {"cpu": _CPU, "cuda": _CUDA, "mps": _COREML}
_NUMPY: dict[torch.dtype, Any] = {torch.float32: np.float32, torch.uint8: np.uint8, torch.int64: np.int64}
_TORCH = {"tensor(float)": torch.float32, "tensor(uint8)": torch.uint8, "tensor(int64)": torch.int64}


class OnnxRuntimeEngine:
    """One session, bound to the memory of the tensors that it is called with: nothing is copied on their device."""

    def __init__(self, session: Any, inputs: tuple[Input, ...], device: torch.device, whole: bool, stream: Any) -> None:
        """Prepare the bindings.

        Args:
            session: ONNX Runtime's InferenceSession.
            inputs: the network's.
            device: where tensors are taken and returned.
            whole: run a batch at once, otherwise row by row.
            stream: the CUDA stream that the session runs on; None where there is none.
        """
        import onnxruntime

        self._session, self._inputs, self._device, self._whole, self._stream = session, inputs, device, whole, stream
        output = session.get_outputs()[0]
        self._shape: tuple[int, ...] = tuple(output.shape[1:])
        self._dtype = _TORCH[output.type]
        self._binding = session.io_binding()
        self._options: Any = onnxruntime.RunOptions()
        if stream is not None:
            # The order of streams is kept by events, so that the host need not wait.
            self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        # One binding; sessions that share the engine take turns.
        self._lock = threading.Lock()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Run on tensors [batch, *shape] of the network's types.

        Raises:
            ValueError: a tensor is not what the network takes, whose memory would be misread.
        """
        batch = len(inputs[0])
        given = [self._checked(x, want, batch) for x, want in zip(inputs, self._inputs, strict=True)]
        output = torch.empty((batch, *self._shape), dtype=self._dtype, device=self._device)
        parts = [slice(batch)] if self._whole else [slice(row, row + 1) for row in range(batch)]
        with self._lock, self._in_order():
            for part in parts:
                for want, x in zip(self._inputs, given, strict=True):
                    self._binding.bind_input(want.name, *self._memory(x[part]))
                self._binding.bind_output(export.OUTPUT, *self._memory(output[part]))
                self._session.run_with_iobinding(self._binding, self._options)
        return output

    def _checked(self, x: Tensor, want: Input, batch: int) -> Tensor:
        shape = (batch, *want.shape)
        if tuple(x.shape) != shape or x.dtype != want.dtype or x.device != self._device:
            raise ValueError(
                f"{want.name} must be {want.dtype} {shape} on {self._device}, not {x.dtype} {tuple(x.shape)} "
                f"on {x.device}"
            )
        return x.contiguous()

    def _memory(self, x: Tensor) -> tuple[str, int, Any, tuple[int, ...], int]:
        """Device type and index, element type, shape and address, as bindings take them."""
        return self._device.type, self._device.index or 0, _NUMPY[x.dtype], tuple(x.shape), x.data_ptr()

    @contextmanager
    def _in_order(self) -> Generator[None]:
        """After what the caller's stream has been given so far, and before what it is given next."""
        if self._stream is None:
            yield
            return
        caller = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(caller)
        try:
            # ONNX Runtime makes its card the thread's current one, and leaves it so.
            with torch.cuda.device(self._device):
                yield
        finally:
            caller.wait_stream(self._stream)


class OnnxRuntime:
    """ONNX Runtime on one device."""

    name = "onnxruntime"

    def __init__(self, device: torch.device | str | None = None, precision: str | None = None) -> None:
        """Prepare the runtime.

        Args:
            device: "cpu", "cuda" or "cuda:1", "mps" for CoreML; None takes the best that this onnxruntime can use:
                CUDA, CoreML, DirectML, CPU.
            precision: "fp32" or "fp16"; None takes fp16 on CUDA and DirectML.

        Raises:
            EngineError: packages are missing, the device cannot be used, or another precision.
        """
        if precision not in (None, "fp32", "fp16"):
            raise EngineError(f"precision {precision!r}: onnxruntime runs fp32, fp16")
        export.require("onnxruntime", "onnx", "onnxscript")
        import onnxruntime

        wanted = None if device is None else torch.device(device)
        self._onnxruntime: Any = onnxruntime
        self._provider = _provider(wanted)
        self.precision: export.Precision = precision or self._provider.precision
        # CoreML and DirectML take and return tensors in the host's memory.
        self.device, self._stream = torch.device("cpu"), None
        if self._provider is _CUDA:
            index = None if wanted is None else wanted.index
            self.device = torch.device("cuda", torch.cuda.current_device() if index is None else index)
            self._stream: Any = torch.cuda.Stream(self.device)

    @property
    def description(self) -> str:
        """Version, precision and provider."""
        where = str(self.device) if self._provider is _CUDA else self._provider.label
        return f"onnxruntime {self._onnxruntime.__version__}, {self.precision}, {where}"

    def compile(self, network: Network) -> Engine:
        """Load the graph from the cache, or export and keep it.

        Raises:
            EngineError: it cannot be exported or loaded.
        """
        precision: export.Precision = "fp32" if network.exact else self.precision
        # The packages that draw the graph count too: an upgrade may draw it otherwise.
        versions = [version(name) for name in ("torch", "diffusers", "transformers", "onnxscript")]
        path = cache_file(network, ".onnx", export.FORMAT, versions, precision, self._provider.whole)
        session = self._kept(path) or self._made(network, path, precision)
        return OnnxRuntimeEngine(session, network.inputs, self.device, self._provider.whole, self._stream)

    def _kept(self, path: Path) -> Any | None:
        if not path.is_file():
            return None
        try:
            return self._session(path)
        except EngineError:
            raise
        except Exception as error:
            log.warning("cached engine %s cannot be used (%s); building it again", path.name, last_line(error))
            return None

    def _made(self, network: Network, path: Path, precision: export.Precision) -> Any:
        batch = None if self._provider.whole else 1
        with _writable(path) as place:
            try:
                export.export_onnx(network, place, precision=precision, batch=batch, folded=True)
            except OSError as error:
                raise EngineError(f"the {network.name} cannot be kept in {place.parent} ({error.strerror})") from error
            try:
                session = self._session(place)
            except EngineError:
                raise
            except Exception as error:
                raise EngineError(
                    f"ONNX Runtime cannot run the {network.name} ({last_line(error)}); --engine torch runs it without"
                ) from error
            if place == path:
                write_note(path, Note.of(network, self.name, precision))
            return session

    def _session(self, path: Path) -> Any:
        ort = self._onnxruntime
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        # Threads that spin while their session waits take the cores from the session that runs: measured, encoder,
        # UNet and decoder in turn took more than twice the time, and nearly three times the processor's.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        name, settings = self._provider.name, {}
        if self._provider is _CUDA:
            settings = {
                "device_id": self.device.index,
                "user_compute_stream": str(self._stream.cuda_stream),
                "use_tf32": 0,
            }
        elif self._provider is _COREML:
            settings = {"ModelFormat": "MLProgram"}
        elif self._provider is _DIRECTML:
            options.enable_mem_pattern = False
        providers = [(name, settings)] if self._provider is _CPU else [(name, settings), (_CPU.name, {})]
        session = ort.InferenceSession(str(path), options, providers=providers, enable_fallback=False)
        # Libraries that are not found make it go on with the next provider.
        if session.get_providers()[0] != name:
            raise EngineError(f"onnxruntime did not start {self._provider.label}: a library that it needs is missing")
        return session


def providers() -> list[str]:
    """What the installed onnxruntime runs on, the fastest first: "CUDA", "CoreML", "DirectML", "CPU"."""
    import onnxruntime

    present = onnxruntime.get_available_providers()
    return [provider.label for provider in (_CUDA, _COREML, _DIRECTML, _CPU) if provider.name in present]


def _provider(device: torch.device | None) -> _Provider:
    """The provider for a device, or the best one.

    Raises:
        EngineError: there is none.
    """
    import onnxruntime

    present = onnxruntime.get_available_providers()
    cuda = torch.cuda.is_available()
    if device is None:
        if cuda and _CUDA.name not in present:
            log.warning("onnxruntime has no CUDA here; pip install onnxruntime-gpu in place of onnxruntime")
        order = [*([_CUDA] if cuda else []), _COREML, _DIRECTML]
        return next((provider for provider in order if provider.name in present), _CPU)
    provider = _BY_DEVICE.get(device.type)
    if provider is None:
        raise EngineError(f"the onnxruntime engine does not run on {device}; use cpu, cuda, cuda:N or mps")
    if provider.name not in present:
        install = "pip install onnxruntime-gpu in place of onnxruntime, or " if provider is _CUDA else ""
        raise EngineError(f"this onnxruntime has no {provider.label} for {device}; {install}use --device cpu")
    if provider is _CUDA and not cuda:
        raise EngineError("onnxruntime has CUDA, but PyTorch finds no CUDA device on this machine; use --device cpu")
    return provider


@contextmanager
def _writable(path: Path) -> Generator[Path]:
    """Where to export to: the cache, or a folder that goes away once the graph is loaded."""
    if can_keep(path):
        yield path
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield Path(folder) / path.name
