"""TensorRT-RTX's real parser and builder, on the CPU: graphs parse, plans are built ahead of time, weights keep names.

No plan runs here, so none of this says that TensorRT works; tests/gpu/test_tensorrt.py does, where there is a GPU.
"""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

import streamdiff
from engines import EngineError, Input, Network
from engines.export import export_onnx, parameters
from engines.notes import note_of
from engines.tensorrt import binding as bindings
from engines.tensorrt import plans
from engines.tensorrt.binding import Binding
from engines.tensorrt.builder import Plan, Profile, build
from engines.tensorrt.edges import bytes_at_edges
from engines.tensorrt.runtime import TensorRTRuntime, matrices
from engines.torch_engine import TorchRuntime
from streamdiff.models.load import TINY
from tests.engines import toys

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx is not installed; pip install tensorrt-rtx"
)


@pytest.fixture(scope="module")
def rtx() -> Binding:
    return bindings.load("tensorrt-rtx")


@pytest.fixture(scope="module")
def unet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SD-Turbo's UNet at toy width, no two weights equal, in fp16."""
    path = tmp_path_factory.mktemp("unet") / "unet.onnx"
    export_onnx(toys.unet(), path, precision="fp16")
    return path


@pytest.fixture(scope="module")
def unet_build(rtx: Binding, unet_file: Path) -> tuple[Plan, list[tuple[str, float]]]:
    """Its plan, and what was told of the way there."""
    told: list[tuple[str, float]] = []
    return build(rtx, unet_file, "unet", progress=lambda phase, share: told.append((phase, share))), told


@pytest.fixture(scope="module")
def encoder_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("encoder") / "encoder.onnx"
    export_onnx(toys.encoder(), path)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STREAMDIFF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"


@pytest.fixture
def runtime(cache: Path, monkeypatch: pytest.MonkeyPatch) -> TensorRTRuntime:
    """A runtime on a machine whose card is only said to be there."""
    monkeypatch.setattr(bindings, "check_cuda", lambda flavour: None)
    monkeypatch.setattr(bindings, "card", lambda flavour, device: bindings.Card("a card", (8, 9), "13.0"))
    return TensorRTRuntime("cuda:0", "tensorrt-rtx")


def parsed(rtx: Binding, path: Path) -> tuple[Any, Any]:
    """The network, and its parser, which owns the weights."""
    network = rtx.module.Builder(rtx.logger).create_network(0)
    parser = rtx.module.OnnxParser(network, rtx.logger)
    assert parser.parse_from_file(str(path))
    return network, parser


def test_every_lora_target_of_a_unet_is_a_named_weight_of_the_parsed_network(rtx: Binding, unet_file: Path) -> None:
    network, _parser = parsed(rtx, unet_file)
    modules = toys.unet().build().named_modules()
    targets = [f"{name}.weight" for name, module in modules if isinstance(module, nn.Linear | nn.Conv2d)]
    assert len(targets) == len(set(targets)) > 80
    assert [name for name in targets if not network.mark_weights_refittable(name)] == []
    assert set(targets) <= set(matrices(unet_file))
    assert not network.mark_weights_refittable("unet.no_such.weight")


def test_a_plan_of_fp16_is_in_fp16(unet_build: tuple[Plan, list[tuple[str, float]]]) -> None:
    plan, _ = unet_build
    assert len(plan.data) > 100_000
    # Whole numbers are shapes and timesteps; the few in fp32 are the edges, which keep the caller's types.
    assert plan.precisions["HALF"] > 300 and plan.precisions["FLOAT"] < 20
    assert plan.weights == {}


def test_a_free_batch_axis_needs_a_profile_and_a_fixed_one_takes_none(
    rtx: Binding, encoder_file: Path, tmp_path: Path
) -> None:
    free = tmp_path / "free.onnx"
    export_onnx(toys.encoder(), free, batch=None)
    assert build(rtx, free, "encoder", profile=Profile(1, 2, 8), workspace=1 << 28).data
    with pytest.raises(EngineError, match="shape of picture free; give a profile"):
        build(rtx, free, "encoder")
    with pytest.raises(EngineError, match="fixed batch"):
        build(rtx, encoder_file, "encoder", profile=Profile(1, 2, 8))


