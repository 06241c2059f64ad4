"""ONNX Runtime agrees with PyTorch, keeps its graphs, survives a bad cache, and says what it cannot do."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path

import onnxruntime as ort
import pytest
import torch
from torch import nn

import engines.export
from engines import EngineError, Network, notes
from engines.export import Precision
from engines.onnxruntime_engine import OnnxRuntime
from streamdiff.models.base import Model
from streamdiff.models.load import TINY, load_model
from tests.engines import toys

FP16 = 1e-2
FP32 = 1e-5


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def warm(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that are not about the cache share one."""
    monkeypatch.setenv("STREAMDIFF_CACHE", str(shared_cache))


@pytest.fixture
def cache(warm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one."""
    monkeypatch.setenv("STREAMDIFF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"


def counted(network: Network) -> tuple[Network, list[int]]:
    """The network, and a list that grows with each build."""
    builds: list[int] = []

    def build() -> nn.Module:
        builds.append(1)
        return network.build()

    return dataclasses.replace(network, build=build), builds


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", FP32), ("fp16", FP16)])
def test_agrees_with_torch_at_any_batch(precision: Precision, tolerance: float) -> None:
    engine = OnnxRuntime("cpu", precision).compile(toys.small())
    for batch in (1, 3):
        inputs = toys.random_inputs(toys.small(), batch)
        assert toys.difference(engine(*inputs), toys.expected(toys.small(), inputs)) < tolerance


def width(model: Model) -> int:
    """M, of the conditioner's rows."""
    network = model.conditioner()
    return toys.expected(network, toys.random_inputs(network, 1)).shape[1]


@pytest.mark.skipif(not (TINY / "model_index.json").is_file(), reason="the embedded model's weights are not there")
@pytest.mark.parametrize(
    ("choose", "tolerance"),
    [
        (lambda model: model.encoder(64, 64), FP32),
        (lambda model: model.decoder(64, 64), 1),
        (lambda model: model.denoiser(64, 64, width(model), deep=True), FP32),
        (lambda model: model.shallow(64, 64, width(model)), FP32),
        (Model.text_encoder, FP32),
        (Model.conditioner, FP32),
    ],
    ids=["encoder", "decoder", "denoiser", "shallow", "text", "conditioner"],
)
def test_the_embedded_model_agrees_with_torch(choose: Callable[[Model], Network], tolerance: float) -> None:
    network = choose(load_model("tiny"))
    inputs = toys.random_inputs(network, 2)
    got, want = OnnxRuntime("cpu").compile(network)(*inputs), toys.expected(network, inputs)
    assert toys.difference(got, want) <= tolerance
    if got.dtype == torch.uint8:
        assert float((got.float() - want.float()).abs().mean()) < 0.01


def test_a_precision_it_has_not_is_refused() -> None:
    with pytest.raises(EngineError, match="'bf16': onnxruntime runs fp32, fp16"):
        OnnxRuntime("cpu", "bf16")


def test_exact_networks_stay_fp32() -> None:
    network = dataclasses.replace(toys.small(), exact=True)
    inputs = toys.random_inputs(network, 1)
    assert toys.difference(OnnxRuntime("cpu", "fp16").compile(network)(*inputs), toys.expected(network, inputs)) < FP32


def test_an_output_is_the_callers_to_keep() -> None:
    engine = OnnxRuntime("cpu").compile(toys.small())
    first = engine(*toys.random_inputs(toys.small(), 2))
    kept = first.clone()
    second = engine(*toys.random_inputs(toys.small(), 2, seed=2))
    assert torch.equal(first, kept) and not torch.equal(first, second)


def test_inputs_of_any_memory_layout_are_read_as_they_are() -> None:
    engine = OnnxRuntime("cpu").compile(toys.small())
    picture, t = toys.random_inputs(toys.small(), 2)
    strided = picture.transpose(1, 2).contiguous().transpose(1, 2)
    assert not strided.is_contiguous()
    assert torch.equal(engine(strided, t), engine(picture, t))


@pytest.mark.parametrize(
    ("picture", "t"),
    [
        (torch.zeros(1, 16, 24, 3), torch.zeros(1, dtype=torch.int64)),
        (torch.zeros(1, 16, 25, 3, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)),
        (torch.zeros(2, 16, 24, 3, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)),
        (torch.zeros(1, 16, 24, 3, dtype=torch.uint8), torch.zeros(1, dtype=torch.int32)),
        (torch.zeros(1, 16, 24, 3, dtype=torch.uint8, device="meta"), torch.zeros(1, dtype=torch.int64)),
    ],
    ids=["type", "shape", "batch", "second type", "device"],
)
def test_memory_that_would_be_misread_is_refused(picture: torch.Tensor, t: torch.Tensor) -> None:
    engine = OnnxRuntime("cpu").compile(toys.small())
    with pytest.raises(ValueError, match="must be torch"):
        engine(picture, t)


def test_a_warm_cache_never_makes_the_module(cache: Path) -> None:
    network, builds = counted(toys.small())
    inputs = toys.random_inputs(network, 1)
    first = OnnxRuntime("cpu").compile(network)(*inputs)
    second = OnnxRuntime("cpu").compile(network)(*inputs)
    assert len(builds) == 1
    assert torch.equal(first, second)
    (kept,) = notes.kept()
    assert kept.path.suffix == ".onnx" and kept.note is not None
    assert (kept.note.engine, kept.note.precision, kept.note.network) == ("onnxruntime", "fp32", "small")
    notes.remove(kept)
    assert not list(cache.iterdir())


def test_another_network_or_precision_is_another_file(cache: Path) -> None:
    inputs = toys.random_inputs(toys.small(), 1)
    results = [
        OnnxRuntime("cpu", precision).compile(network)(*inputs)
        for precision, network in (("fp32", toys.small()), ("fp16", toys.small()), ("fp32", toys.small(seed=1)))
    ]
    assert len(list(cache.glob("*.onnx"))) == 3
    assert toys.difference(results[1], results[0]) < FP16 < toys.difference(results[2], results[0])


@pytest.mark.parametrize("damage", [b"garbage", None])
def test_a_damaged_cache_is_built_again(cache: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture) -> None:
    network, builds = counted(toys.small())
    inputs = toys.random_inputs(network, 1)
    want = OnnxRuntime("cpu").compile(network)(*inputs)
    (file,) = cache.glob("*.onnx")
    file.write_bytes(file.read_bytes()[:1000] if damage is None else damage)
    assert torch.equal(OnnxRuntime("cpu").compile(network)(*inputs), want)
    assert len(builds) == 2
    assert "building it again" in caplog.text


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damaged_weights_beside_the_graph_are_built_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    monkeypatch.setattr(engines.export, "SINGLE_FILE_BYTES", 1000)
    network, builds = counted(toys.small())
    inputs = toys.random_inputs(network, 1)
    want = OnnxRuntime("cpu").compile(network)(*inputs)
    (data,) = cache.glob("*.data")
    if damage == "cut":
        data.write_bytes(data.read_bytes()[:1000])
    else:
        data.unlink()
    assert torch.equal(OnnxRuntime("cpu").compile(network)(*inputs), want)
    assert len(builds) == 2
    assert "building it again" in caplog.text


def test_a_cache_that_cannot_be_written_is_said_and_not_fatal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STREAMDIFF_CACHE", str(tmp_path / "file"))
    network, builds = counted(toys.small())
    assert OnnxRuntime("cpu").compile(network)(*toys.random_inputs(network, 1)).shape == (1, 4, 16, 24)
    assert len(builds) == 1
    assert "cannot be written" in caplog.text


def test_threads_that_share_an_engine_get_their_own_results() -> None:
    engine = OnnxRuntime("cpu").compile(toys.small())
    wrong: list[int] = []

    def work(seed: int) -> None:
        inputs = toys.random_inputs(toys.small(), 1 + seed % 2, seed)
        want = engine(*inputs)
        for _ in range(50):
            if not torch.equal(engine(*inputs), want):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_module_that_cannot_be_exported_says_what_to_do() -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ValueError("no graph for you")

    with pytest.raises(EngineError, match="--engine torch") as caught:
        OnnxRuntime("cpu").compile(Network("odd", "odd", (toys.LATENT,), Odd))
    assert "\n" not in str(caught.value)


def test_what_the_model_says_of_itself_comes_through(cache: Path) -> None:
    def build() -> nn.Module:
        raise LookupError("the weights do not fit")

    with pytest.raises(LookupError, match="do not fit"):
        OnnxRuntime("cpu").compile(dataclasses.replace(toys.small(), build=build))


@pytest.mark.parametrize(
    ("device", "present", "says"),
    [
        ("cuda", ["CPU"], "no CUDA for cuda; pip install onnxruntime-gpu"),
        ("mps", ["CPU"], "no CoreML for mps; use --device cpu"),
        ("meta", ["CPU"], "does not run on meta"),
        ("cuda", ["CUDA", "CPU"], "no CUDA device on this machine"),
    ],
)
def test_a_device_that_cannot_be_used_is_refused(
    monkeypatch: pytest.MonkeyPatch, device: str, present: list[str], says: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [f"{name}ExecutionProvider" for name in present])
    with pytest.raises(EngineError, match=says) as caught:
        OnnxRuntime(device)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("present", "says"),
    [
        (["Azure", "CPU"], "fp32, CPU"),
        (["CoreML", "CPU"], "fp32, CoreML"),
        (["Dml", "CPU"], "fp16, DirectML"),
        (["CUDA", "CPU"], "fp32, CPU"),
    ],
)
def test_the_best_device_is_taken(monkeypatch: pytest.MonkeyPatch, present: list[str], says: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [f"{name}ExecutionProvider" for name in present])
    runtime = OnnxRuntime()
    assert runtime.description == f"onnxruntime {ort.__version__}, {says}"
    assert runtime.device == torch.device("cpu")


