"""OpenVINO: the engine of the CPU. Static shapes, bf16 where the CPU has it, compiled graphs kept on disk.

Measured: the rows of a batch cost linearly on a CPU, so one graph of batch 1 run row by row is as fast as a larger one,
and no change of steps, guidance or buffer size ever compiles anything.
"""

from __future__ import annotations

import io
import logging
import threading
import time
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import torch
from torch import Tensor

from engines.base import Engine, Network
from engines.cache import cache_file, write_atomically
from engines.errors import EngineError
from engines.folding import fold

log = logging.getLogger("streamdiff.engines")

FORMAT = 1
"""Raised when this file or the folding changes what a cached graph computes."""


@lru_cache(maxsize=1)
def _core() -> Any:
    return ov.Core()


class OpenVINOEngine:
    """One compiled graph of batch 1 and its buffers."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        # One request has one set of buffers; sessions that share the engine take turns.
        self._lock = threading.Lock()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Run on CPU tensors [batch, *shape]."""
        batch = len(inputs[0])
        arrays = [tensor.contiguous().numpy() for tensor in inputs]
        outputs: list[Tensor] = []
        with self._lock:
            for row in range(batch):
                for index, array in enumerate(arrays):
                    self._request.set_input_tensor(index, ov.Tensor(array[row : row + 1], shared_memory=True))
                self._request.infer()
                # A copy: the request writes into the same memory again.
                outputs.append(torch.from_numpy(np.array(self._request.get_output_tensor(0).data)))
        return outputs[0] if batch == 1 else torch.cat(outputs)


class OpenVINORuntime:
    """OpenVINO on the CPU."""

    name = "openvino"

    def __init__(self, precision: str | None = None) -> None:
        """Prepare the runtime.

        Args:
            precision: "bf16" or "f32"; None takes bf16 where the CPU has it.

        Raises:
            EngineError: a precision this CPU lacks.
        """
        self.device = torch.device("cpu")
        fast = "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision not in (None, "bf16", "f32") or (precision == "bf16" and not fast):
            raise EngineError(f"precision {precision!r}: this CPU runs f32{' and bf16' if fast else ' only'}")
        self.precision = precision or ("bf16" if fast else "f32")

    @property
    def description(self) -> str:
        """Version, precision and the CPU's name."""
        cpu = str(_core().get_property("CPU", "FULL_DEVICE_NAME")).strip()
        return f"openvino {ov.get_version().split('-')[0]}, {self.precision}, {cpu}"

    def compile(self, network: Network) -> Engine:
        """Load the graph from the cache, or convert, compile and keep it.

        Raises:
            EngineError: the conversion or compilation failed.
        """
        precision = "f32" if network.exact else self.precision
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
        capabilities = ",".join(sorted(_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")))
        # The packages that draw the graph count too: an upgrade may draw it otherwise.
        versions = [version(name) for name in ("torch", "diffusers", "transformers")]
        parts = (FORMAT, ov.get_version(), versions, precision, self.description, capabilities)
        path = cache_file(network, ".ov", *parts)
        compiled = self._load(path, options)
        if compiled is None:
            compiled = self._build(network, options)
            graph = io.BytesIO()
            compiled.export_model(graph)
            write_atomically(path, graph.getvalue())
        return OpenVINOEngine(compiled)

    def _load(self, path: Path, options: dict[str, str]) -> Any | None:
        try:
            if not path.is_file():
                return None
            return _core().import_model(path.read_bytes(), "CPU", options)
        except (RuntimeError, OSError) as error:
            log.warning("cached engine %s cannot be used (%s); building it again", path.name, _first_line(error))
            return None

    def _build(self, network: Network, options: dict[str, str]) -> Any:
        started = time.monotonic()
        module = fold(network.build().eval().requires_grad_(False))
        example = tuple(torch.zeros((1, *i.shape), dtype=i.dtype) for i in network.inputs)
        try:
            with torch.inference_mode(), _root_logger_kept(), warnings.catch_warnings():
                # Shapes are static here: what the tracer would like to be dynamic is meant to be fixed.
                warnings.simplefilter("ignore")
                graph: Any = ov.convert_model(module, example_input=example, input=[list(e.shape) for e in example])
            compiled = _core().compile_model(graph, "CPU", options)
        except Exception as error:
            raise EngineError(
                f"OpenVINO could not build the {network.name} ({_first_line(error)}); --engine torch runs it without"
            ) from error
        log.info("built the %s in %.1f s", network.name, time.monotonic() - started)
        return compiled


@contextmanager
def _root_logger_kept() -> Generator[None]:
    """The converter sets the root logger to its own taste, which would silence the program's other messages."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
