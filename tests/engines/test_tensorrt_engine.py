"""The TensorRT engine's own work over a fake package and device: buffers, order, graphs, batch sizes, new weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from engines import EngineError, Network
from engines.base import Input
from engines.tensorrt import Profile, TensorRTEngine
from engines.tensorrt.engine import Loaded
from tests.engines.fake_tensorrt import Context, CudaEngine, FakeTensorRT, Refitter, parameters

INPUTS = (Input("x", (3,), torch.float32), Input("t", (), torch.int64))


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 2)
        self.second = nn.Linear(2, 2)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x))) + t[:, None]


def build() -> Small:
    torch.manual_seed(0)
    return Small().requires_grad_(False)


NETWORK = Network("small", "small", INPUTS, build)


class Maker:
    """Loads plans, and remembers for which batch sizes it was asked."""

    def __init__(self, fake: FakeTensorRT, profile: Profile | None = None) -> None:
        self.fake, self.profile = fake, profile
        self.asked: list[int] = []

    def __call__(self, batch: int) -> Loaded:
        self.asked.append(batch)
        profile = self.profile
        takes = (lambda b: b == batch) if profile is None else (lambda b: b in profile)
        shapes = {name: tuple(value.shape) for name, value in parameters(NETWORK).items()}
        return Loaded(CudaEngine(self.fake, NETWORK, takes), shapes, Path("none.jit"))

    def engine(self) -> TensorRTEngine:
        return TensorRTEngine(self.fake.binding, NETWORK, torch.device("cuda:0"), self.profile, self)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeTensorRT:
    made = FakeTensorRT()
    made.install(monkeypatch)
    return made


def inputs(batch: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, generator=generator), torch.randint(0, 9, (batch,), generator=generator)


def test_runs_plainly_then_captures_then_replays(fake: FakeTensorRT) -> None:
    engine = Maker(fake).engine()
    for seed in range(4):
        assert torch.equal(engine(*inputs(2, seed)), build()(*inputs(2, seed)))
    done = [event for event in fake.events if event in ("run", "capture", "replay")]
    assert done == ["run", "capture", "replay", "replay", "replay"]


def test_waits_for_the_caller_before_and_lets_it_wait_after(fake: FakeTensorRT) -> None:
    engine = Maker(fake).engine()
    engine(*inputs(1))
    fake.events.clear()
    engine(*inputs(1))
    assert fake.events == ["engine waits for caller", "replay", "caller waits for engine"]


def test_an_output_is_the_callers_to_keep(fake: FakeTensorRT) -> None:
    engine = Maker(fake).engine()
    for seed in (1, 2):
        first = engine(*inputs(1, seed))
        kept = first.clone()
        engine(*inputs(1, seed + 10))
        assert torch.equal(first, kept)


def test_a_plan_for_each_batch_size_made_when_first_asked_for(fake: FakeTensorRT) -> None:
    maker = Maker(fake)
    engine = maker.engine()
    assert maker.asked == [1]
    for batch in (4, 1, 4, 2):
        assert torch.equal(engine(*inputs(batch)), build()(*inputs(batch)))
    assert maker.asked == [1, 4, 2]
    assert fake.events.count("context") == 3


def test_a_profile_is_one_plan_with_a_graph_for_each_batch_size(fake: FakeTensorRT) -> None:
    maker = Maker(fake, Profile(1, 2, 4))
    engine = maker.engine()
    for batch in (4, 1, 4):
        assert torch.equal(engine(*inputs(batch)), build()(*inputs(batch)))
    assert maker.asked == [2]
    assert fake.events.count("capture") == 2
    with pytest.raises(EngineError, match=r"batch of 5.*1 to 4"):
        engine(*inputs(5))


def test_an_input_that_would_be_broadcast_is_refused(fake: FakeTensorRT) -> None:
    engine = Maker(fake).engine()
    x, t = inputs(2)
    with pytest.raises(EngineError, match=r"takes \(2,\), and was given \(1,\)"):
        engine(x, t[:1])


def test_a_refusal_to_run_is_an_error_and_not_an_old_picture(fake: FakeTensorRT) -> None:
    engine = Maker(fake).engine()
    fake.fails = True
    with pytest.raises(EngineError, match="could not run the small"):
        engine(*inputs(1))


class Told:
    """Something that says when it goes."""

    def __init__(self, events: list[str], name: str) -> None:
        self.events, self.name = events, name

    def __del__(self) -> None:
        self.events.append(f"{self.name} goes")


class Cache(Told):
    def serialize(self) -> bytes:
        self.events.append("kernels kept")
        return b"kernels"


class RuntimeConfig(Told):
    def create_runtime_cache(self) -> Cache:
        return Cache(self.events, "cache")

    def set_runtime_cache(self, cache: Cache) -> None: ...


class RtxContext(Context, Told):
    def __init__(self, engine: CudaEngine) -> None:
        Context.__init__(self, engine)
        Told.__init__(self, engine.fake.events, "context")

    def is_stream_capturable(self, stream: int) -> bool:
        return not self.engine.fake.capture_fails


class RtxEngine(CudaEngine):
    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig(self.fake.events, "config")

    def create_execution_context(self, config: RuntimeConfig | None = None) -> RtxContext:
        assert config is not None
        return RtxContext(self)


@pytest.mark.parametrize("capturable", [True, False])
def test_rtx_keeps_its_kernels_after_the_first_run_and_its_cache_as_long_as_the_context(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capturable: bool
) -> None:
    fake = FakeTensorRT("tensorrt-rtx")
    fake.binding.module.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="EAGER")
    fake.capture_fails = not capturable
    fake.install(monkeypatch)
    jit = tmp_path / "small.jit"
    plan = RtxEngine(fake, NETWORK, lambda b: b == 1)
    engine = TensorRTEngine(fake.binding, NETWORK, torch.device("cuda:0"), None, lambda b: Loaded(plan, {}, jit))
    for seed in range(3):
        assert torch.equal(engine(*inputs(1, seed)), build()(*inputs(1, seed)))
    assert jit.read_bytes() == b"kernels"
    kept = fake.events.index("kernels kept")
    assert fake.events[kept - 2 : kept] == ["run", "wait for engine"]  # not while it still compiles
    assert fake.events.count("kernels kept") == 1
    assert not [event for event in fake.events if event.endswith("goes")]
    del engine
    assert [event for event in fake.events if event.endswith("goes")] == ["context goes", "config goes", "cache goes"]


def test_what_cannot_be_captured_runs_plainly_and_is_tried_and_said_once(
    fake: FakeTensorRT, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Maker(fake).engine()
    fake.capture_fails = True
    for seed in range(4):  # and not the same picture for ever, from the empty graph
        assert torch.equal(engine(*inputs(1, seed)), build()(*inputs(1, seed)))
    assert caplog.text.count("cannot be captured into a CUDA graph") == 1
    assert [e for e in fake.events if e in ("run", "capture", "replay")] == ["run", "capture", "run", "run", "run"]
    fake.capture_fails = False
    engine.refit(replaced(3)[0])
    engine(*inputs(1))
    assert fake.events.count("capture") == 2


def replaced(seed: int) -> tuple[dict[str, Tensor], Small]:
    """New weights for the first layer, and a module that has them."""
    generator = torch.Generator().manual_seed(seed)
    module = build()
    weights = {name: torch.randn(value.shape, generator=generator) for name, value in module.first.state_dict().items()}
    module.first.load_state_dict(weights)
    return {f"first.{name}": value for name, value in weights.items()}, module


def test_new_weights_reach_every_batch_size_and_graphs_are_captured_again(fake: FakeTensorRT) -> None:
    engine = Maker(fake).engine()
    for batch in (1, 2):
        engine(*inputs(batch))
    weights, module = replaced(3)
    fake.events.clear()
    engine.refit(weights)
    assert fake.events == ["wait for engine", "refit", "refit"]
    for batch in (1, 2, 1, 2):
        assert torch.equal(engine(*inputs(batch)), module(*inputs(batch)))
    assert fake.events.count("capture") == 2


def test_a_plan_loaded_after_a_refit_has_the_new_weights(fake: FakeTensorRT) -> None:
    engine = Maker(fake).engine()
    weights, module = replaced(3)
    engine.refit(weights)
    for tensor in weights.values():
        tensor.zero_()
    assert torch.equal(engine(*inputs(3)), module(*inputs(3)))


@pytest.mark.parametrize("error", [TypeError("nullptr"), MemoryError(), KeyboardInterrupt()])
def test_a_refit_that_breaks_off_leaves_the_weights_before_it(
    fake: FakeTensorRT, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    engine = Maker(fake).engine()
    for batch in (1, 2):
        engine(*inputs(batch))
    made = Refitter.__init__
    count = 0

    def second_fails(self: Refitter, *given: object) -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise error
        made(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Refitter, "__init__", second_fails)
        with pytest.raises((EngineError, MemoryError, KeyboardInterrupt)):
            engine.refit(replaced(4)[0])
    for batch in (1, 2):
        assert torch.equal(engine(*inputs(batch)), build()(*inputs(batch)))


def test_a_failed_refit_leaves_the_weights_before_it(fake: FakeTensorRT) -> None:
    engine = Maker(fake).engine()
    weights, module = replaced(3)
    engine.refit(weights)
    engine(*inputs(1))
    fake.refit_fails = True
    with pytest.raises(EngineError, match="could not refit the small"):
        engine.refit(replaced(4)[0])
    fake.refit_fails = False
    assert torch.equal(engine(*inputs(1)), module(*inputs(1)))


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({"first.weight": torch.zeros(2, 3), "nope": torch.zeros(1)}, "lacks 1 of 2 weights, such as nope"),
        ({"first.weight": torch.zeros(3, 2)}, r"first.weight of the small is \(2, 3\), and \(3, 2\) was"),
    ],
)
def test_wrong_weights_change_nothing(fake: FakeTensorRT, weights: dict[str, Tensor], says: str) -> None:
    engine = Maker(fake).engine()
    with pytest.raises(EngineError, match=says):
        engine.refit(weights)
    assert "refit" not in fake.events
    assert torch.equal(engine(*inputs(1)), build()(*inputs(1)))


def test_a_plan_without_replaceable_weights_says_so(fake: FakeTensorRT) -> None:
    def load(batch: int) -> Loaded:
        return Loaded(CudaEngine(fake, NETWORK, lambda b: True), {}, Path("none.jit"))

    engine = TensorRTEngine(fake.binding, NETWORK, torch.device("cuda:0"), None, load)
    with pytest.raises(EngineError, match=r"8-bit.*refittable=True"):
        engine.refit({"first.weight": torch.zeros(2, 3)})
