"""Eight bits in an ONNX file: what is rounded, how, and that the numbers stay near."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, numpy_helper

from engines import EngineError, Network, export
from engines.export import data_file, export_onnx
from engines.precision import Eight
from engines.quantised_onnx import quantise_onnx
from tests.engines import toys


def written(network: Network, path: Path) -> None:
    export_onnx(network, path, precision="fp16", batch=None)


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """SD-Turbo's UNet at toy width, as it was written, and in eight bits."""
    folder = tmp_path_factory.mktemp("unet")
    plain, eight = folder / "plain.onnx", folder / "eight.onnx"
    written(toys.unet(), plain)
    shutil.copy(plain, eight)
    quantise(toys.unet(), eight)
    return plain, eight


def quantise(network: Network, path: Path, eight: Eight = "int8") -> None:
    samples = [tuple(toys.random_inputs(network, 1, seed)) for seed in range(8)]
    quantise_onnx(path, network.name, network.inputs, samples, eight)


def run(network: Network, path: Path, inputs: list[torch.Tensor]) -> torch.Tensor:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # As it is written: a CPU's own int8 kernels add errors of theirs.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = {i.name: x.numpy() for i, x in zip(network.inputs, inputs, strict=True)}
    return torch.from_numpy(session.run(None, given)[0])


@pytest.mark.parametrize(
    ("make", "far"), [(toys.unet, 0.08), (toys.encoder, 0.03), (toys.decoder, 0.03), (toys.small, 0.03)]
)
def test_numbers_stay_near_at_any_batch_size(
    tmp_path: Path, unet: tuple[Path, Path], make: Callable[[], Network], far: float
) -> None:
    network, path = make(), tmp_path / "n.onnx"
    if make is toys.unet:
        path = unet[1]
    else:
        written(network, path)
        quantise(network, path)
    for batch in (1, 3):
        inputs = toys.random_inputs(network, batch, 20 + batch)
        got, want = run(network, path, inputs), toys.expected(network, inputs)
        # Rounded to eight bits, and not full precision after all.
        assert 1e-3 <= toys.difference(got, want) <= far


def test_products_with_weights_are_rounded_as_tensorrt_wants_it(unet: tuple[Path, Path]) -> None:
    before: Any = onnx.load(str(unet[0])).graph
    graph: Any = onnx.load(str(unet[1])).graph
    made = {output: node for node in graph.node for output in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    of_weights = of_activations = 0
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        sources = [made.get(name) for name in node.input[:2]]
        rounded = [s is not None and s.op_type == "DequantizeLinear" for s in sources]
        if not any(rounded):
            of_activations += 1
            continue
        assert all(rounded)
        of_weights += 1
        x, weight = sources
        assert x is not None and weight is not None
        for dequantise in (x, weight):
            zero = numpy_helper.to_array(constants[dequantise.input[2]])
            assert zero.dtype == np.int8 and not zero.any()
        values = constants[weight.input[0]]
        assert values.data_type == TensorProto.INT8
        scales = numpy_helper.to_array(constants[weight.input[1]])
        axis = next(a.i for a in weight.attribute if a.name == "axis")
        outputs = 0 if node.op_type == "Conv" or any(a.name == "transB" and a.i for a in node.attribute) else 1
        assert axis == outputs and scales.shape == (values.dims[axis],)
    products = sum(node.op_type in ("Conv", "Gemm", "MatMul") for node in before.node)
    assert of_weights + of_activations == products and of_weights > 3 * of_activations > 0


@pytest.mark.parametrize(("make", "far"), [(toys.mixed, 0.08), (toys.encoder, 0.08), (toys.decoder, 0.08)])
def test_float8_has_the_same_ranges_and_weights_rounded_once(
    tmp_path: Path, make: Callable[[], Network], far: float
) -> None:
    network, whole, eight = make(), tmp_path / "whole.onnx", tmp_path / "eight.onnx"
    written(network, whole)
    plain = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(whole)).graph.initializer}
    shutil.copy(whole, eight)
    samples = [tuple(toys.random_inputs(network, 1, seed)) for seed in range(8)]
    quantise(network, eight, "fp8")
    onnx.checker.check_model(str(eight))
    graph: Any = onnx.load(str(eight)).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    rounded = 0
    for node in graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        assert constants[node.input[2]].data_type == TensorProto.FLOAT8E4M3FN
        scale = float(numpy_helper.to_array(constants[node.input[1]]))
        kept = plain.get(node.input[0].removesuffix("_quantized"))
        if kept is not None:  # a kernel, or a matrix that was not turned before it was rounded
            rounded += 1
            value = constants[node.input[0]]
            exact = torch.from_numpy(kept.copy()).float()
            assert scale == pytest.approx(float(exact.abs().max()) / 448, rel=2e-3)
            want = (exact / scale).clamp(-448, 448).to(torch.float8_e4m3fn)
            assert value.raw_data == want.view(torch.uint8).numpy().tobytes()
    assert rounded and not any(tensor.data_type == TensorProto.INT8 for tensor in graph.initializer)
    for batch in (1, 3):
        inputs = toys.random_inputs(network, batch, 20 + batch)
        assert 1e-3 <= toys.difference(run(network, eight, inputs), toys.expected(network, inputs)) <= far
    # Only matrices, where convolutions have no float8.
    quantise_onnx(whole, network.name, network.inputs, samples, "fp8", ("Gemm", "MatMul"))
    graph = onnx.load(str(whole)).graph
    sources = {output: node.op_type for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            eighth = sources.get(node.input[0]) == "DequantizeLinear"
            assert eighth == (node.op_type != "Conv")


@pytest.mark.parametrize("eight", ["int8", "fp8"])
def test_weights_beside_the_file_are_taken_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eight: Eight
) -> None:
    network, one, two = toys.encoder(), tmp_path / "one.onnx", tmp_path / "two.onnx"
    written(network, one)
    monkeypatch.setattr(export, "SINGLE_FILE_BYTES", 1)
    written(network, two)
    assert data_file(two).exists()
    for path in (one, two):
        quantise(network, path, eight)
    assert not data_file(two).exists()
    inputs = toys.random_inputs(network, 1, 5)
    assert torch.equal(run(network, one, inputs), run(network, two, inputs))


def test_what_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    network, path = toys.small(), tmp_path / "small.onnx"
    written(network, path)
    before = path.read_bytes()
    with pytest.raises(EngineError, match="the small could not be quantised") as caught:
        quantise_onnx(path, "small", network.inputs, [tuple(toys.random_inputs(network, 1, 1))[:1]])
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
