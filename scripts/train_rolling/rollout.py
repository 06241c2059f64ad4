"""Rollout: the package's own rolling window, run over an episode with gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from streamdiff.rolling.denoiser import Block, RollingDenoiser
from streamdiff.rolling.transformer import RollingTransformer

from .config import ModelConfig
from .episodes import Episode


@dataclass(frozen=True)
class Predicted:
    """What one pass predicted, its blocks oldest first.

    Attributes:
        clean: [B F, C, h, w], with gradients.
        answer: what it should have been.
    """

    clean: Tensor
    answer: Tensor


class TrainingDenoiser(RollingDenoiser[Tensor]):
    """The window in training: what travels with a block is its answer.

    A pass has gradients; the clean passes, and so the cache, have none, and weights that have moved on since are not
    shown to it again (Self Forcing, arXiv 2506.08009, cuts them likewise). What goes on to the next level and into the
    history is the model's own prediction, or the answer: a share ``own`` of blocks the first, so that it learns to live
    with its own mistakes (scheduled sampling, arXiv 1506.03099).
    """

    def __init__(self, transformer: RollingTransformer, model: ModelConfig, episode: Episode) -> None:
        size = episode.camera.shape[-2], episode.camera.shape[-1]
        with torch.no_grad():
            super().__init__(transformer, model.ladder(), model.reach(), size, episode.text)
        self.generator = torch.Generator().manual_seed(0)
        self.own = 1.0
        self.predicted: Predicted | None = None
        self._steps = (*model.ladder().timesteps, 0.0)
        self._embedding = episode.text

    def renew(self) -> None:
        """Embed times and prompt with the weights as they are now, with gradients."""
        self._time = self._transformer.embed_time(self._steps)
        self._text = self._transformer.embed_text(self._embedding)

    def let_in(self, camera: Tensor, answer: Tensor, level: int) -> None:
        """As ``push``, with gradients."""
        self.settle()
        self.renew()
        noise = torch.randn(self.noise_shape, device=camera.device)
        x = torch.lerp(camera, noise[level], self._ladder.sigma(level))
        number, self._next = self._next, self._next + 1
        self._taken(self.enter(Block(number, x, camera, noise, answer), level))

    def move_on(self) -> None:
        """As ``advance``, with gradients."""
        self.settle()
        self.renew()
        self._taken(self.step())

    def settle(self) -> None:
        """Run the clean pass that is owed, without gradients."""
        with torch.no_grad():
            super().settle()

    def denoise(self, full: list[tuple[int, Block[Tensor]]]) -> list[tuple[Tensor, Block[Tensor]]]:
        """The pass; what it gives on is own or given."""
        result = super().denoise(full)
        oldest_first = result[::-1]
        self.predicted = Predicted(
            torch.cat([clean for clean, _ in oldest_first]), torch.cat([block.load for _, block in oldest_first])
        )
        own = torch.rand(len(result), generator=self.generator).tolist()
        return [
            (clean.detach() if u < self.own else block.load, block)
            for (clean, block), u in zip(result, own, strict=True)
        ]


class Rollout:
    """One episode on its way through the window."""

    def __init__(self, transformer: RollingTransformer, model: ModelConfig, episode: Episode, seed: int) -> None:
        self.episode = episode
        self._denoiser = TrainingDenoiser(transformer, model, episode)
        self._denoiser.generator.manual_seed(seed)
        self._blocks = list(zip(episode.camera.split(model.block), episode.answer.split(model.block), strict=True))[
            ::-1
        ]

    @property
    def over(self) -> bool:
        """Every block has left the window."""
        return not self._blocks and not self._denoiser.held

    def step(self, own: float) -> Predicted:
        """One pass.

        Args:
            own: share of blocks that go on as the model predicted them.
        """
        self._denoiser.own = own
        if self._blocks:
            camera, answer = self._blocks.pop()
            self._denoiser.let_in(camera, answer, self.episode.level)
        else:
            self._denoiser.move_on()
        predicted = self._denoiser.predicted
        assert predicted is not None
        return predicted
