"""TensorRT and TensorRT-RTX where they run: PyTorch's numbers, by a graph, on any stream, with new weights."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engines import EngineError, Network
from engines.tensorrt import FLAVOURS, Flavour, Profile, TensorRTEngine, TensorRTRuntime, plans
from engines.tensorrt import binding as bindings
from engines.tensorrt.check import check, inspect
from streamdiff import Frame, Stream
from streamdiff.models.load import TINY
from tests.engines import toys
from tests.toy import picture

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
    pytest.mark.skipif(
        importlib.util.find_spec("onnxscript") is None,
        reason="onnxscript is not installed; pip install onnxscript",
    ),
]

HALF = 2e-2
"""Relative error allowed to fp16: 11 bits of each number, through some thirty layers."""
FULL = 1e-4

Make = Callable[..., TensorRTRuntime]


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> Flavour:
    if not bindings.installed(request.param):
        pytest.skip(bindings.missing(request.param))
    return request.param


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STREAMDIFF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"


@pytest.fixture
def runtime(flavour: Flavour, cache: Path) -> Make:
    def make(**settings: Any) -> TensorRTRuntime:
        made = TensorRTRuntime("cuda", flavour, **settings)
        if made.refittable and not bindings.supported(made.binding, made.card):
            pytest.skip(f"{flavour} is not made for the {made.card.name}, where it does not refit")
        return made

    return make


def compiled(runtime: TensorRTRuntime, network: Network) -> TensorRTEngine:
    engine = runtime.compile(network)
    assert isinstance(engine, TensorRTEngine)
    return engine


def on_gpu(inputs: list[Tensor]) -> list[Tensor]:
    return [tensor.cuda() for tensor in inputs]


def agrees(got: Tensor, want: Tensor, tolerance: float) -> bool:
    """Relative error below the tolerance; pictures within two levels."""
    return toys.difference(got.cpu(), want) <= (2 if want.dtype == torch.uint8 else tolerance)


@pytest.mark.parametrize("make", [toys.unet, toys.encoder, toys.decoder, toys.small])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", HALF), ("fp32", FULL)])
def test_agrees_with_pytorch_at_every_batch_size(
    runtime: Make, make: Callable[[], Network], precision: Literal["fp16", "fp32"], tolerance: float
) -> None:
    network = make()
    engine = compiled(runtime(precision=precision), network)
    for batch in (1, 3, 1):
        # The first run of a batch size is plain, the second and third replay the graph.
        for seed in (1, 2, 3):
            inputs = toys.random_inputs(network, batch, seed)
            assert agrees(engine(*on_gpu(inputs)), toys.expected(network, inputs), tolerance)


class Bytes(nn.Module):
    """A decoder's end: a picture in bytes, moved about while it is in bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, picture: Tensor) -> Tensor:
        x = self.conv(picture.permute(0, 3, 1, 2).float() / 127.5 - 1)
        return (x * 127.5 + 127.5).clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def test_bytes_in_and_out(runtime: Make) -> None:
    def make() -> nn.Module:
        torch.manual_seed(0)
        return Bytes()

    network = Network("bytes", "bytes", (toys.PICTURE,), make)
    engine = compiled(runtime(), network)
    for seed in (1, 2):
        inputs = toys.random_inputs(network, 2, seed)
        assert agrees(engine(*on_gpu(inputs)), toys.expected(network, inputs), HALF)


def test_runs_by_a_graph_without_waiting_for_the_device(runtime: Make, caplog: pytest.LogCaptureFixture) -> None:
    network = toys.unet()
    engine = compiled(runtime(), network)
    inputs = on_gpu(toys.random_inputs(network, 2))
    first = engine(*inputs)
    assert "cannot be captured" not in caplog.text and engine._executions[2]._graph is not None
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        again = engine(*inputs)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(first, again)


def test_an_output_is_the_callers_to_keep(runtime: Make) -> None:
    network = toys.decoder()
    engine = compiled(runtime(), network)
    outputs = [engine(*on_gpu(toys.random_inputs(network, 1, seed))) for seed in range(4)]
    for seed, output in enumerate(outputs):
        assert agrees(output, toys.expected(network, toys.random_inputs(network, 1, seed)), HALF)


