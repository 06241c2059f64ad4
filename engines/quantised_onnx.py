"""Eight bits in an ONNX file: quantisation written into the graph, as TensorRT wants it.

ONNX Runtime's own tool does it. Every product with weights gets pairs of QuantizeLinear and DequantizeLinear before its
inputs: symmetric, activations with one scale; weights with a scale for each output channel in int8, with one in fp8.
Products of two activations, those of attention, stay as they are: their ranges are wide and they are few.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from engines.base import Input
from engines.errors import EngineError, last_line
from engines.export import data_file, require
from engines.float8_onnx import as_float8
from engines.precision import Eight
from engines.quantisation import Sample
from engines.root_logger import root_logger_kept

PRODUCTS = ("Conv", "Gemm", "MatMul")


def quantise_onnx(
    path: Path,
    name: str,
    inputs: Sequence[Input],
    samples: Sequence[Sample],
    eight: Eight = "int8",
    products: Sequence[str] = PRODUCTS,
) -> None:
    """Rewrite a file of ``export_onnx`` in eight bits; what its weights are called is lost.

    Args:
        path: the file, fp32 or fp16; it is replaced when all is well.
        name: of the network, for messages.
        inputs: the network's.
        samples: rows of its inputs, from which the activations' ranges are taken; all of them are run, on CUDA where
            this onnxruntime has it.
        eight: whole numbers, or float8 (E4M3).
        products: which operators are to be in eight bits.

    Raises:
        EngineError: packages are missing, or it failed.
    """
    require("onnx", "onnxruntime")
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory(dir=path.parent, prefix=path.name, suffix=".part") as folder, _quiet():
        plain, rounded = Path(folder) / "plain.onnx", Path(folder) / "rounded.onnx"
        try:
            large = data_file(path).exists()
            dynamic = _prepared(path, plain, large)
            quantize_static(
                str(plain),
                str(rounded),
                cast("Any", _Reader(inputs, samples)),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                per_channel=eight == "int8",
                op_types_to_quantize=list(products),
                nodes_to_exclude=dynamic,
                calibrate_method=CalibrationMethod.MinMax,
                calibration_providers=_providers(),
                use_external_data_format=large,
                extra_options={
                    "ActivationSymmetric": True,
                    "WeightSymmetric": True,
                    "QuantizeBias": False,
                    # What comes out of a product goes on as it is: the next one rounds what it takes.
                    "OpTypesToExcludeOutputQuantization": list(PRODUCTS),
                },
            )
            if eight == "fp8":
                as_float8(rounded, plain)
            elif large:
                _joined(rounded)
        except Exception as error:
            raise EngineError(f"the {name} could not be quantised ({last_line(error)})") from error
        rounded.replace(path)
        data_file(path).unlink(missing_ok=True)


class _Reader:
    """The samples, one by one, as ONNX Runtime takes them."""

    def __init__(self, inputs: Sequence[Input], samples: Sequence[Sample]) -> None:
        names = [i.name for i in inputs]
        self._rows: Iterator[dict[str, Any]] = (
            {name: tensor.numpy() for name, tensor in zip(names, sample, strict=True)} for sample in samples
        )

    def get_next(self) -> dict[str, Any] | None:
        """The next one; None after the last."""
        return next(self._rows, None)


def _providers() -> list[str]:
    """What the samples are run on."""
    import onnxruntime

    present = onnxruntime.get_available_providers()
    return [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in present]


def _joined(path: Path) -> None:
    """Take the weights that lie beside a file into it: half as many bytes as they were, they fit."""
    import onnx

    onnx.save(onnx.load(str(path)), str(path))


def _prepared(path: Path, target: Path, large: bool) -> list[str]:
    """Copy a file, weights that are turned before use turned already, so that each channel can have its scale.

    Args:
        path: the file.
        target: the copy.
        large: its weights do not fit into one file.

    Returns:
        Names of the products that have no weights.
    """
    import onnx
    from onnx import numpy_helper

    model: Any = onnx.load(str(path))
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    turned = [node for node in graph.node if node.op_type == "Transpose" and node.input[0] in weights]
    for node in turned:
        order = next((list(a.ints) for a in node.attribute if a.name == "perm"), None)
        value = numpy_helper.to_array(weights[node.input[0]]).transpose(order)
        weights[node.output[0]] = numpy_helper.from_array(value.copy(), node.output[0])
        graph.initializer.append(weights[node.output[0]])
        graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    onnx.save(model, str(target), save_as_external_data=large, location=data_file(target).name)
    return [node.name for node in graph.node if node.op_type in PRODUCTS and weights.keys().isdisjoint(node.input[:2])]


@contextmanager
def _quiet() -> Generator[None]:
    """Without the tool's advice, which it gives on the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with root_logger_kept():
            yield
    finally:
        logging.disable(before)
