"""Everything that can be missing or refused on the way to a TensorRT engine has a line of its own that says so."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper

import engines.tensorrt.execution
from engines import EngineError, available, choose
from engines.tensorrt import TensorRTRuntime
from engines.tensorrt import binding as bindings
from engines.tensorrt.binding import Binding, Flavour
from engines.tensorrt.builder import build
from engines.tensorrt.execution import Execution, deserialise
from tests.engines import toys
from tests.engines.fake_tensorrt import FakeTensorRT, Stream

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx is not installed; pip install tensorrt-rtx"
)


@pytest.fixture
def a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch says that there is a CUDA device."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "a card")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (8, 9))


@pytest.fixture
def rtx() -> Binding:
    return bindings.load("tensorrt-rtx")


def graph(path: Path, operator: str = "Relu") -> Path:
    """A graph of one node."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    node = helper.make_node(operator, ["x"], ["y"], name="the node")
    made = helper.make_graph([node], "one", [x], [y])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    return path


@pytest.mark.parametrize(
    ("flavour", "says"),
    [("tensorrt", "NVIDIA gives it out"), ("tensorrt-rtx", r'pip install "streamdiff\[tensorrt-rtx\]"')],
)
def test_a_missing_package(monkeypatch: pytest.MonkeyPatch, a_card: None, flavour: Flavour, says: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for make in (lambda: bindings.load(flavour), lambda: choose(flavour, "cpu")):
        with pytest.raises(EngineError, match=f"{flavour} is not installed.*{says}") as caught:
            make()
        assert "\n" not in str(caught.value)


def test_either_package_will_do_and_neither_names_the_one_that_pip_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match="tensorrt-rtx is not installed"):
        bindings.load()


@pytest.mark.parametrize(
    "error", [ImportError("libcudart.so.13: cannot open shared object file"), OSError("libnvinfer.so: bad ELF")]
)
def test_libraries_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken(name: str) -> Any:
        raise error

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(EngineError, match=r"tensorrt is installed, but its libraries.*\(lib.*install it again"):
        bindings.load("tensorrt")


def test_an_unknown_flavour() -> None:
    flavour: Any = "tensorrt-lite"
    with pytest.raises(EngineError, match="known: tensorrt, tensorrt-rtx"):
        bindings.load(flavour)


def test_a_pytorch_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(EngineError, match="tensorrt needs an NVIDIA card and a PyTorch with CUDA"):
        choose("tensorrt")


def test_no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineError, match=r"tensorrt-rtx needs an NVIDIA card and its driver.*nvidia-smi"):
        choose("tensorrt-rtx")


def test_no_driver(monkeypatch: pytest.MonkeyPatch, a_card: None) -> None:
    def missing(name: str) -> Any:
        raise OSError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(EngineError, match=r"NVIDIA's driver, which cannot be loaded \(libcuda"):
        bindings.card("tensorrt", torch.device("cuda:0"))


@pytest.mark.parametrize(("version", "says"), [(13000, "13.0"), (12080, "12.8")])
def test_the_drivers_version_as_nvidia_writes_it(
    monkeypatch: pytest.MonkeyPatch, a_card: None, version: int, says: str
) -> None:
    def tell(pointer: Any) -> int:
        pointer._obj.value = version
        return 0

    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(cuDriverGetVersion=tell))
    assert bindings.card("tensorrt", torch.device("cuda:0")) == bindings.Card("a card", (8, 9), says)


@needs_rtx
def test_a_device_that_is_not_cuda_and_a_precision_that_is_none(a_card: None) -> None:
    with pytest.raises(EngineError, match="runs on CUDA devices, not on cpu"):
        TensorRTRuntime("cpu", "tensorrt-rtx")
    precision: Any = "bf16"
    with pytest.raises(EngineError, match="'bf16': TensorRT takes fp16, fp32, int8 or fp8"):
        TensorRTRuntime("cuda:0", "tensorrt-rtx", precision)


@needs_rtx
def test_float8_on_a_card_without_it_and_calibrating_for_sixteen_bits(
    a_card: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bindings, "card", lambda flavour, device: bindings.Card("an older card", (8, 6), "13.0"))
    with pytest.raises(EngineError, match="fp8 is for cards from Ada and Hopper on; int8 is for an older card too"):
        TensorRTRuntime("cuda:0", "tensorrt-rtx", "fp8")
    with pytest.raises(EngineError, match="'fp16': only int8 and fp8 are calibrated"):
        TensorRTRuntime("cuda:0", "tensorrt-rtx").quantise(toys.small(), [])


