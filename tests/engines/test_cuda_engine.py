"""The CUDA engine's own work over a fake graph: buffers, batch sizes, threads, failures; and when it is chosen."""

from __future__ import annotations

import gc
import itertools
import threading
import weakref
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

import engines.compiled
import engines.cuda_engine
import engines.selection
from engines import EngineError, Network, choose
from engines.base import Input
from engines.compiled import missing
from engines.cuda_engine import CudaEngine, CudaRuntime
from engines.precision import lower
from tests.engines import toys
from tests.engines.fake_graphs import FakeGraphs

CPU = torch.device("cpu")


def engine(network: Network, graphs: FakeGraphs) -> tuple[CudaEngine, list[int]]:
    """An engine over the plain module, and the batch sizes with which that is called."""
    module = network.build().eval().requires_grad_(False)
    calls: list[int] = []

    def run(*inputs: Tensor) -> Tensor:
        calls.append(len(inputs[0]))
        return module(*inputs)

    return CudaEngine(run, network, CPU, graphs), calls


@pytest.mark.parametrize("make", [toys.small, toys.encoder, toys.decoder, toys.unet])
def test_agrees_with_pytorch_at_every_batch_size(make: Callable[[], Network]) -> None:
    network, graphs = make(), FakeGraphs()
    made, calls = engine(network, graphs)
    for batch, seed in itertools.product((1, 3, 2, 1), (1, 2)):
        inputs = toys.random_inputs(network, batch, seed)
        assert torch.equal(made(*inputs), toys.expected(network, inputs))
    assert graphs.recorded == 3 and graphs.replayed == 8
    assert set(calls) == {1, 2, 3}


def test_the_module_is_run_to_record_and_then_never_again() -> None:
    network, graphs = toys.small(), FakeGraphs()
    made, calls = engine(network, graphs)
    made(*toys.random_inputs(network, 2))
    before = len(calls)
    for seed in range(5):
        made(*toys.random_inputs(network, 2, seed))
    assert len(calls) == before


def test_outputs_are_the_callers_to_keep() -> None:
    network = toys.small()
    made, _ = engine(network, FakeGraphs())
    given = [toys.random_inputs(network, 1, seed) for seed in range(4)]
    outputs = [made(*inputs) for inputs in given]
    for inputs, output in zip(given, outputs, strict=True):
        assert torch.equal(output, toys.expected(network, inputs))
        with torch.inference_mode():
            output.zero_()
    assert torch.equal(made(*given[0]), toys.expected(network, given[0]))


def test_the_weights_go_with_their_engine() -> None:
    network = toys.small()
    module = network.build().eval().requires_grad_(False)
    held = weakref.ref(module)
    made = CudaEngine(partial(_call, module), network, CPU, FakeGraphs(taped=False))
    made(*toys.random_inputs(network, 1))
    gc.disable()  # a device that is full does not make Python look for cycles
    try:
        del made, module
        assert held() is None
    finally:
        gc.enable()


def _call(module: nn.Module, *inputs: Tensor) -> Tensor:
    return module(*inputs)


def test_inputs_stay_as_they_were_and_may_be_changed_after() -> None:
    network = toys.small()
    made, _ = engine(network, FakeGraphs())
    inputs = toys.random_inputs(network, 1)
    kept = [x.clone() for x in inputs]
    want = toys.expected(network, inputs)
    output = made(*inputs)
    assert all(torch.equal(a, b) for a, b in zip(inputs, kept, strict=True))
    inputs[0].zero_()
    assert torch.equal(output, want)


@pytest.mark.parametrize("shape", [(1, 16, 24, 1), (1, 1, 24, 3), (2, 16, 24, 3)])
def test_a_wrong_shape_is_said(shape: tuple[int, ...]) -> None:
    """copy_ would broadcast the first two in silence."""
    made, _ = engine(toys.small(), FakeGraphs())
    with pytest.raises(EngineError, match="takes") as caught:
        made(torch.zeros(shape, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))
    assert "\n" not in str(caught.value)


def test_threads_take_turns_and_record_once() -> None:
    network, graphs = toys.small(), FakeGraphs()
    made, _ = engine(network, graphs)
    module = network.build().eval().requires_grad_(False)
    wrong: list[object] = []

    def work(seed: int) -> None:
        try:
            for i in range(20):
                inputs = toys.random_inputs(network, 1 + (seed + i) % 3, 100 * seed + i)
                if not torch.equal(made(*inputs), module(*inputs)):
                    wrong.append(seed)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong and not any(thread.is_alive() for thread in threads)
    assert graphs.recorded == 3


def test_a_failed_recording_says_why_and_can_be_tried_again() -> None:
    network, graphs = toys.small(), FakeGraphs()
    made, _ = engine(network, graphs)
    inputs = toys.random_inputs(network, 1)
    graphs.fails = True
    with pytest.raises(EngineError, match="not enough memory for the small"):
        made(*inputs)
    graphs.fails = False
    assert torch.equal(made(*inputs), toys.expected(network, inputs))


