"""ONNX export of a network, every weight under its own name, for engines that read ONNX files and may refit them."""

from __future__ import annotations

import importlib.util
import logging
import tempfile
import time
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from engines.base import Network
from engines.errors import EngineError, last_line
from engines.folding import fold
from engines.precision import lower

log = logging.getLogger("streamdiff.engines")

OPSET = 20
"""Version of ONNX's operators: the newest that ONNX Runtime, TensorRT 10 and 11 and TensorRT-RTX all read."""
FORMAT = 1
"""Raised when this file changes what is written for an equal network."""
OUTPUT = "output"
"""Name of the one output."""
SINGLE_FILE_BYTES = 1 << 30
"""Weights of more bytes than these go into a file of their own: protobuf ends at 2 GiB and copies all it writes."""

Precision = Literal["fp32", "fp16"]

_PARAMETERS = "streamdiff.parameters"


def export_onnx(
    network: Network, path: Path, *, precision: Precision = "fp32", batch: int | None = 1, folded: bool = False
) -> None:
    """Write a network as an ONNX file.

    Its inputs have the network's names, shapes and types in either precision, its output is ``OUTPUT``. Each parameter
    is an initializer named as ``named_parameters()`` names it, in the module's own shape, equal ones not merged and
    none folded into another; only parameters that the output does not depend on are left out.

    Args:
        network: what to write; it is built.
        path: the file, its folder made where missing. Large weights lie beside it in ``data_file(path)``. Both appear
            whole or not at all.
        precision: of weights and arithmetic. "fp16" is ``module.half()`` with casts of floating inputs to fp16 and of
            a floating output to fp32; what the module itself computes in fp32 stays so.
        batch: size of the batch axis; None leaves it free.
        folded: merge convolutions first (``engines.folding``), where names may change.

    Raises:
        EngineError: packages are missing, or the module cannot be expressed in ONNX.
        OSError: the file cannot be written.
    """
    require("onnx", "onnxscript")
    started = time.monotonic()
    module = network.build().eval().requires_grad_(False)
    if folded:
        module = fold(module)
    if precision == "fp16":
        lower(module, torch.float16)
    try:
        with _quiet():
            model = _converted(module, network, batch)
            _optimise(model, _names(module))
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(model, path)
    except OSError:
        raise
    except Exception as error:
        raise EngineError(
            f"the {network.name} cannot be written as ONNX ({last_line(error)}); --engine torch runs it without"
        ) from error
    log.info("exported the %s in %.1f s", network.name, time.monotonic() - started)


def parameters(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters in an exported file.

    Raises:
        EngineError: the package onnx is missing, or it is not a file of ``export_onnx``.
        OSError: it cannot be read.
    """
    require("onnx")
    import onnx

    try:
        model: Any = onnx.load(str(path), load_external_data=False)
        names = {entry.key: entry.value for entry in model.metadata_props}[_PARAMETERS].split("\n")
    except OSError:
        raise
    except Exception:
        raise EngineError(f"{path} is not an ONNX file that streamdiff exported; delete it") from None
    shapes = {tensor.name: tuple(int(size) for size in tensor.dims) for tensor in model.graph.initializer}
    return {name: shapes[name] for name in names if name}


def data_file(path: Path) -> Path:
    """Where the weights of an exported file are when they are not in it."""
    return path.with_name(path.name + ".data")


def require(*packages: str) -> None:
    """Check that packages of the extra "onnx" are there.

    Raises:
        EngineError: one is not.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise EngineError(f'{package} is not installed; pip install "streamdiff[onnx]"')


def _names(module: nn.Module) -> dict[str, str]:
    """Every name of every parameter, those of tied ones included, with the one that ``named_parameters()`` gives."""
    first: dict[int, str] = {}
    found = module.named_parameters(remove_duplicate=False)
    return {name: first.setdefault(id(parameter), name) for name, parameter in found}


def _converted(module: nn.Module, network: Network, batch: int | None) -> Any:
    """The module as an ``onnx_ir.Model``, not yet optimised: torch's own optimiser folds weights."""
    # A free axis must not be 1 in the example, or it would be taken for a fixed one.
    example = tuple(torch.zeros((batch or 2, *i.shape), dtype=i.dtype) for i in network.inputs)
    axis = torch.export.Dim("batch", min=1)
    free = None if batch is not None else tuple({0: axis} for _ in network.inputs)
    program = torch.onnx.export(
        module, example, dynamo=True, optimize=False, opset_version=OPSET, verbose=False, dynamic_shapes=free,
        input_names=[i.name for i in network.inputs], output_names=[OUTPUT],
    )  # fmt: skip
    if program is None:
        raise EngineError("torch made no graph")
    return program.model


def _optimise(model: Any, names: dict[str, str]) -> None:
    """Fold constants and tidy the graph, parameters untouched and under their first names.

    While it is optimised its parameters are inputs, whose values nobody knows: none can be folded, merged with an
    equal one or fused into a neighbour.
    """
    import onnxscript.optimizer
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    graph = model.graph
    values = {names[name]: graph.initializers.pop(name) for name in names if name in graph.initializers}
    tensors = {name: value.const_value for name, value in values.items()}
    for value in values.values():
        value.const_value = None
        graph.inputs.append(value)
    onnxscript.optimizer.optimize_ir(model)
    for name, value in values.items():
        graph.inputs.remove(value)
        if value.uses():
            value.const_value = tensors[name]
            value.name = name
            graph.register_initializer(value)
    # Source lines and paths of the machine that exported.
    ClearMetadataAndDocStringPass()(model)
    model.metadata_props[_PARAMETERS] = "\n".join(name for name in values if name in graph.initializers)


def _write(model: Any, path: Path) -> None:
    """Save beside the target, check, and move into place."""
    import onnx
    import onnx_ir

    size = sum(value.const_value.nbytes for value in model.graph.initializers.values())
    data = data_file(path)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=path.name, suffix=".part") as folder:
        temporary = Path(folder) / path.name
        onnx_ir.save(model, temporary, external_data=data.name if size > SINGLE_FILE_BYTES else None)
        onnx.checker.check_model(str(temporary), full_check=True)
        if (temporary_data := Path(folder) / data.name).exists():
            # An older graph must not be left with newer weights should this process end between the two.
            path.unlink(missing_ok=True)
            temporary_data.replace(data)
        temporary.replace(path)


@contextmanager
def _quiet() -> Generator[None]:
    """Without the exporter's talk of packages that are not needed and of every node that it looks at."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
