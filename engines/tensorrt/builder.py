"""ONNX file to plan: what a builder is told, and what can go wrong."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from engines.cache import write_atomically
from engines.errors import EngineError
from engines.tensorrt.binding import Binding, one_line
from engines.tensorrt.progress import Phases, Progress, monitor

log = logging.getLogger("streamdiff.engines")

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Profile:
    """The batch sizes that one plan takes, kernels chosen for the usual one.

    Raises:
        EngineError: not 1 <= smallest <= usual <= largest.
    """

    smallest: int
    usual: int
    largest: int

    def __post_init__(self) -> None:
        if not 1 <= self.smallest <= self.usual <= self.largest:
            raise EngineError(f"batch sizes {self}: give smallest, usual and largest, from 1 up and in this order")

    def __str__(self) -> str:
        return f"{self.smallest} to {self.largest}, usually {self.usual}"

    def __contains__(self, batch: int) -> bool:
        return self.smallest <= batch <= self.largest


@dataclass(frozen=True)
class Plan:
    """A built network, serialised, and what cannot be read from it without a GPU.

    Attributes:
        data: the serialised engine.
        layers: number of layers of the network before the builder fused them.
        precisions: how many of them give which element type, as TensorRT names it: "HALF", "FLOAT", "INT64".
        weights: names and shapes of the weights that can be refitted; empty when none can.
    """

    data: bytes = field(repr=False)
    layers: int
    precisions: dict[str, int]
    weights: dict[str, tuple[int, ...]]


def build(
    binding: Binding,
    onnx: Path,
    name: str,
    *,
    profile: Profile | None = None,
    refittable: Shapes | None = None,
    workspace: int | None = None,
    timing_cache: Path | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Build an ONNX file. TensorRT-RTX does this without a GPU, TensorRT needs the one that will run the plan.

    Args:
        binding: the package to build with.
        onnx: the file; its element types are the plan's, the network being strongly typed.
        name: of the network, for messages and for tools that look at the plan.
        profile: batch sizes, where the file leaves the first axis of its inputs free.
        refittable: names and shapes of the weights to keep replaceable; None for the fastest plan.
        workspace: largest scratch memory of a layer in bytes; None for all the device has.
        timing_cache: file of measured kernels, read and then written; TensorRT-RTX measures nothing and has none.
        progress: told how far the build is; what it raises stops the build and is raised here.

    Raises:
        EngineError: the file does not parse, or no plan can be built from it.
    """
    started = time.monotonic()
    trt = binding.module
    binding.forget()
    if refittable:
        _check_refit(binding, name)
    builder = _made(binding, "builder", lambda: trt.Builder(binding.logger))
    # TensorRT 10 would choose precisions by itself otherwise; from 11 on, and in RTX, this is always so.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    network.name = name
    # The network reads its weights from the parser's memory until the plan is built.
    parser = trt.OnnxParser(network, binding.logger)
    if not parser.parse_from_file(str(onnx)):
        raise EngineError(f"{binding.flavour} cannot read the graph of the {name} ({_parser_error(parser)})")
    config = _configured(binding, builder, workspace)
    _set_profile(builder, config, network, name, profile)
    weights = _mark(binding, network, config, name, refittable) if refittable else {}
    timing = timing_cache if binding.flavour == "tensorrt" else None
    if timing is not None:
        _read_timings(config, timing)
    phases = Phases(progress) if progress is not None else None
    watcher = monitor(trt, phases) if phases is not None else None
    if watcher is not None and hasattr(config, "progress_monitor"):
        config.progress_monitor = watcher
    serialised = builder.build_serialized_network(network, config)
    if phases is not None and phases.error is not None:
        raise phases.error
    if serialised is None:
        raise EngineError(f"{binding.flavour} could not build the {name}: {binding.reason()}")
    if timing is not None:
        write_atomically(timing, bytes(config.get_timing_cache().serialize()))
    data = bytes(serialised)
    log.info("built the %s in %.1f s, %.1f MB", name, time.monotonic() - started, len(data) / 1e6)
    return Plan(data, network.num_layers, _precisions(network), weights)