def test_part_of_a_larger_recording_it_records_nothing_of_its_own() -> None:
    network, graphs = toys.decoder(), FakeGraphs()
    made, _ = engine(network, graphs)
    (given,) = toys.random_inputs(network, 2, 1)
    fixed, result = torch.zeros_like(given), torch.zeros_like(made(given))
    recorded = graphs.recorded
    replay = graphs.record(lambda: result.copy_(made(fixed * 2) + 1))
    assert graphs.recorded == recorded + 1
    for seed in (2, 3):
        (given,) = toys.random_inputs(network, 2, seed)
        fixed.copy_(given)
        replay()
        assert torch.equal(result, toys.expected(network, [given * 2]) + 1)


def test_a_recording_and_a_first_call_do_not_wait_for_one_another_for_ever() -> None:
    network, graphs = toys.small(), FakeGraphs()
    made, _ = engine(network, graphs)
    begun, asked = threading.Event(), threading.Event()

    def record() -> None:
        fixed = toys.random_inputs(network, 1)
        result = toys.expected(network, fixed).clone()

        def work() -> None:
            begun.set()
            asked.wait(10)
            result.copy_(made(*fixed))

        graphs.record(work)

    def call() -> None:
        begun.wait(10)
        threading.Timer(0.1, asked.set).start()
        made(*toys.random_inputs(network, 2))

    threads = [threading.Thread(target=record), threading.Thread(target=call)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


class Mixed(nn.Module):
    """Weights, and something beside them that needs all of float32."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, picture: Tensor) -> Tensor:
        x = picture.permute(0, 3, 1, 2).float() / 127.5 - 1
        exact = (x.double().sum((1, 2, 3)).float() + 100_000)[:, None, None, None]
        return self.conv(x).float() + (exact - 100_000) * 0 + exact / 100_000


def mixed() -> Network:
    torch.manual_seed(0)
    module = Mixed().eval()
    return Network("mixed", "mixed", (Input("picture", (8, 8, 3), torch.uint8),), lambda: module)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("make", [toys.small, toys.encoder, toys.decoder, toys.unet, mixed])
def test_lower_precision_speaks_float32(make: Callable[[], Network], dtype: torch.dtype) -> None:
    network = make()
    inputs = toys.random_inputs(network, 2)
    want = toys.expected(network, inputs)
    module = network.build().requires_grad_(False)
    lower(module, dtype)
    assert all(p.dtype == dtype for p in module.parameters())
    assert not torch.is_autocast_enabled("cpu")
    with torch.inference_mode():
        got = module(*inputs)
    assert got.dtype == want.dtype
    assert toys.difference(got, want) < (1e-2 if dtype == torch.float16 else 8e-2)


def test_a_network_that_cannot_be_compiled_is_an_error() -> None:
    network = toys.small()

    def run(*_: Tensor) -> Tensor:
        raise RuntimeError("backend='inductor' raised:\nno luck today\n\nmore of it")

    with pytest.raises(EngineError, match=r"build the small \(RuntimeError: no luck today\); --engine torch"):
        CudaEngine(run, network, CPU, FakeGraphs())(*toys.random_inputs(network, 1))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_without_a_card() -> None:
    with pytest.raises(EngineError, match="NVIDIA card"):
        choose("cuda")
    with pytest.raises(EngineError, match="precision 'int8': cuda runs fp32, fp16, bf16"):
        CudaRuntime(precision="int8")


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a CUDA device, as far as choosing looks."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Card")
    monkeypatch.setattr(engines.cuda_engine, "require", lambda device: None)
    find = engines.compiled.importlib.util.find_spec
    monkeypatch.setattr(engines.compiled.importlib.util, "find_spec", lambda name: name == "triton" or find(name))


@pytest.mark.usefixtures("card")
def test_a_card_gets_compiled_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = choose()
    assert (runtime.name, runtime.device) == ("cuda", torch.device("cuda:0"))
    assert engines.available()[0].name == "cuda"
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 7)  # another thread's
    assert choose("cuda", "cuda:0").device == torch.device("cuda:0")


@pytest.mark.usefixtures("card")
def test_a_card_without_triton_gets_eager_pytorch_and_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    find = engines.compiled.importlib.util.find_spec
    monkeypatch.setattr(
        engines.compiled.importlib.util, "find_spec", lambda name: None if name == "triton" else find(name)
    )
    assert choose().name == "torch"
    assert "pip install triton" in caplog.text
    with pytest.raises(EngineError, match="--engine torch runs without"):
        choose("cuda")


@pytest.mark.usefixtures("card")
def test_a_card_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (6, 1))
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    assert "7.0 or newer" in (missing() or "")