@pytest.mark.parametrize("sizes", [(0, 1, 1), (2, 1, 4), (1, 5, 4)])
def test_a_profile_out_of_order_is_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(EngineError, match="smallest, usual and largest"):
        Profile(*sizes)


def row_width(model: Any) -> int:
    """M, the numbers in a row of the conditioner."""
    conditioner = model.conditioner()
    return TorchRuntime("cpu").compile(conditioner)(*toys.random_inputs(conditioner, 1)).shape[1]


@pytest.mark.skipif(not (TINY / "model_index.json").is_file(), reason="the embedded model's weights are not there")
@pytest.mark.parametrize("part", ["encoder", "denoiser", "decoder"])
def test_the_embedded_model_builds_ahead_of_time(runtime: TensorRTRuntime, part: str, cache: Path) -> None:
    model = streamdiff.load_model("tiny")
    make = getattr(model, part)
    network: Network = make(64, 64, row_width(model)) if part == "denoiser" else make(64, 64)
    plan = runtime.plan(network, 1)
    assert len(plan.data) > 100_000 and plan.precisions["HALF"] > 50
    assert plans.read(runtime.plan_file(network, 1)) == plan
    # A second time it is read, not built: this network has nothing to build from.
    again = Network(network.name, network.key, network.inputs, lambda: pytest.fail("built again"))
    assert runtime.plan(again, 1) == plan


