"""The exported file computes what the module does, and every weight in it has its own name and is its only copy."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

import engines.export
from engines import EngineError, Input, Network
from engines.export import OUTPUT, data_file, export_onnx, parameters
from tests.engines import toys

FP16 = 1e-2
FP32 = 1e-5


def run(path: Path, inputs: list[Tensor]) -> Tensor:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    (output,) = session.run([OUTPUT], {name: x.numpy() for name, x in zip(names, inputs, strict=True)})
    return torch.from_numpy(np.asarray(output))


def initializers(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(path)).graph.initializer}


@pytest.fixture(scope="module")
def unet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("unet") / "unet.onnx"
    export_onnx(toys.unet(), path)
    return path


@pytest.fixture(scope="module")
def half_unet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("unet") / "unet.onnx"
    export_onnx(toys.unet(), path, precision="fp16", batch=2)
    return path


def test_a_unet_agrees_with_torch(unet_file: Path) -> None:
    inputs = toys.random_inputs(toys.unet(), 1)
    assert toys.difference(run(unet_file, inputs), toys.expected(toys.unet(), inputs)) < FP32


def test_a_unet_in_fp16_agrees_with_torch_in_fp32(half_unet_file: Path) -> None:
    inputs = toys.random_inputs(toys.unet(), 2)
    assert toys.difference(run(half_unet_file, inputs), toys.expected(toys.unet(), inputs)) < FP16


@pytest.mark.parametrize(
    ("make", "precision", "tolerance"),
    [
        (toys.small, "fp32", FP32),
        (toys.small, "fp16", FP16),
        (toys.encoder, "fp32", FP32),
        (toys.decoder, "fp32", FP32),
        (toys.decoder, "fp16", FP16),
    ],
)
def test_a_free_batch_axis_agrees_with_torch(
    tmp_path: Path, make: Callable[[], Network], precision: Literal["fp32", "fp16"], tolerance: float
) -> None:
    network, path = make(), tmp_path / "network.onnx"
    export_onnx(network, path, precision=precision, batch=None)
    for batch in (1, 2, 5):
        inputs = toys.random_inputs(network, batch)
        assert toys.difference(run(path, inputs), toys.expected(network, inputs)) < tolerance


def test_every_parameter_has_its_name_shape_and_numbers(unet_file: Path, half_unet_file: Path) -> None:
    for path, module in ((unet_file, toys.unet().build()), (half_unet_file, toys.unet().build().half())):
        found, wanted = initializers(path), dict(module.named_parameters())
        assert parameters(path) == {name: tuple(value.shape) for name, value in wanted.items()}
        for name, value in wanted.items():
            number = value.detach().numpy()
            assert found[name].dtype == number.dtype and np.array_equal(found[name], number)


LORA_TARGETS = (
    "to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out", "conv1", "conv2",
    "conv_shortcut", "time_emb_proj", "downsamplers.0.conv", "upsamplers.0.conv",
)  # fmt: skip


def test_a_lora_target_replaced_in_the_file_is_replaced_in_the_network(tmp_path: Path, unet_file: Path) -> None:
    module: Any = toys.unet().build()
    torch.manual_seed(3)
    replaced: dict[str, Tensor] = {}
    for name, value in module.named_parameters():
        if name.removesuffix(".weight").endswith(LORA_TARGETS):
            value.data += 0.1 * torch.randn_like(value)
            replaced[name] = value.data
    assert {end for end in LORA_TARGETS if any(name.endswith(f"{end}.weight") for name in replaced)} == set(
        LORA_TARGETS
    )
    proto = onnx.load(str(unet_file))
    for tensor in proto.graph.initializer:
        if tensor.name in replaced:
            tensor.CopyFrom(numpy_helper.from_array(replaced[tensor.name].numpy(), tensor.name))
    changed = tmp_path / "changed.onnx"
    onnx.save(proto, str(changed))
    inputs = toys.random_inputs(toys.unet(), 1)
    with torch.inference_mode():
        want = module(*inputs)
    assert toys.difference(run(changed, inputs), want) < FP32
    assert toys.difference(run(unet_file, inputs), want) > 1e-2


class Equal(nn.Module):
    """Parameters that are equal, tied, and unused."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.load_state_dict(self.first.state_dict())
        self.third.weight = self.first.weight
        self.unused = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.third(torch.relu(self.second(torch.relu(self.first(x)))))


def test_equal_parameters_keep_their_names(tmp_path: Path) -> None:
    network = Network("equal", "equal", (Input("x", (4,), torch.float32),), Equal)
    path = tmp_path / "equal.onnx"
    export_onnx(network, path)
    names = ["first.weight", "first.bias", "second.weight", "second.bias", "third.bias"]
    assert sorted(parameters(path)) == sorted(names)
    assert names == [name for name, _ in Equal().named_parameters() if "unused" not in name]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_callers_give_and_get_the_networks_own_types(tmp_path: Path, precision: Literal["fp32", "fp16"]) -> None:
    path = tmp_path / "small.onnx"
    export_onnx(toys.small(), path, precision=precision, batch=3)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = [(i.name, i.type, i.shape) for i in session.get_inputs()]
    assert given == [("picture", "tensor(uint8)", [3, 16, 24, 3]), ("t", "tensor(int64)", [3])]
    assert [(o.name, o.type, o.shape) for o in session.get_outputs()] == [(OUTPUT, "tensor(float)", [3, 4, 16, 24])]


