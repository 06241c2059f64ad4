"""OpenVINO: the engine of the CPU. Static shapes, bf16 where the CPU has it, int8 where built, graphs kept on disk.

Measured: the rows of a batch cost linearly on a CPU, so one graph of batch 1 run row by row is as fast as a larger one,
and no change of steps, guidance or buffer size ever compiles anything.
"""

from __future__ import annotations

import io
import logging
import threading
import time
import warnings
from collections.abc import Generator, Sequence
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
from engines.errors import EngineError, last_line
from engines.folding import fold
from engines.notes import Note, read_note, write_note
from engines.quantisation import Sample, quantised
from engines.root_logger import root_logger_kept

log = logging.getLogger("streamdiff.engines")

FORMAT = 2
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
            precision: "fp32"; "bf16"; "int8", for which ``streamdiff build`` must have made the graphs; or None: int8
                where it has been built and found good, else bf16 where the CPU has it, else fp32.

        Raises:
            EngineError: a precision this CPU lacks.
        """
        self.device = torch.device("cpu")
        fast = "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        known = ["fp32", *(["bf16"] if fast else []), "int8"]
        if precision not in (None, *known):
            raise EngineError(f"precision {precision!r}: openvino on this CPU runs {', '.join(known)}")
        self.precision = precision
        self._full = "bf16" if fast and precision != "fp32" else "fp32"

    @property
    def description(self) -> str:
        """Version, precision and the CPU's name."""
        return f"openvino {_version()}, {self.precision or f'{self._full} or built int8'}, {_cpu()}"

    def compile(self, network: Network) -> Engine:
        """Load the graph from the cache, or convert, compile and keep it.

        Raises:
            EngineError: the conversion or compilation failed, or int8 is asked for and was never built.
        """
        eight = self.precision == "int8" and not network.exact
        path = self._path(network, "int8")
        note = None if self.precision not in (None, "int8") or network.exact else read_note(path)
        if eight or (note is not None and note.chosen):
            compiled = self._load(path, self._full)
            if compiled is not None:
                return OpenVINOEngine(compiled)
            if eight:
                raise EngineError(
                    f"int8: the {network.name} of this model has not been built at this size; run: streamdiff build"
                )
        precision = "fp32" if network.exact else self._full
        path = self._path(network, precision)
        compiled = self._load(path, precision)
        if compiled is None:
            started = time.monotonic()
            with _built(network) as graph:
                compiled = _compiled(network, graph, precision)
            self._keep(path, compiled, Note.of(network, self.name, precision))
            log.info("built the %s in %.1f s", network.name, time.monotonic() - started)
        return OpenVINOEngine(compiled)

    def quantise(self, network: Network, samples: Sequence[Sample]) -> None:
        """Build a network in int8 and keep it; it is not chosen by itself until its note says so.

        Args:
            network: not an exact one.
            samples: rows of its inputs, as many as are to be run.

        Raises:
            EngineError: it failed.
        """
        with _built(network) as graph:
            compiled = _compiled(network, quantised(graph, samples), self._full)
        self._keep(self.eight_file(network), compiled, Note.of(network, self.name, "int8", chosen=False))

    def eight_file(self, network: Network) -> Path:
        """Where a network's int8 graph is kept, and its note."""
        return self._path(network, "int8")

    def _path(self, network: Network, precision: str) -> Path:
        capabilities = ",".join(sorted(_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")))
        # The packages that draw the graph count too: an upgrade may draw it otherwise.
        versions = [version(name) for name in ("torch", "diffusers", "transformers")]
        return cache_file(network, ".ov", FORMAT, ov.get_version(), versions, precision, _cpu(), capabilities)

    def _keep(self, path: Path, compiled: Any, note: Note) -> None:
        graph = io.BytesIO()
        compiled.export_model(graph)
        write_atomically(path, graph.getvalue())
        if path.is_file():
            write_note(path, note)

    def _load(self, path: Path, precision: str) -> Any | None:
        try:
            if not path.is_file():
                return None
            return _core().import_model(path.read_bytes(), "CPU", _options(precision))
        except (RuntimeError, OSError) as error:
            log.warning("cached engine %s cannot be used (%s); building it again", path.name, last_line(error))
            return None


def _version() -> str:
    return ov.get_version().split("-")[0]


def _cpu() -> str:
    return str(_core().get_property("CPU", "FULL_DEVICE_NAME")).strip()


@contextmanager
def _built(network: Network) -> Generator[Any]:
    """The network's graph, float32; the module lives as long, for the graph holds no weights of its own.

    Raises:
        EngineError: it cannot be converted.
    """
    module = fold(network.build().eval().requires_grad_(False))
    example = tuple(torch.zeros((1, *i.shape), dtype=i.dtype) for i in network.inputs)
    try:
        with torch.inference_mode(), root_logger_kept(), warnings.catch_warnings():
            # Shapes are static here: what the tracer would like to be dynamic is meant to be fixed.
            warnings.simplefilter("ignore")
            graph: Any = ov.convert_model(module, example_input=example, input=[list(e.shape) for e in example])
    except Exception as error:
        raise _failed(network, error) from error
    yield graph


def _compiled(network: Network, graph: Any, precision: str) -> Any:
    try:
        return _core().compile_model(graph, "CPU", _options(precision))
    except Exception as error:
        raise _failed(network, error) from error


def _options(precision: str) -> dict[str, str]:
    # An imported graph is compiled again, and needs them as much.
    return {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision]}


def _failed(network: Network, error: Exception) -> EngineError:
    return EngineError(
        f"OpenVINO could not build the {network.name} ({last_line(error)}); --engine torch runs it without"
    )
