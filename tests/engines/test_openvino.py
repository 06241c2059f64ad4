"""OpenVINO agrees with PyTorch, keeps its graphs, shares them, and survives a bad cache."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from engines import EngineError, Network, shared_engine
from engines.openvino_engine import OpenVINORuntime
from engines.torch_engine import TorchRuntime
from tests.engines import toys

INPUTS = toys.small().inputs


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STREAMDIFF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"


def network(key: str = "small", builds: list[int] | None = None) -> Network:
    def build() -> nn.Module:
        if builds is not None:
            builds.append(1)
        torch.manual_seed(0)
        return toys.Small()

    return Network("small", key, INPUTS, build)


def inputs(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    picture = torch.randint(0, 256, (batch, 16, 24, 3), generator=generator, dtype=torch.uint8)
    return picture, torch.randint(0, 1000, (batch,), generator=generator)


# bf16 keeps 8 bits of a number: about 0.4% each, some of which cancels in a sum.
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 1e-2)])
def test_agrees_with_torch_at_any_batch(cache: Path, precision: str, tolerance: float) -> None:
    try:
        runtime = OpenVINORuntime(precision)
    except EngineError as error:
        pytest.skip(str(error))
    engine, reference = runtime.compile(network()), TorchRuntime("cpu").compile(network())
    for batch in (1, 3):
        got, want = engine(*inputs(batch)), reference(*inputs(batch))
        assert got.shape == want.shape
        assert float((got - want).norm() / want.norm()) < tolerance


def test_an_output_is_the_callers_to_keep(cache: Path) -> None:
    engine = OpenVINORuntime().compile(network())
    first = engine(*inputs(1))
    kept = first.clone()
    engine(torch.zeros(1, 16, 24, 3, dtype=torch.uint8), torch.tensor([5]))
    assert torch.equal(first, kept)


def test_a_warm_cache_never_makes_the_module(cache: Path) -> None:
    builds: list[int] = []
    first = OpenVINORuntime().compile(network(builds=builds))(*inputs(1))
    second = OpenVINORuntime().compile(network(builds=builds))(*inputs(1))
    assert len(builds) == 1
    assert torch.equal(first, second)
    OpenVINORuntime().compile(network("other weights", builds))
    assert len(builds) == 2
    assert not list(cache.glob("*.part"))


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_damaged_cache_is_built_again(cache: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture) -> None:
    builds: list[int] = []
    want = OpenVINORuntime().compile(network(builds=builds))(*inputs(1))
    (file,) = cache.glob("*.ov")
    file.write_bytes(file.read_bytes()[:1000] if damage is None else damage)
    got = OpenVINORuntime().compile(network(builds=builds))(*inputs(1))
    assert torch.equal(got, want)
    assert len(builds) == 2
    assert "building it again" in caplog.text


def test_a_cache_that_cannot_be_written_is_said_and_not_fatal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STREAMDIFF_CACHE", str(tmp_path / "file"))
    assert OpenVINORuntime().compile(network())(*inputs(1)).shape == (1, 4, 16, 24)
    assert "cannot be written" in caplog.text


def test_equal_networks_are_built_once_and_freed_with_their_last_user(cache: Path) -> None:
    builds: list[int] = []
    runtime = OpenVINORuntime()
    got: list[object] = []
    threads = [
        threading.Thread(target=lambda: got.append(shared_engine(runtime, network("shared", builds)))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1 and all(engine is got[0] for engine in got)


def test_threads_that_share_an_engine_get_their_own_results(cache: Path) -> None:
    engine = OpenVINORuntime().compile(network())
    wrong: list[int] = []

    def work(seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        picture = torch.randint(0, 256, (1, 16, 24, 3), generator=generator, dtype=torch.uint8)
        want = engine(picture, torch.tensor([seed]))
        for _ in range(50):
            if not torch.equal(engine(picture, torch.tensor([seed])), want):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_module_that_cannot_be_converted_says_what_to_do(cache: Path) -> None:
    class Odd(nn.Module):
        def forward(self, picture: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            raise ValueError("no graph for you")

    with pytest.raises(EngineError, match="--engine torch") as caught:
        OpenVINORuntime().compile(Network("odd", "odd", INPUTS, Odd))
    assert "\n" not in str(caught.value)
