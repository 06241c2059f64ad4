"""RollingDenoiser: the rolling window itself, on latents (Rolling Forcing, arXiv 2509.25161; ALGORITHMS 6)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor

from streamdiff.errors import ConfigError
from streamdiff.rolling.attention import Sight, TextMemory
from streamdiff.rolling.cache import BlockCache
from streamdiff.rolling.schedule import Ladder, add_noise, predict_clean
from streamdiff.rolling.transformer import RollingTransformer
from streamdiff.rolling.window import Span, seen_by_clean_pass, seen_by_window
from streamdiff.staircase import Staircase

T = TypeVar("T")


@dataclass(frozen=True)
class Block(Generic[T]):
    """A block of frames on its way down the ladder.

    Attributes:
        number: counted from 0 in the order of entry.
        x: its latents at its present noise level, [F, C, h, w].
        camera: the clean latents it entered as, [F, C, h, w]; zeros for a block made from the prompt alone.
        noise: for each level, [levels, F, C, h, w].
        load: what travels with it.
    """

    number: int
    x: Tensor
    camera: Tensor
    noise: Tensor
    load: T


@dataclass(frozen=True)
class _Finished:
    """A finished block whose keys and values are not yet in the cache, as its clean pass takes it, and the prompt it
    was finished under."""

    number: int
    sample: Tensor
    text: list[TextMemory]


class RollingDenoiser(Staircase[Block[T]]):
    """A window of blocks, each at its own noise level, the oldest the cleanest, denoised jointly.

    A block enters by ``push``; every push and every ``advance`` moves all blocks one level on, and the one that leaves
    the last level is final. Its keys and values are written by its clean pass just before they are first needed, so
    that it can be shown without waiting for that, and the last one's are never computed.

    Memory and time for a block are constant, and positions never run out: a stream has no longest length.
    """

    def __init__(
        self, transformer: RollingTransformer, ladder: Ladder, span: Span, size: tuple[int, int], text: Tensor
    ) -> None:
        """Allocate the cache for one size.

        Args:
            transformer: the model.
            ladder: noise levels.
            span: how far attention reaches.
            size: (height, width) of a latent.
            text: embedding of the prompt, [1, L, D].

        Raises:
            ConfigError: the ladder's window and the sink do not fit the span, or a size that is no whole number of
                patches.
        """
        super().__init__(len(ladder))
        if len(ladder) >= span.blocks:
            raise ConfigError(
                f"a window of {len(ladder)} blocks and the sink need {len(ladder) + 1} blocks of attention, "
                f"and this model's reaches over {span.blocks}"
            )
        height, width = size
        patch = transformer.patch
        if height % patch or width % patch:
            raise ConfigError(f"a latent of {width}x{height} does not divide into patches of {patch}")
        self._transformer = transformer
        self._ladder = ladder
        self._span = span
        device = transformer.device
        tokens = span.block * (height // patch) * (width // patch)
        latent = transformer.channels * (2 if transformer.conditioned else 1), height, width
        self._latent = span.block, transformer.channels, height, width
        self._cache = BlockCache(
            transformer.layers, span, tokens, transformer.heads, transformer.width, latent, transformer.dtype, device
        )
        # The last row is that of a clean block.
        self._time = transformer.embed_time([*ladder.timesteps, 0.0])
        exact = torch.float32 if device.type == "mps" else torch.float64  # it has nothing more exact
        self._sigmas = torch.tensor([ladder.sigma(i) for i in range(len(ladder))], dtype=exact, device=device)
        self._cos, self._sin = transformer.rotations(span.frames, height, width)
        self._text = transformer.embed_text(text)
        self._next = 0
        self._anchors = {0}
        self._owed: _Finished | None = None

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the noise that a block needs: (levels, F, C, h, w)."""
        return len(self._ladder), *self._latent

    @property
    def loads(self) -> list[T]:
        """What travels with the blocks in the window, newest first."""
        return [block.load for block in self.held]

    @torch.inference_mode()
    def push(self, clean: Tensor, noise: Tensor, load: T, level: int = 0) -> tuple[Tensor, T] | None:
        """Let a block in and step once.

        Args:
            clean: its latents [F, C, h, w]: zeros for a block made from the prompt alone, which enters at level 0, or
                those of a video.
            noise: [levels, F, C, h, w], ``noise[i]`` brings it to level i.
            load: what travels with it.
            level: where it enters; the same for all blocks of a window. A window has ``levels - level`` blocks, and a
                video's block keeps the more of it the higher this is.

        Returns:
            The block that became final, as latents [F, C, h, w], and its load; None while the window ramps up.
        """
        device = self._sigmas.device  # the VAE's may be another
        clean, noise = clean.to(device), noise.to(device)
        x = add_noise(self._ladder.sigma(level), clean, noise[level])
        finished = self.enter(Block(self._next, x, clean, noise, load), level)
        self._next += 1
        return self._taken(finished)

    @torch.inference_mode()
    def advance(self) -> tuple[Tensor, T] | None:
        """Step without letting a block in, while any is in the window; returns as ``push``."""
        return self._taken(self.step())

    @torch.inference_mode()
    def remember(self, latents: Tensor) -> None:
        """Take a clean block [F, C, h, w] into the history as if it had been made here, of itself.

        Raises:
            ConfigError: blocks are in the window, which would come after it in number and before it in time.
        """
        if self.held:
            raise ConfigError("a stream can continue from given frames only while no block is in its window")
        self.settle()
        latents = latents.to(self._sigmas.device)
        self._owed = _Finished(self._next, self._sample(latents, latents), self._text)
        self._next += 1

    @torch.inference_mode()
    def set_text(self, text: Tensor, *, recache: bool = False) -> None:
        """Change the prompt for the whole window.

        Args:
            text: embedding [1, L, D].
            recache: show the history to the new prompt: its clean blocks, the sink and those before the window, are
                passed through once more. Without it they keep the old prompt until they have left the cache.
        """
        self.settle()
        self._text = self._transformer.embed_text(text)
        cache = self._cache
        if not recache or cache.anchor is None:
            return
        first = cache.first
        if first != cache.anchor:
            self._clean_pass([], cache.anchor, cache.latents[0], self._text)
        for block in range(first, cache.newest + 1):
            self._clean_pass(list(range(first, block)), block, cache.latents[cache.place(block)], self._text)

    def re_anchor(self) -> None:
        """Let the block that enters next become the sink when it is final, and the history begin with it."""
        self._anchors.add(self._next)

    def clear(self) -> None:
        """Forget window and history; the prompt stays."""
        super().clear()
        self._cache.clear()
        self._next = 0
        self._anchors = {0}
        self._owed = None

    def denoise(self, full: list[tuple[int, Block[T]]]) -> list[tuple[Tensor, Block[T]]]:
        """One joint pass over the window; x_0 of each block, in float64 from the flow."""
        self.settle()
        order = full[::-1]  # oldest first, as they lie in time
        frames = self._span.block
        levels = torch.tensor([level for level, _ in order for _ in range(frames)], device=self._sigmas.device)
        x = torch.cat([block.x for _, block in order])
        camera = torch.cat([block.camera for _, block in order])
        past = seen_by_window(self._span, self._cache.anchor, order[0][1].number, len(order))
        out = self._pass(self._sample(x, camera), levels, self._text, past, None)
        clean = camera + out if self._transformer.conditioned else predict_clean(self._sigmas[levels], x, out)
        return [(x_0, block) for x_0, (_, block) in zip(clean.split(frames), order, strict=True)][::-1]

    def renoise(self, level: int, clean: Tensor, slot: Block[T]) -> Block[T]:
        """The block at its next level, with fresh noise."""
        return replace(slot, x=add_noise(self._ladder.sigma(level), clean, slot.noise[level]))

    def _taken(self, finished: tuple[Tensor, Block[T]] | None) -> tuple[Tensor, T] | None:
        if finished is None:
            return None
        latents, block = finished
        self._owed = _Finished(block.number, self._sample(latents, block.camera), self._text)
        return latents, block.load

    def settle(self) -> None:
        """Run the clean pass that is owed, which the next step would run."""
        if self._owed is None:
            return
        block, cache = self._owed, self._cache
        if block.number in self._anchors:
            cache.begin(block.number)
            past: list[int] = []
        else:
            past = seen_by_clean_pass(self._span, cache.first, block.number)
        self._clean_pass(past, block.number, block.sample, block.text)
        cache.add(block.number, block.sample)
        self._anchors.discard(block.number)
        self._owed = None

    def _sample(self, x: Tensor, camera: Tensor) -> Tensor:
        """What the transformer takes of latents."""
        return torch.cat([x, camera], dim=1) if self._transformer.conditioned else x

    def _clean_pass(self, past: list[int], block: int, sample: Tensor, text: list[TextMemory]) -> None:
        """Write a block's keys and values at t = 0; what the pass predicts is thrown away."""
        levels = torch.full((self._span.block,), len(self._ladder), device=self._sigmas.device)
        self._pass(sample, levels, text, past, self._cache.places([block]))

    def _pass(
        self, sample: Tensor, levels: Tensor, text: list[TextMemory], past: list[int], write: Tensor | None
    ) -> Tensor:
        cache, places = self._cache, self._cache.places(past)

        def sight(layer: int) -> Sight:
            return Sight(cache.keys[layer], cache.values[layer], places, write, self._cos, self._sin)

        return self._transformer(sample, self._time.rows(levels), text, sight)