def test_fp16_is_fp16_inside(half_unet_file: Path) -> None:
    graph = onnx.shape_inference.infer_shapes(onnx.load(str(half_unet_file))).graph
    types = {value.name: value.type.tensor_type.elem_type for value in [*graph.value_info, *graph.output]}
    heavy = [node for node in graph.node if node.op_type in ("Conv", "Gemm", "MatMul", "LayerNormalization", "Softmax")]
    assert len(heavy) > 40
    assert {types[node.output[0]] for node in heavy} == {onnx.TensorProto.FLOAT16}


def test_inputs_that_meet_no_weight_are_fp16_too(tmp_path: Path) -> None:
    class Conditioned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(4, 6, 3), nn.Conv2d(6, 4, 3)

        def forward(self, latent: Tensor, row: Tensor) -> Tensor:
            return self.last(torch.tanh(self.first(latent) + row[:, :, None, None]))

    path = tmp_path / "conditioned.onnx"
    inputs = toys.LATENT, Input("row", (6,), torch.float32)
    export_onnx(Network("conditioned", "conditioned", inputs, Conditioned), path, precision="fp16")
    graph = onnx.shape_inference.infer_shapes(onnx.load(str(path))).graph
    types = {value.name: value.type.tensor_type.elem_type for value in [*graph.value_info, *graph.output]}
    inside = {types[node.output[0]] for node in graph.node if node.op_type in ("Add", "Tanh", "Conv")}
    assert inside == {onnx.TensorProto.FLOAT16}


def test_one_opset_is_used(unet_file: Path) -> None:
    assert [(o.domain, o.version) for o in onnx.load(str(unet_file)).opset_import] == [("", engines.export.OPSET)]


def test_the_exporters_talk_is_kept_out_of_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    export_onnx(toys.small(), tmp_path / "small.onnx")
    assert [record.name for record in caplog.records] == ["streamdiff.engines"]
    assert [logging.getLogger(name).level for name in ("onnx_ir", "onnxscript")] == [logging.NOTSET] * 2


def test_nothing_of_this_machine_is_in_the_file(unet_file: Path) -> None:
    assert b".py" not in unet_file.read_bytes()


def test_convolutions_are_folded_on_request(tmp_path: Path) -> None:
    def build() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 3, 1), nn.ReLU())

    network = Network("pair", "pair", (toys.LATENT,), build)
    kept, folded = tmp_path / "kept.onnx", tmp_path / "folded.onnx"
    export_onnx(network, kept)
    export_onnx(network, folded, folded=True)
    assert list(parameters(kept)) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert list(parameters(folded)) == ["0.weight", "0.bias"]
    inputs = toys.random_inputs(network, 1)
    for path in (kept, folded):
        assert toys.difference(run(path, inputs), toys.expected(network, inputs)) < FP32


def test_large_weights_lie_beside_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.export, "SINGLE_FILE_BYTES", 1000)
    network, path = toys.small(), tmp_path / "new" / "small.onnx"
    for _ in range(2):  # the second time over what is there
        export_onnx(network, path)
        assert sorted(path.parent.iterdir()) == [path, data_file(path)]
    assert path.stat().st_size < data_file(path).stat().st_size
    assert parameters(path).keys() == dict(network.build().named_parameters()).keys()
    inputs = toys.random_inputs(network, 1)
    assert toys.difference(run(path, inputs), toys.expected(network, inputs)) < FP32


def test_a_failed_export_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.export, "SINGLE_FILE_BYTES", 1000)
    path = tmp_path / "small.onnx"
    export_onnx(toys.small(), path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def refuse(*_: object, **__: object) -> None:
        raise onnx.checker.ValidationError("no such operator")

    monkeypatch.setattr(onnx.checker, "check_model", refuse)
    with pytest.raises(EngineError, match=r"small cannot be written as ONNX .*no such operator"):
        export_onnx(toys.small(), path, precision="fp16")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_an_older_graph_is_never_left_with_newer_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.export, "SINGLE_FILE_BYTES", 1000)
    path, replace = tmp_path / "small.onnx", Path.replace
    export_onnx(toys.small(), path)

    def stop_at_the_graph(source: Path, target: Path) -> Path:
        if target == path:
            raise OSError(5, "the power went")
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", stop_at_the_graph)
    with pytest.raises(OSError, match="the power went"):
        export_onnx(toys.small(seed=1), path)
    assert not path.exists()


def test_a_module_that_has_no_graph_is_refused_in_one_line(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("no graph for you")

    with pytest.raises(EngineError, match="odd cannot be written") as caught:
        export_onnx(Network("odd", "odd", (toys.LATENT,), Odd), tmp_path / "odd.onnx")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else found(name))
    with pytest.raises(EngineError, match=rf'{package} is not installed; pip install "streamdiff\[onnx\]"'):
        export_onnx(toys.small(), tmp_path / "small.onnx")


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_a_file_of_something_else_is_said(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(onnx.ModelProto(ir_version=10).SerializeToString() if content is None else content)
    with pytest.raises(EngineError, match="not an ONNX file that streamdiff exported"):
        parameters(path)