def _made(binding: Binding, what: str, make: Any) -> Any:
    """An object whose constructor the package refuses with None or a TypeError."""
    try:
        made = make()
    except TypeError:
        made = None
    if made is None:
        raise EngineError(f"{binding.flavour} could not make its {what}: {binding.reason()}")
    return made


def _configured(binding: Binding, builder: Any, workspace: int | None) -> Any:
    """An IBuilderConfig, as far as it does not depend on the network."""
    trt = binding.module
    config = builder.create_builder_config()
    if workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
    # Float32 is to be float32; whoever wants speed takes fp16.
    config.clear_flag(trt.BuilderFlag.TF32)
    if binding.flavour == "tensorrt-rtx":
        # It captures a stream into a graph only where nothing is allocated while it runs.
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
        if torch.cuda.is_available():
            # Else the plan is for every RTX card from Ampere on: larger, slower to build, and not for Turing.
            config.num_compute_capabilities = 1
            config.set_compute_capability(trt.ComputeCapability.CURRENT, 0)
    return config


def _parser_error(parser: Any) -> str:
    if not parser.num_errors:
        return "it gave no reason"
    error = parser.get_error(0)
    where = " ".join(part for part in (error.node_operator(), error.node_name()) if part)
    return one_line(f"{where}: {error.desc()}")


def _set_profile(builder: Any, config: Any, network: Any, name: str, profile: Profile | None) -> None:
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    free = [tensor.name for tensor in inputs if -1 in tuple(tensor.shape)]
    if bool(free) != (profile is not None):
        raise EngineError(
            f"the graph of the {name} " + (
                f"leaves the shape of {free[0]} free; give a profile of batch sizes" if free
                else f"has a fixed batch, and a profile was given (batches {profile})"
            )
        )  # fmt: skip
    if profile is None:
        return
    ranges = builder.create_optimization_profile()
    for tensor in inputs:
        rest = tuple(tensor.shape)[1:]
        ranges.set_shape(tensor.name, *((batch, *rest) for batch in (profile.smallest, profile.usual, profile.largest)))
    if config.add_optimization_profile(ranges) < 0:
        raise EngineError(f"the {name} does not take a profile of batches {profile}")


def _check_refit(binding: Binding, name: str) -> None:
    if binding.flavour == "tensorrt-rtx" and not torch.cuda.is_available():
        raise EngineError(
            f"tensorrt-rtx builds a plan whose weights can be replaced only where there is a CUDA device; build the "
            f"{name} without, or on the machine that will run it"
        )


def _mark(binding: Binding, network: Any, config: Any, name: str, refittable: Shapes) -> dict[str, tuple[int, ...]]:
    kinds = binding.module.LayerType
    layers = (network.get_layer(i).type for i in range(network.num_layers))
    if any(kind in (kinds.QUANTIZE, kinds.DEQUANTIZE) for kind in layers):
        raise EngineError(
            f"the {name} is quantised to 8 bits: its weights cannot be replaced; use the fp16 one for that"
        )
    lost = [weight for weight in refittable if not network.mark_weights_refittable(weight)]
    if lost:
        raise EngineError(
            f"{len(lost)} weights of the {name} are not in its graph under their names, such as {lost[0]}"
        )
    config.set_flag(binding.module.BuilderFlag.REFIT_INDIVIDUAL)
    return dict(refittable)


def _read_timings(config: Any, path: Path) -> None:
    data = path.read_bytes() if path.is_file() else b""
    cache = config.create_timing_cache(data)
    if cache is None or not config.set_timing_cache(cache, False):
        log.info("the measured kernels in %s are damaged or of another card; measuring again", path.name)
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _precisions(network: Any) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.num_outputs:
            counts[layer.get_output(0).dtype.name] += 1
    return dict(counts)
