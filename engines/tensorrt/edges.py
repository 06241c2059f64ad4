"""Bytes at the edges of a graph alone: TensorRT has inputs and outputs of uint8, but no layer that works on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engines.errors import EngineError

_MOVES = {"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Slice", "Concat", "Expand"}
"""Operators that move numbers and do not change them: in float32 they give what they give in bytes."""


def bytes_at_edges(path: Path) -> None:
    """Rewrite an ONNX file so that bytes become float32 on the way in, and float32 becomes bytes on the way out.

    In between what was in bytes is in float32, which holds each of their values. Inputs and outputs keep their names
    and types, the graph computes the same. A file without bytes is left as it is.

    Raises:
        EngineError: the graph computes with bytes, rather than moving and converting them.
    """
    import onnx
    from onnx import TensorProto

    model: Any = onnx.load(str(path), load_external_data=False)
    graph = model.graph
    byte = TensorProto.UINT8
    entering = [value.name for value in graph.input if value.type.tensor_type.elem_type == byte]
    leaving = [value.name for value in graph.output if value.type.tensor_type.elem_type == byte]
    casts = [(node, a) for node in graph.node if node.op_type == "Cast" for a in node.attribute if a.name == "to"]
    if not entering and not any(attribute.i == byte for _, attribute in casts):
        return
    _check(graph, {*entering, *(node.output[0] for node, attribute in casts if attribute.i == byte)})
    for _, attribute in casts:
        if attribute.i == byte:
            attribute.i = TensorProto.FLOAT
    inner = {name: f"{name}_float32" for name in (*entering, *leaving)}
    for node in graph.node:
        node.input[:] = [inner.get(name, name) for name in node.input]
        node.output[:] = [inner.get(name, name) for name in node.output]
    first = [onnx.helper.make_node("Cast", [name], [inner[name]], to=TensorProto.FLOAT) for name in entering]
    last = [onnx.helper.make_node("Cast", [inner[name]], [name], to=byte) for name in leaving]
    nodes = [*first, *graph.node, *last]
    del graph.node[:]
    graph.node.extend(nodes)
    # Types of tensors in between are hints, and those of bytes are no longer true.
    kept = [value for value in graph.value_info if value.type.tensor_type.elem_type != byte]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    onnx.save(model, str(path))


def _check(graph: Any, names: set[str]) -> None:
    """Refuse a graph in which the bytes of these tensors go through anything but moves and casts."""
    for node in graph.node:
        if names.isdisjoint(node.input):
            continue
        if node.op_type in _MOVES:
            names.update(node.output)
        elif node.op_type != "Cast":
            raise EngineError(
                f"the graph computes with bytes ({node.op_type} {node.name}), which TensorRT cannot; convert them to "
                "floating point first"
            )
