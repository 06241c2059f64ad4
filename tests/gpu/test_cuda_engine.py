"""Compiled CUDA where it runs: PyTorch's numbers, by graphs, on any stream and thread, fused from frame to frame."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engines import EngineError, Network, choose
from engines.compiled import missing
from engines.cuda_engine import CudaEngine, CudaRuntime
from streamdiff import Frame, Stream, fused_step
from streamdiff.models.load import TINY
from tests.engines import toys
from tests.toy import Toy, frames, picture, toy

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
    pytest.mark.skipif(missing() is not None, reason=f"torch.compile cannot run here: {missing()}"),
]
needs_tiny = pytest.mark.skipif(
    not (TINY / "model_index.json").is_file(), reason="the embedded model's weights are not there"
)

TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2, "bf16": 1e-1}
"""Relative errors allowed: 24, 11 and 8 bits of each number, through some thirty layers."""


@contextmanager
def no_synchronisation() -> Generator[None]:
    """Whatever makes the host wait for the device is an error, but for an event that is waited for."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def on_gpu(inputs: list[Tensor]) -> list[Tensor]:
    return [tensor.cuda() for tensor in inputs]


def agrees(got: Tensor, want: Tensor, precision: str) -> bool:
    """Relative error below the tolerance; pictures within two levels."""
    return toys.difference(got.cpu(), want) <= (2 if want.dtype == torch.uint8 else TOLERANCE[precision])


def engine(network: Network, precision: str = "fp16") -> CudaEngine:
    made = CudaRuntime("cuda", precision).compile(network)
    assert isinstance(made, CudaEngine)
    return made


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("make", [toys.unet, toys.encoder, toys.decoder, toys.small])
def test_agrees_with_pytorch_at_every_batch_size(make: Callable[[], Network], precision: str) -> None:
    network = make()
    made = engine(network, precision)
    for batch, seed in itertools.product((1, 3, 2, 1), (1, 2, 3)):
        inputs = toys.random_inputs(network, batch, seed)
        assert agrees(made(*on_gpu(inputs)), toys.expected(network, inputs), precision)


def test_bf16() -> None:
    network = toys.unet()
    inputs = toys.random_inputs(network, 2)
    assert agrees(engine(network, "bf16")(*on_gpu(inputs)), toys.expected(network, inputs), "bf16")


def test_outputs_are_the_callers_to_keep() -> None:
    network = toys.decoder()
    made = engine(network)
    given = [toys.random_inputs(network, 2, seed) for seed in range(5)]
    outputs = [made(*on_gpu(inputs)) for inputs in given]
    for inputs, output in zip(given, outputs, strict=True):
        assert agrees(output, toys.expected(network, inputs), "fp16")


def test_no_host_synchronisation_in_an_engine() -> None:
    network = toys.unet()
    made = engine(network)
    inputs = on_gpu(toys.random_inputs(network, 2))
    made(*inputs)
    with no_synchronisation():
        for _ in range(3):
            made(*inputs)


def test_threads_and_streams_take_turns() -> None:
    network = toys.decoder()
    made = engine(network)
    given = [toys.random_inputs(network, 1 + seed % 3, seed) for seed in range(12)]
    want = [toys.expected(network, inputs) for inputs in given]
    wrong: list[object] = []

    def work(index: int) -> None:
        try:
            with torch.cuda.stream(torch.cuda.Stream()):
                for _ in range(30):
                    if not agrees(made(*on_gpu(given[index])), want[index], "fp16"):
                        wrong.append(index)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(given))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert not wrong and not any(thread.is_alive() for thread in threads)


def test_a_first_call_while_others_run() -> None:
    """A capture in one thread, allocations and replays in another."""
    network = toys.decoder()
    made = engine(network)
    made(*on_gpu(toys.random_inputs(network, 1)))
    # Before the thread begins: building a toy draws from the process's one generator.
    given = {batch: toys.random_inputs(network, batch, 4) for batch in range(1, 7)}
    want = {batch: toys.expected(network, inputs) for batch, inputs in given.items()}
    wrong: list[object] = []
    done = threading.Event()

    def replay() -> None:
        try:
            while not done.is_set():
                if not agrees(made(*on_gpu(given[1])), want[1], "fp16"):
                    wrong.append("other numbers")
        except Exception as error:
            wrong.append(error)

    thread = threading.Thread(target=replay)
    thread.start()
    try:
        for batch in range(2, 7):
            assert agrees(made(*on_gpu(given[batch])), want[batch], "fp16")
    finally:
        done.set()
        thread.join(60)
    assert not wrong


def test_exact_networks_stay_eager_float32() -> None:
    network = toys.unet()
    exact = Network(network.name, "exact", network.inputs, network.build, exact=True)
    made = CudaRuntime("cuda").compile(exact)
    assert not isinstance(made, CudaEngine)
    inputs = toys.random_inputs(network, 2)
    assert agrees(made(*on_gpu(inputs)), toys.expected(network, inputs), "fp32")


