"""Is a plan right? Its outputs beside ONNX Runtime's, and what it consists of. Polygraphy drives both."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engines.agreement import Difference, Feed, difference, feed
from engines.base import Network
from engines.errors import EngineError
from engines.export import export_onnx
from engines.tensorrt import plans
from engines.tensorrt.binding import Binding, Flavour
from engines.tensorrt.edges import bytes_at_edges
from engines.tensorrt.execution import deserialise
from engines.tensorrt.runtime import TensorRTRuntime


@dataclass(frozen=True, slots=True)
class Summary:
    """What a plan consists of.

    Attributes:
        size: bytes of the file.
        layers: layers of the network before the builder fused them.
        precisions: how many of those give which element type, as TensorRT names it.
        refittable: number of weights that can be replaced.
        fused: layers of the plan itself; None where it was not loaded.
        memory: bytes of scratch memory that one execution takes; None where it was not loaded.
    """

    size: int
    layers: int
    precisions: Mapping[str, int]
    refittable: int
    fused: int | None = None
    memory: int | None = None


def check(runtime: TensorRTRuntime, network: Network, batch: int = 1, seed: int = 0) -> tuple[Difference, ...]:
    """Compare the plan of a network with its float32 graph in ONNX Runtime, on random inputs.

    Args:
        runtime: whose plan is taken, from its cache or newly built.
        network: what it computes.
        batch: rows of the inputs.
        seed: of the inputs.

    Raises:
        EngineError: polygraphy or ONNX Runtime is missing, or the plan cannot be built, loaded or run.
    """
    trt_runner: Any = _polygraphy(runtime.binding.flavour, "trt").TrtRunner
    onnxrt: Any = _polygraphy(runtime.binding.flavour, "onnxrt")
    with tempfile.TemporaryDirectory(prefix="streamdiff") as folder, torch.cuda.device(runtime.device):
        plan = runtime.plan(network, batch)
        onnx = Path(folder) / f"{network.name}.onnx"
        export_onnx(network, onnx, batch=batch)
        bytes_at_edges(onnx)
        reference = onnxrt.OnnxrtRunner(onnxrt.SessionFromOnnx(str(onnx), providers=["cpu"]))
        tested = trt_runner(deserialise(runtime.binding, plan.data, network.name))
        return compare(reference, tested, feed(network, batch, seed))


def compare(reference: Any, tested: Any, inputs: Feed) -> tuple[Difference, ...]:
    """Run two of polygraphy's runners on equal inputs.

    Raises:
        EngineError: one cannot run, or they have other outputs.
    """
    want, got = _outputs(reference, inputs), _outputs(tested, inputs)
    if {name: array.shape for name, array in want.items()} != {name: array.shape for name, array in got.items()}:
        raise EngineError(f"the reference gives {_shapes(want)}, the plan {_shapes(got)}; build it again")
    return tuple(difference(name, want[name], got[name]) for name in want)


def inspect(path: Path, binding: Binding | None = None) -> Summary:
    """What a kept plan consists of.

    Args:
        path: the plan's file.
        binding: loads it too, onto the current CUDA device, for what only the device tells; None does without.

    Raises:
        EngineError: there is no whole plan, or it cannot be loaded.
    """
    plan = plans.read(path)
    if plan is None:
        raise EngineError(f"{path} is not a whole plan; build it again")
    engine = None if binding is None else deserialise(binding, plan.data, path.stem)
    return Summary(
        size=len(plan.data),
        layers=plan.layers,
        precisions=plan.precisions,
        refittable=len(plan.weights),
        fused=None if engine is None else int(engine.num_layers),
        memory=None if engine is None else int(engine.device_memory_size_v2),
    )


def _polygraphy(flavour: Flavour, backend: str) -> Any:
    """One of polygraphy's backends, set to drive this flavour.

    Raises:
        EngineError: it or ONNX Runtime is missing, or it already drives the other flavour.
    """
    for package in ("polygraphy", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise EngineError(f"{package} is not installed, and the check needs it; pip install {package}")
    rtx = flavour == "tensorrt-rtx"
    # It reads this once, when it is first imported.
    if "polygraphy.config" not in sys.modules:
        os.environ["POLYGRAPHY_USE_TENSORRT_RTX"] = "1" if rtx else "0"
    config: Any = importlib.import_module("polygraphy.config")
    if rtx != config.USE_TENSORRT_RTX:
        raise EngineError(f"polygraphy drives the other flavour in this process; check {flavour} in a new one")
    return importlib.import_module(f"polygraphy.backend.{backend}")


def _outputs(runner: Any, inputs: Feed) -> dict[str, np.ndarray[Any, Any]]:
    exception: Any = importlib.import_module("polygraphy.exception").PolygraphyException
    try:
        with runner:
            given = runner.get_input_metadata()
            wanted = {name: array for name, array in inputs.items() if name in given}
            # Copies: a runner may use the same memory again.
            return {name: np.array(array) for name, array in runner.infer(wanted).items()}
    except exception as error:
        raise EngineError(f"the check could not run {runner.name} ({' '.join(str(error).split())[:200]})") from error


def _shapes(arrays: Mapping[str, np.ndarray[Any, Any]]) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