def test_waits_for_the_callers_stream_and_the_caller_for_it(runtime: Make) -> None:
    network = toys.decoder()
    engine = compiled(runtime(), network)
    inputs = toys.random_inputs(network, 1)
    want = engine(*on_gpu(inputs)).clone()
    ready = on_gpu(inputs)
    busy = torch.randn(4096, 4096, device="cuda")
    for _ in range(5):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            late = [torch.zeros_like(tensor) for tensor in ready]
            # Milliseconds of work before the inputs are there.
            for _ in range(20):
                busy = busy @ busy / 64
            for tensor, source in zip(late, ready, strict=True):
                tensor.copy_(source)
            got = engine(*late)
            # In the same stream, at once: nothing but the engine's own order keeps this from coming too early.
            for tensor in late:
                tensor.zero_()
            kept = got.clone()
        stream.synchronize()
        assert torch.equal(kept, want)


def test_threads_that_share_an_engine_get_their_own_results(runtime: Make) -> None:
    network = toys.small()
    engine = compiled(runtime(), network)
    given = [toys.random_inputs(network, 1 + seed % 2, seed) for seed in range(4)]
    expected = [toys.expected(network, inputs) for inputs in given]
    wrong: list[object] = []

    def work(seed: int) -> None:
        try:
            inputs = on_gpu(given[seed])
            with torch.cuda.stream(torch.cuda.Stream()):
                torch.cuda.current_stream().wait_stream(torch.cuda.default_stream())
                want = engine(*inputs).clone()
                if not agrees(want, expected[seed], HALF):
                    wrong.append(seed)
                wrong.extend(seed for _ in range(50) if not torch.equal(engine(*inputs), want))
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert not wrong and not any(thread.is_alive() for thread in threads)


def test_a_profile_serves_its_batch_sizes_with_one_plan(runtime: Make, cache: Path) -> None:
    network = toys.unet()
    engine = compiled(runtime(profile=Profile(1, 2, 4)), network)
    for batch in (2, 1, 4, 2):
        inputs = toys.random_inputs(network, batch, batch)
        assert agrees(engine(*on_gpu(inputs)), toys.expected(network, inputs), HALF)
    assert len(list(cache.glob(f"*{plans.SUFFIX}"))) == 1
    with pytest.raises(EngineError, match="batch of 5"):
        engine(*on_gpu(toys.random_inputs(network, 5)))


def test_a_warm_cache_never_makes_the_module(runtime: Make, flavour: Flavour, cache: Path) -> None:
    network = toys.decoder()
    inputs = toys.random_inputs(network, 1)
    first = compiled(runtime(), network)(*on_gpu(inputs))
    again = Network(network.name, network.key, network.inputs, lambda: pytest.fail("made again"))
    assert torch.equal(compiled(runtime(), again)(*on_gpu(inputs)), first)
    # What RTX compiles when it first runs is kept too; TensorRT keeps what it measured when it built.
    assert len(list(cache.glob("*.jit" if flavour == "tensorrt-rtx" else "timings-*.cache"))) == 1


def replaced(network: Network, seed: int) -> tuple[dict[str, Tensor], nn.Module]:
    """New matrices and kernels for a network, and a module that has them."""
    module = network.build()
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: value + 0.1 * torch.randn(value.shape, generator=generator)
        for name, value in module.state_dict().items()
        if value.dim() > 1
    }
    module.load_state_dict(weights, strict=False)
    return weights, module.eval()


def result(module: nn.Module, inputs: list[Tensor]) -> Tensor:
    with torch.inference_mode():
        return module(*inputs)


def test_new_weights_are_those_that_compute(runtime: Make) -> None:
    network = toys.unet()
    engine = compiled(runtime(refittable=True), network)
    inputs = toys.random_inputs(network, 1)
    before = toys.expected(network, inputs)
    for _ in range(2):
        assert agrees(engine(*on_gpu(inputs)), before, HALF)
    weights, module = replaced(network, 1)
    after = result(module, inputs)
    assert toys.difference(after, before) > 5 * HALF
    engine.refit(weights)
    # Plainly, then by the graph that was captured anew.
    for _ in range(3):
        assert agrees(engine(*on_gpu(inputs)), after, HALF)
    # A plan that is built only now gets them too.
    more = toys.random_inputs(network, 2)
    assert agrees(engine(*on_gpu(more)), result(module, more), HALF)
    engine.refit({name: value for name, value in network.build().state_dict().items() if name in weights})
    for _ in range(3):
        assert agrees(engine(*on_gpu(inputs)), before, HALF)