def test_automatic_choice_takes_neither(monkeypatch: pytest.MonkeyPatch, a_card: None) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    found = [candidate.name for candidate in available() if candidate.usable]
    assert {"tensorrt", "tensorrt-rtx"} <= set(found)
    monkeypatch.setattr("engines.cuda_engine.require", lambda device: None)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    assert found[0] == "cuda" and choose().name == "cuda"


@needs_rtx
def test_a_graph_the_parser_does_not_know(rtx: Binding, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"cannot read the graph of the unet \(Swirl the node: .*Plugin not found"):
        build(rtx, graph(tmp_path / "odd.onnx", "Swirl"), "unet")


@needs_rtx
def test_a_file_that_is_not_there(rtx: Binding, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"cannot read the graph.*Input file cannot be found"):
        build(rtx, tmp_path / "none.onnx", "unet")


@needs_rtx
def test_rtx_needs_a_card_for_weights_that_can_be_replaced(
    rtx: Binding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineError, match="only where there is a CUDA device"):
        build(rtx, graph(tmp_path / "one.onnx"), "unet", refittable={"w": (1,)})


@needs_rtx
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device, and the build would succeed")
def test_a_build_that_gives_nothing(rtx: Binding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Believing that there is a card, it asks for what needs one, and the package really answers None.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    path = tmp_path / "one.onnx"
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4, 4], [float(i) for i in range(16)])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    made = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "one", [x], [y], [weight])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    with pytest.raises(EngineError, match=r"tensorrt-rtx could not build the unet: .*buildSerializedNetwork"):
        build(rtx, path, "unet", refittable={"w": (4, 4)})


def test_a_plan_is_not_even_tried_without_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(EngineError, match="NVIDIA card"):
        deserialise(Binding("tensorrt", None, "0", None, []), b"plan", "unet")


@needs_rtx
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device, and the plan would load")
def test_a_plan_that_does_not_load(rtx: Binding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = build(rtx, graph(tmp_path / "one.onnx"), "unet")
    # Believing that there is a card, it asks the package, which really answers None.
    monkeypatch.setattr(engines.tensorrt.execution, "check_cuda", lambda flavour: None)
    with pytest.raises(EngineError, match=r"cannot load the plan of the unet: .*driver"):
        deserialise(rtx, plan.data, "unet")


@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt-rtx"])
def test_a_context_that_is_not_made(flavour: Flavour, tmp_path: Path) -> None:
    fake = FakeTensorRT(flavour)
    strategies = SimpleNamespace(EAGER="EAGER")
    fake.binding.module.DynamicShapesKernelSpecializationStrategy = strategies
    config = SimpleNamespace(create_runtime_cache=object, set_runtime_cache=lambda cache: True)
    engine = SimpleNamespace(
        create_execution_context=lambda *config: None, create_runtime_config=lambda: config, num_io_tensors=0
    )
    stream: Any = Stream([], "engine")
    with pytest.raises(EngineError, match=f"{flavour} could not make a context for the unet.*memory"):
        Execution(fake.binding, engine, "unet", {}, stream, tmp_path / "none.jit")


def test_the_packages_own_objects_that_are_not_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(logger: object) -> Any:
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(engines.tensorrt.execution, "check_cuda", lambda flavour: None)
    binding = Binding("tensorrt", SimpleNamespace(Runtime=refuse, Builder=refuse), "0", None, [])
    with pytest.raises(EngineError, match="cannot load the plan of the unet"):
        deserialise(binding, b"plan", "unet")
    with pytest.raises(EngineError, match="could not make its builder: it gave no reason"):
        build(binding, tmp_path / "one.onnx", "unet")


@needs_rtx
@pytest.mark.parametrize(("capability", "named"), [((8, 9), True), ((12, 0), True), ((9, 0), False)])
def test_cards_that_rtx_is_not_made_for_are_known(rtx: Binding, capability: tuple[int, int], named: bool) -> None:
    assert bindings.supported(rtx, bindings.Card("a card", capability, "13.0")) is named