def test_a_plain_onnxruntime_beside_a_gpu_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert OnnxRuntime().device == torch.device("cpu")
    assert "pip install onnxruntime-gpu" in caplog.text


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_does_not_start_is_an_error_and_not_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CoreMLExecutionProvider", "CPUExecutionProvider"])
    runtime = OnnxRuntime("mps")
    for _ in range(2):  # from the cache too
        with pytest.raises(EngineError, match="did not start CoreML"):
            runtime.compile(toys.small())


@pytest.mark.gpu
@pytest.mark.skipif(
    not torch.cuda.is_available() or "CUDAExecutionProvider" not in ort.get_available_providers(),
    reason="no CUDA device, or an onnxruntime without CUDA",
)
@pytest.mark.parametrize("make", [toys.small, toys.unet, toys.encoder, toys.decoder])
def test_cuda_agrees_with_torch_in_the_order_of_streams(make: Callable[[], Network]) -> None:
    network = make()
    engine = OnnxRuntime("cuda").compile(network)
    for batch in (1, 3):
        inputs = toys.random_inputs(network, batch)
        want = toys.expected(network, inputs)
        for stream in (torch.cuda.default_stream(), torch.cuda.Stream()):
            with torch.cuda.stream(stream):
                # Work in front of the inputs and behind the output, which an engine out of order would not wait for.
                late = [torch.zeros_like(x, device="cuda") for x in inputs]
                torch.cuda._sleep(10_000_000)
                for empty, x in zip(late, inputs, strict=True):
                    empty.copy_(x, non_blocking=True)
                got = engine(*late) * 1
            stream.synchronize()
            assert toys.difference(got.cpu(), want) < FP16