def test_one_lora_target_alone_can_be_replaced(runtime: Make) -> None:
    network = toys.unet()
    engine = compiled(runtime(refittable=True), network)
    module = network.build()
    name = next(name for name in module.state_dict() if name.endswith("attn1.to_v.weight"))
    new = torch.randn(module.state_dict()[name].shape, generator=torch.Generator().manual_seed(1))
    module.load_state_dict({name: new}, strict=False)
    inputs = toys.random_inputs(network, 1)
    after = result(module.eval(), inputs)
    assert toys.difference(after, toys.expected(network, inputs)) > 5 * HALF
    try:
        engine.refit({name: new})
    except EngineError as error:
        # A plan may compute queries, keys and values as one product; then it names what must come along.
        assert "must be replaced together" in str(error)
        engine.refit({key: value for key, value in module.state_dict().items() if value.dim() > 1})
    assert agrees(engine(*on_gpu(inputs)), after, HALF)


@pytest.mark.parametrize(
    ("weights", "says"),
    [({"nope": torch.zeros(1)}, "such as nope"), ({"unet.conv_in.weight": torch.zeros(4, 8, 3, 3)}, "was given")],
)
def test_wrong_weights_are_refused(runtime: Make, weights: dict[str, Tensor], says: str) -> None:
    engine = compiled(runtime(refittable=True), toys.unet())
    with pytest.raises(EngineError, match=says):
        engine.refit(weights)


def test_a_plan_not_built_for_it_cannot_be_refitted(runtime: Make) -> None:
    engine = compiled(runtime(), toys.unet())
    with pytest.raises(EngineError, match="refittable=True"):
        engine.refit({"unet.conv_in.weight": torch.zeros(8, 4, 3, 3)})


def test_what_runs_once_a_prompt_stays_with_pytorch(runtime: Make) -> None:
    network = toys.decoder()
    text = Network("text", network.key, network.inputs, network.build, exact=True)
    inputs = toys.random_inputs(text, 1)
    engine = runtime().compile(text)
    assert not isinstance(engine, TensorRTEngine)
    assert agrees(engine(*on_gpu(inputs)), toys.expected(text, inputs), 2e-3)


@pytest.mark.skipif(
    importlib.util.find_spec("polygraphy") is None or importlib.util.find_spec("onnxruntime") is None,
    reason="polygraphy or onnxruntime is not installed; pip install polygraphy onnxruntime",
)
def test_the_check_agrees_with_onnx_runtime(runtime: Make) -> None:
    made = runtime()
    try:
        (found,) = check(made, toys.unet(), batch=2)
    except EngineError as error:
        # Polygraphy drives one flavour in a process: with both installed the second is left out.
        if "other flavour in this process" not in str(error):
            raise
        pytest.skip(str(error))
    assert 0 < found.relative < HALF


def test_a_plan_tells_what_it_consists_of(runtime: Make) -> None:
    made, network = runtime(), toys.decoder()
    made.plan(network, 1)
    found = inspect(made.plan_file(network, 1), made.binding)
    assert found.size > 1000 and found.fused is not None and 0 < found.fused <= found.layers
    assert found.memory is not None and found.memory >= 0


@pytest.mark.skipif(not (TINY / "model_index.json").is_file(), reason="the embedded model's weights are not there")
def test_the_embedded_model_paints_the_same_pictures(flavour: Flavour, cache: Path) -> None:
    pictures: list[np.ndarray[Any, Any]] = []
    for engine, device in (("torch", "cpu"), (flavour, "cuda")):
        stream = Stream.from_pretrained("tiny", engine=engine, device=device, prompt="neon")
        finished = stream.push(Frame(picture(0, 256, 256))) + stream.flush()
        pictures.append(finished[0].pixels.astype(float))
    # Half precision in between: about two levels.
    assert float(np.abs(pictures[0] - pictures[1]).mean()) < 3
