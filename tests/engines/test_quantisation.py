"""Eight bits: calibrated on samples, kept, on request only until they are found good, and then by themselves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from engines import EngineError, Network
from engines.base import Input
from engines.notes import kept, note_measured, note_of, read_note, remove
from engines.openvino_engine import OpenVINORuntime

pytest.importorskip("nncf", reason="nncf is not installed")

INPUTS = (Input("x", (8, 16, 16), torch.float32), Input("row", (32,), torch.float32))


class Small(nn.Module):
    """Two convolutions wide enough to be worth eight bits, scaled by a row as a denoiser is."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(8, 32, 3, padding=1)
        self.second = nn.Conv2d(32, 8, 3, padding=1)

    def forward(self, x: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x) * row[:, :, None, None]))


def network(name: str = "unet", key: str = "small", *, exact: bool = False) -> Network:
    def build() -> nn.Module:
        torch.manual_seed(0)
        return Small()

    return Network(name, key, INPUTS, build, model="toy", exact=exact)


def inputs(seed: int, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn((1, *i.shape), generator=generator) * scale for i in INPUTS)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STREAMDIFF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"


def quantised(scale: float = 1.0) -> OpenVINORuntime:
    runtime = OpenVINORuntime("fp32")
    runtime.quantise(network(), [inputs(seed, scale) for seed in range(16)])
    return runtime


def off(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


def test_int8_is_near_and_not_the_same(cache: Path) -> None:
    want = quantised().compile(network())(*inputs(99))
    got = OpenVINORuntime("int8").compile(network())(*inputs(99))
    assert 1e-4 < off(got, want) < 0.05


def test_the_ranges_come_from_the_samples(cache: Path) -> None:
    """Calibrated on numbers ten times too small, what is larger is cut off."""
    runtime = quantised(0.1)
    want = runtime.compile(network())(*inputs(99))
    assert off(OpenVINORuntime("int8").compile(network())(*inputs(99)), want) > 0.2


def test_without_a_build_int8_says_what_to_do(cache: Path) -> None:
    with pytest.raises(EngineError, match="streamdiff build"):
        OpenVINORuntime("int8").compile(network())


def test_exact_networks_are_never_int8(cache: Path) -> None:
    got = OpenVINORuntime("int8").compile(network("text", exact=True))(*inputs(3))
    with torch.no_grad():
        assert off(got, network().build()(*inputs(3))) < 1e-5


def test_it_is_chosen_by_itself_only_where_it_was_found_good(cache: Path) -> None:
    runtime = quantised()
    eight = OpenVINORuntime("int8").compile(network())(*inputs(99))

    def by_itself() -> torch.Tensor:
        return OpenVINORuntime().compile(network())(*inputs(99))

    assert not torch.equal(by_itself(), eight)
    note_measured(runtime.eight_file(network()), False, {"loss_db": 2.0})
    assert not torch.equal(by_itself(), eight)
    note_measured(runtime.eight_file(network()), True, {"loss_db": 0.1})
    assert torch.equal(by_itself(), eight)
    note = note_of(runtime.eight_file(network()))
    assert note is not None and note.chosen and note.figures == {"loss_db": 0.1}
    # Another model's, or full precision asked for: not this one.
    assert not torch.equal(OpenVINORuntime().compile(network(key="other"))(*inputs(99)), eight)
    assert not torch.equal(OpenVINORuntime("fp32").compile(network())(*inputs(99)), eight)


def test_a_damaged_int8_graph_is_not_replaced_in_silence(cache: Path) -> None:
    runtime = quantised()
    note_measured(runtime.eight_file(network()), True, {})
    (file,) = (item.path for item in kept() if item.note is not None and item.note.precision == "int8")
    file.write_bytes(b"garbage")
    assert torch.isfinite(OpenVINORuntime().compile(network())(*inputs(1))).all()
    with pytest.raises(EngineError, match="streamdiff build"):
        OpenVINORuntime("int8").compile(network())


def test_notes_name_what_is_kept_and_removing_takes_all_of_it(cache: Path) -> None:
    quantised().compile(network())
    found = kept()
    assert {(k.note.model, k.note.network, k.note.precision) for k in found if k.note is not None} == {
        ("toy", "unet", "int8"),
        ("toy", "unet", "fp32"),
    }
    assert sum(k.bytes for k in found) == sum(f.stat().st_size for f in cache.iterdir())
    for item in found:
        remove(item)
    assert kept() == [] and list(cache.iterdir()) == []


def test_a_damaged_note_is_no_note(cache: Path) -> None:
    quantised()
    (item,) = kept()
    for text in ("", "[]", "{}", '{"shapes": 3}', '{"shapes": {}, "unknown": 1}'):
        item.path.with_name(item.path.name + ".json").write_text(text)
        assert read_note(item.path) is None
    assert kept()[0].note is None


def test_without_nncf_it_says_how_to_get_it(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"nncf.*pip install"):
        quantised()


def test_nothing_reports_home() -> None:
    assert sys.modules["openvino_telemetry"] is None
