"""The adversarial term: a small critic that tells targets from answers by their latents, against averages' blur."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from .batches import Batch, coarse_share, style_share


class Critic(nn.Module):
    """(clean latent, condition latent, prompt and timestep) -> a mark for every 2x2 cells: high for targets.

    What a target looks like depends on the style, so its features are weighed by the prompt (projection, arXiv
    1802.05637); every layer is spectrally normalised (arXiv 1802.05957), so that the marks change gently.
    """

    def __init__(self, channels: int, hidden: int, width: int) -> None:
        """`channels` of a latent, `hidden` size of the text encoder's states, `width` of the first layer."""
        super().__init__()
        self.body = nn.Sequential(
            spectral_norm(nn.Conv2d(2 * channels, width, 3, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(2 * width, 2 * width, 3, padding=1)),
            nn.LeakyReLU(0.2),
        )
        self.mark = spectral_norm(nn.Conv2d(2 * width, 1, 1))
        self.wanted = spectral_norm(nn.Linear(hidden + 2, 2 * width))

    def forward(self, clean: Tensor, condition: Tensor, about: Tensor) -> Tensor:
        """Latents [N, C, h, w] twice and `about` [N, hidden + 2] -> marks [N, 1, h/2, w/2]."""
        seen = self.body(torch.cat([clean, condition], 1))
        wanted = self.wanted(about)[:, :, None, None]
        return self.mark(seen) + (seen * wanted).sum(1, keepdim=True)


class Adversary:
    """The critic, its training, and what it asks of the denoiser."""

    def __init__(self, critic: Critic, lr: float) -> None:
        self.critic = critic.train()
        self.certainty = 0.0  # 0 where it cannot tell, 1 where it always does; averaged
        self.optimizer = torch.optim.Adam(critic.parameters(), lr=lr, betas=(0.5, 0.99))

    @staticmethod
    def _about(batch: Batch, words: Tensor) -> Tensor:
        shares = torch.stack([style_share(batch.timestep), coarse_share(batch.timestep)], 1)
        return torch.cat([words.detach().mean(1), shares.to(words.dtype)], 1)

    def learn(self, clean: Tensor, batch: Batch, words: Tensor) -> float:
        """One step of the critic (hinge loss): targets up, the denoiser's answers `clean` down; returns the loss.

        `words` are the text encoder's states [N, L, hidden].
        """
        self.critic.requires_grad_(True)
        both = torch.cat([batch.target, clean.detach()])
        twice = torch.cat([batch.condition] * 2)
        marks = self.critic(both, twice, torch.cat([self._about(batch, words)] * 2)).float()
        real, made = marks.chunk(2)
        loss = F.relu(1 - real).mean() + F.relu(1 + made).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        value = loss.item()
        self.certainty += 0.05 * (max(0.0, 1 - value / 2) - self.certainty)
        return value

    def add(self, gradient: Tensor, clean: Tensor, batch: Batch, words: Tensor, share: float) -> Tensor:
        """The gradient of the other losses by `clean`, and up to `share` times as much of the critic's.

        So the two keep their proportion whatever their sizes (as VQGAN weighs them, arXiv 2012.09841, section 3.2).
        What a critic says that cannot tell the two apart is chance: it counts by its certainty.
        """
        self.critic.requires_grad_(False)
        answer = clean.detach().requires_grad_(True)
        marks = self.critic(answer, batch.condition, self._about(batch, words)).float()
        own = torch.autograd.grad(-marks.mean(), answer)[0]
        return gradient + own * (share * self.certainty * gradient.norm() / own.norm().clamp_min(1e-12))

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        states = {"critic": self.critic.state_dict(), "optimizer": self.optimizer.state_dict()}
        return {**states, "certainty": self.certainty}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.critic.load_state_dict(cast(dict[str, Tensor], state["critic"]))
        self.optimizer.load_state_dict(state["optimizer"])
        self.certainty = float(state["certainty"])