def test_memory_that_does_not_suffice_is_said() -> None:
    network = toys.decoder()
    made = engine(network)
    made(*on_gpu(toys.random_inputs(network, 1)))
    given = torch.zeros(1, 4, 8, 8, device="cuda").expand(40_000, -1, -1, -1)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-6)
    try:
        with pytest.raises(EngineError, match="not enough memory for the decoder"):
            made(given)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


# The whole stream.


def cuda_toy(**options: Any) -> Toy:
    """Its module is moved to the device for good: a toy on the CPU is another, with equal weights."""
    return replace(toy(**options), runtime=CudaRuntime("cuda", "fp32"))


def run(stream: Stream, given: list[Frame]) -> list[Frame]:
    return [out for frame in given for out in stream.push(frame)]


def is_fused(stream: Stream) -> bool:
    return stream._fusing._step is not None


@pytest.mark.parametrize("start", [
    {}, {"steps": 4}, {"steps": 2, "frame_buffer_size": 2}, {"steps": 3, "guidance": "full", "guidance_scale": 1.5},
    {"steps": 2, "guidance": "self", "guidance_scale": 1.5}, {"steps": 2, "guidance": "onetime", "guidance_scale": 1.5},
])  # fmt: skip
@pytest.mark.parametrize("conditioned", [False, True])
def test_fused_equals_one_by_one(start: dict[str, Any], conditioned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    made = cuda_toy(image_conditioned=conditioned)
    given = frames(40)
    fused = made.stream(**start)
    out = run(fused, given)
    assert is_fused(fused)
    monkeypatch.setattr(fused_step, "SETTLED", 10_000)
    other = made.stream(**start)
    want = run(other, given)
    assert not is_fused(other)
    assert [f.index for f in out] == [f.index for f in want]
    # Convolutions may have been chosen differently in two recordings.
    assert all(int(np.abs(a.pixels.astype(int) - b.pixels).max()) <= 1 for a, b in zip(out, want, strict=True))


def test_no_host_synchronisation_in_a_fused_step() -> None:
    stream = cuda_toy().stream(steps=2)
    run(stream, frames(20))
    assert is_fused(stream)
    with no_synchronisation():
        assert len(run(stream, frames(5))) == 5


def test_any_change_in_the_middle_agrees_with_the_cpu() -> None:
    changes = ({}, {"prompt": "b"}, {"guidance": "self", "guidance_scale": 1.5}, {"steps": 3}, {"width": 72},
               {"seed": 4}, {"frame_buffer_size": 2}, {"reuse_every": 2}, {"reuse_every": 1, "steps": 1},
               {"calm": 0.7}, {"calm": 0.3, "prompt": "c"}, {"steps": 2}, {"calm": 0.0})  # fmt: skip
    outs: list[list[Frame]] = []
    for made in (cuda_toy(), toy()):
        stream, out, count = made.stream(steps=2), [], 0
        for change in changes:
            stream.update(**change)
            for _ in range(14):
                out += stream.push(Frame(picture(count, 72, 64), index=count))
                count += 1
        outs.append(out + stream.flush())
        assert stream.lost == 0
    assert [f.index for f in outs[0]] == [f.index for f in outs[1]] == list(range(14 * len(changes)))
    for a, b in zip(*outs, strict=True):
        assert int(np.abs(a.pixels.astype(int) - b.pixels).max()) <= 2


def test_two_fused_streams_in_two_threads() -> None:
    made = cuda_toy()
    want = {prompt: run(made.stream(steps=2, prompt=prompt), frames(60)) for prompt in "ab"}
    wrong: list[object] = []

    def work(prompt: str) -> None:
        try:
            out = run(made.stream(steps=2, prompt=prompt), frames(60))
            for a, b in zip(out, want[prompt], strict=True):
                if int(np.abs(a.pixels.astype(int) - b.pixels).max()) > 1:
                    wrong.append((prompt, a.index))
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(prompt,)) for prompt in want]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert not wrong and not any(thread.is_alive() for thread in threads)


@needs_tiny
@pytest.mark.parametrize("settings", [{}, {"steps": 4}, {"steps": 2, "guidance": "onetime", "guidance_scale": 1.5}])
def test_the_embedded_model_agrees_with_the_cpu(settings: dict[str, object]) -> None:
    outs: list[list[Frame]] = []
    for name, device in (("cuda", "cuda"), ("torch", "cpu")):
        stream = Stream.from_pretrained("tiny", engine=name, device=device, prompt="neon", **settings)
        outs.append(run(stream, [Frame(picture(i % 3, 256, 256), index=i) for i in range(14)]))
    for a, b in zip(*outs, strict=True):
        # Half precision in between: about two levels.
        assert float(np.abs(a.pixels.astype(float) - b.pixels).mean()) < 2


@needs_tiny
def test_it_is_chosen_by_itself_and_its_kernels_are_kept(cache: Path) -> None:
    assert choose().name == "cuda"
    stream = Stream.from_pretrained("tiny")
    assert stream(picture(0, 256, 256)).shape == (256, 256, 3)
    assert any((cache / "engines" / "inductor").rglob("*"))
