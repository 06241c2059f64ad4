"""The cached window against the formulas, on random models of many sizes and in any order of events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from streamdiff.errors import ConfigError
from streamdiff.rolling.denoiser import RollingDenoiser
from streamdiff.rolling.schedule import Ladder, make_ladder
from streamdiff.rolling.transformer import RollingTransformer
from streamdiff.rolling.window import Span
from tests.rolling.reference import Reference, Shape
from tests.rolling.toys import original_weights, toy_transformer

BAR = 1e-4


@dataclass
class Pair:
    """The implementation and the reference, given the same."""

    ours: RollingDenoiser[int]
    plain: Reference
    generator: torch.Generator
    channels: int
    size: tuple[int, int]
    span: Span
    ladder: Ladder
    level: int = 0
    compared: int = 0

    def push(self, *, video: bool = False) -> None:
        shape = self.ours.noise_shape
        noise = torch.randn(shape, generator=self.generator)
        z = torch.randn(shape[1:], generator=self.generator) if video else torch.zeros(shape[1:])
        out = self.ours.push(z, noise, 0, self.level)
        self.compare(out, self.plain.push(z, noise, self.level))

    def drain(self) -> None:
        while self.plain.window:
            self.compare(self.ours.advance(), self.plain.step())
        assert self.ours.advance() is None

    def prompt(self, recache: bool) -> None:
        text = torch.randn(5, 6, generator=self.generator)
        self.ours.set_text(text[None], recache=recache)
        self.plain.prompt(text, recache)

    def remember(self, blocks: int) -> None:
        self.drain()
        for _ in range(blocks):
            z = torch.randn(self.ours.noise_shape[1:], generator=self.generator)
            self.ours.remember(z)
            self.plain.remember(z)

    def re_anchor(self) -> None:
        self.ours.re_anchor()
        self.plain.re_anchor()

    def enter_at(self, level: int) -> None:
        self.drain()
        self.level = level

    def compare(self, out: tuple[Tensor, int] | None, wanted: Tensor | None) -> None:
        assert (out is None) == (wanted is None)
        if out is not None and wanted is not None:
            assert (out[0] - wanted).abs().max() <= BAR
            self.compared += 1


def pair(
    *, seed: int = 0, heads: int = 2, width: int = 8, layers: int = 2, channels: int = 3,
    size: tuple[int, int] = (4, 4), block: int = 3, frames: int = 21,
    steps: tuple[int, ...] = (1000, 800, 600, 400, 200), conditioned: bool = False,
) -> Pair:  # fmt: skip
    weights = original_weights(
        seed=seed, heads=heads, width=width, layers=layers, channels=channels, conditioned=conditioned
    )
    generator = torch.Generator().manual_seed(seed)
    text = torch.randn(5, 6, generator=generator)
    span, ladder = Span(block, frames), make_ladder(steps)
    ours: RollingDenoiser[int] = RollingDenoiser(toy_transformer(weights, heads), ladder, span, size, text[None])
    plain = Reference(weights, Shape(heads, block, frames, conditioned=conditioned), ladder.timesteps, text)
    return Pair(ours, plain, generator, channels, size, span, ladder)


SIZES: list[dict[str, Any]] = [
    {},
    {"heads": 1, "width": 12, "layers": 3, "size": (2, 6)},
    {"heads": 3, "width": 10, "layers": 1, "channels": 5, "size": (6, 2)},
    {"block": 2, "frames": 8, "steps": (1000, 600, 300)},
    {"block": 1, "frames": 5, "steps": (900, 400)},
    {"block": 4, "frames": 8, "steps": (700,)},
    {"heads": 1, "width": 12, "frames": 18, "conditioned": True},
]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_text_to_video_over_three_cache_lengths(size: dict[str, Any]) -> None:
    p = pair(**size)
    blocks = 3 * p.span.blocks
    for _ in range(blocks):
        p.push()
    p.drain()
    assert p.compared == blocks


@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_camera_in_at_every_level(level: int, conditioned: bool) -> None:
    p = pair(seed=level, conditioned=conditioned)
    p.level = level
    for i in range(10):
        p.push(video=True)
        assert p.compared == max(0, i - (4 - level) + 1)
    p.drain()
    assert p.compared == 10


@pytest.mark.parametrize("recache", [False, True])
@pytest.mark.parametrize("after", [1, 5, 9, 14])
def test_a_prompt_change(recache: bool, after: int) -> None:
    p = pair(seed=after)
    for _ in range(after):
        p.push()
    p.prompt(recache)
    for _ in range(8):
        p.push()
    p.drain()
    assert p.compared == after + 8


@pytest.mark.parametrize("after", [0, 3, 8, 13])
def test_a_new_anchor(after: int) -> None:
    p = pair(seed=after)
    for _ in range(after):
        p.push()
    p.re_anchor()
    for _ in range(10):
        p.push()
    p.prompt(True)
    p.push()
    p.drain()
    assert p.compared == after + 11


@pytest.mark.parametrize("blocks", [1, 4, 11])
def test_continuation_from_given_blocks(blocks: int) -> None:
    p = pair(seed=blocks)
    p.remember(blocks)
    for _ in range(9):
        p.push()
    p.remember(2)
    p.push()
    p.drain()
    assert p.compared == 10


EVENT = st.one_of(
    st.tuples(st.just("push"), st.booleans()),
    st.tuples(st.just("push"), st.booleans()),
    st.tuples(st.just("prompt"), st.booleans()),
    st.tuples(st.just("enter_at"), st.integers(0, 2)),
    st.tuples(st.just("remember"), st.integers(1, 3)),
    st.tuples(st.just("re_anchor"), st.none()),
    st.tuples(st.just("drain"), st.none()),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(events=st.lists(EVENT, min_size=5, max_size=20), seed=st.integers(0, 100), conditioned=st.booleans())
def test_any_order_of_events(events: list[tuple[str, Any]], seed: int, conditioned: bool) -> None:
    p = pair(seed=seed, layers=2, size=(2, 4), block=2, frames=10, steps=(1000, 700, 300), conditioned=conditioned)
    for name, argument in events:
        if name == "push":
            p.push(video=argument)
        elif name == "prompt":
            p.prompt(argument)
        elif name == "enter_at":
            p.enter_at(argument)
        elif name == "remember":
            p.remember(argument)
        elif name == "re_anchor":
            p.re_anchor()
        else:
            p.drain()
    p.push()
    p.drain()


def test_blocks_cannot_be_remembered_behind_a_window() -> None:
    p = pair()
    p.push()
    with pytest.raises(ConfigError, match="only while no block is in its window"):
        p.ours.remember(torch.zeros(p.ours.noise_shape[1:]))


def test_an_error_loses_only_the_block_that_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    p = pair()
    for _ in range(7):
        p.push()
    noise = torch.zeros(p.ours.noise_shape)
    with monkeypatch.context() as patch:
        patch.setattr(RollingTransformer, "forward", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            p.ours.push(noise[0], noise, 0)
    for _ in range(7):
        p.push()
    p.drain()
    assert p.compared == 14


def test_clearing_forgets_all_but_the_prompt() -> None:
    p = pair()
    noise = torch.randn(9, *p.ours.noise_shape, generator=p.generator)

    def run() -> Tensor:
        outs = [p.ours.push(torch.zeros_like(n[0]), n, 0) for n in noise]
        return torch.cat([out[0] for out in outs if out is not None])

    first = run()
    p.ours.re_anchor()
    p.ours.clear()
    assert torch.equal(run(), first)


def test_a_window_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="a window of 3 blocks and the sink need 4 blocks of attention"):
        pair(block=2, frames=6, steps=(1000, 600, 300))
    with pytest.raises(ConfigError, match="latent of 3x4 does not divide into patches of 2"):
        pair(size=(4, 3))
    with pytest.raises(ConfigError, match="do not make two or more blocks"):
        Span(3, 20)
    with pytest.raises(ConfigError, match="they must fall"):
        make_ladder((800, 1000))
