"""From int8 to float8 (E4M3) in a quantised ONNX file: the ranges stay, the eight bits are shared out otherwise.

ONNX Runtime's quantiser calibrates float8 on float32 graphs alone, and by deviations; for int8 it takes the largest
value. That divided by float8's largest is the scale that TensorRT's own tools take for FP8 too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

LARGEST = float(torch.finfo(torch.float8_e4m3fn).max)
_LARGEST_INT8 = 127.0
_SUFFIX = "_quantized"  # of weights that ONNX Runtime's quantiser has rounded


def as_float8(path: Path, plain: Path) -> None:
    """Rewrite a file in int8, one scale for each tensor and symmetric, in float8.

    Args:
        path: what ONNX Runtime's quantiser made; it is replaced, its weights taken into it.
        plain: what it was made of: weights are rounded from there, once and not twice.
    """
    import onnx
    from onnx import TensorProto, numpy_helper

    model: Any = onnx.load(str(path))
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    weights = {tensor.name: tensor for tensor in onnx.load(str(plain)).graph.initializer}
    scales: dict[str, float] = {}
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        value, scale, zero = node.input
        if scale not in scales:
            number = numpy_helper.to_array(constants[scale])
            changed = (number * (_LARGEST_INT8 / LARGEST)).astype(number.dtype)
            scales[scale] = float(changed)
            constants[scale].CopyFrom(numpy_helper.from_array(changed, scale))
        if constants[zero].data_type == TensorProto.INT8:
            constants[zero].CopyFrom(_float8(zero, torch.zeros(())))
        if value in constants and constants[value].data_type == TensorProto.INT8:
            exact = torch.from_numpy(numpy_helper.to_array(weights[value.removesuffix(_SUFFIX)]).copy()).float()
            constants[value].CopyFrom(_float8(value, (exact / scales[scale]).clamp(-LARGEST, LARGEST)))
    del model.graph.value_info[:]  # the types between have changed
    onnx.save(model, str(path))


def _float8(name: str, values: torch.Tensor) -> Any:
    from onnx import TensorProto, helper

    rounded = values.to(torch.float8_e4m3fn).view(torch.uint8).numpy().tobytes()
    return helper.make_tensor(name, TensorProto.FLOAT8E4M3FN, list(values.shape), rounded, raw=True)