class Bytes(nn.Module):
    """Bytes in and out, moved about while they are bytes: what the parser refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, picture: Tensor) -> Tensor:
        x = self.conv(picture.permute(0, 3, 1, 2).float() / 255)
        return (x * 255).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def bytes_network() -> Network:
    def make() -> nn.Module:
        torch.manual_seed(0)
        return Bytes()

    return Network("bytes", "bytes", (Input("picture", (8, 8, 3), torch.uint8),), make)


def test_bytes_go_to_the_edges_where_the_parser_takes_them(rtx: Binding, tmp_path: Path) -> None:
    path = tmp_path / "bytes.onnx"
    export_onnx(bytes_network(), path)
    with pytest.raises(EngineError, match=r"cannot read the graph of the bytes \(Transpose .*UInt8"):
        build(rtx, path, "bytes")
    picture = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    (before,) = ort.InferenceSession(str(path)).run(None, {"picture": picture})
    bytes_at_edges(path)
    onnx.checker.check_model(str(path), full_check=True)
    (after,) = ort.InferenceSession(str(path)).run(None, {"picture": picture})
    assert before.dtype == after.dtype == np.uint8 and np.array_equal(before, after)
    network, _parser = parsed(rtx, path)
    types = network.get_input(0).dtype, network.get_output(0).dtype
    assert types == (rtx.module.DataType.UINT8, rtx.module.DataType.UINT8)
    assert build(rtx, path, "bytes").data


def test_a_graph_without_bytes_is_left_as_it_is(unet_file: Path) -> None:
    before = unet_file.read_bytes()
    bytes_at_edges(unet_file)
    assert unet_file.read_bytes() == before


def test_a_graph_that_computes_with_bytes_is_refused(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, picture: Tensor) -> Tensor:
            return (picture // 2).float()

    path = tmp_path / "odd.onnx"
    export_onnx(Network("odd", "odd", (Input("picture", (2,), torch.uint8),), Odd), path)
    with pytest.raises(EngineError, match="computes with bytes"):
        bytes_at_edges(path)


def test_progress_grows_from_nothing_to_all(unet_build: tuple[Plan, list[tuple[str, float]]]) -> None:
    _, told = unet_build
    shares = [share for _, share in told]
    assert shares == sorted(shares) and 0 < shares[0] < 0.1 and shares[-1] == 1
    assert len({phase for phase, _ in told}) > 3


def test_whoever_watches_can_stop_a_build(rtx: Binding, unet_file: Path) -> None:
    calls: list[float] = []

    def stop(phase: str, share: float) -> None:
        calls.append(share)
        if share > 0.2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(rtx, unet_file, "unet", progress=stop)
    assert calls[-1] > 0.2 and calls[-2] <= 0.2


def test_the_packages_messages_come_into_our_log(
    rtx: Binding, unet_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "streamdiff.engines")
    parsed(rtx, unet_file)
    told = [record for record in caplog.records if record.message.startswith("tensorrt_rtx:")]
    assert any(record.levelno == logging.DEBUG and "Opset version" in record.message for record in told)
    assert any(record.levelno == logging.INFO and "Int64 binding" in record.message for record in told)


def test_measured_kernels_are_kept_where_the_flavour_measures(rtx: Binding, encoder_file: Path, tmp_path: Path) -> None:
    timings = tmp_path / "timings.cache"
    plan = build(rtx, encoder_file, "encoder", timing_cache=timings)
    assert not timings.exists()
    assert "HALF" not in plan.precisions  # of an fp32 graph
    # RTX has TensorRT's calls for this, and they do nothing: enough to go through the file's life.
    measuring = Binding("tensorrt", rtx.module, rtx.version, rtx.logger, [])
    build(measuring, encoder_file, "encoder", timing_cache=timings)
    kept = timings.read_bytes()
    assert kept
    build(measuring, encoder_file, "encoder", timing_cache=timings)
    assert timings.read_bytes() == kept


def quantised(path: Path) -> None:
    """A matrix in 8 bits, as the graph of a quantised network has it."""
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.arange(-8, 8, dtype=np.int8).reshape(4, 4), "w8")
    scale = numpy_helper.from_array(np.array(0.1, np.float32), "scale")
    bias = numpy_helper.from_array(np.arange(16, dtype=np.float32).reshape(4, 4), "other")
    nodes = [
        helper.make_node("DequantizeLinear", ["w8", "scale"], ["w"], name="dequantise"),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("MatMul", ["y", "other"], ["z"]),
    ]
    x, z = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xz")
    graph = helper.make_graph(nodes, "eight", [x], [z], [weight, scale, bias])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))


def test_weights_of_8_bits_cannot_be_replaced(rtx: Binding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    quantised(tmp_path / "eight.onnx")
    with pytest.raises(EngineError, match=r"8 bits.*cannot be replaced"):
        build(rtx, tmp_path / "eight.onnx", "unet", refittable={"other": (4, 4)})


def test_a_network_in_int8_is_prepared_once_and_builds_for_any_batch(runtime: TensorRTRuntime, cache: Path) -> None:
    network = toys.encoder()
    eight = TensorRTRuntime("cuda:0", "tensorrt-rtx", "int8")
    with pytest.raises(
        EngineError, match=r"int8: the encoder .* streamdiff build --engine tensorrt-rtx --precision int8"
    ):
        eight.compile(network)
    eight.quantise(network, [tuple(toys.random_inputs(network, 1, seed)) for seed in range(4)])
    note = note_of(eight.eight_file(network))
    assert note is not None and not note.chosen and (note.engine, note.precision) == ("tensorrt-rtx", "int8")
    for batch in (1, 2):
        precisions = eight.plan(network, batch).precisions
        assert precisions["INT8"] > 30 and precisions["HALF"] > 50
    assert len(list(cache.glob("*.plan"))) == 2
    before = eight.plan_file(network, 1)
    eight.quantise(network, [tuple(x // 5 for x in toys.random_inputs(network, 1, 7))])
    assert eight.plan_file(network, 1) != before  # other ranges, other plans
    with pytest.raises(EngineError, match="cannot be replaced"):
        TensorRTRuntime("cuda:0", "tensorrt-rtx", "int8", refittable=True)


def test_in_fp8_the_matrices_of_a_network_are(runtime: TensorRTRuntime, cache: Path) -> None:
    network = toys.mixed()
    eight = TensorRTRuntime("cuda:0", "tensorrt-rtx", "fp8")
    eight.quantise(network, [tuple(toys.random_inputs(network, 1, seed)) for seed in range(4)])
    note = note_of(eight.eight_file(network))
    assert note is not None and not note.chosen and note.precision == "fp8"
    precisions = eight.plan(network, 1).precisions
    assert precisions["FP8"] == 4 and precisions["HALF"] > 4 and "INT8" not in precisions  # two products, two sides


def test_weights_the_graph_has_lost_are_named(rtx: Binding, unet_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(EngineError, match=r"2 weights of the unet.*such as lost\.a"):
        build(rtx, unet_file, "unet", refittable={**parameters(unet_file), "lost.a": (1,), "lost.b": (1,)})
