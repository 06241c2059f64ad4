"""Run the trained parts as the stream does: noised photograph in, one to four consistency steps, picture out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .config import Config
from .encode import load_vae
from .loop import Ema, load_checkpoint
from .text import token_ids
from .train_unet import CHECKPOINT, Denoiser
from .unet import Schedule, clean_prediction


def plan_timesteps(strength: float, steps: int, origin: int = 50) -> list[int]:
    """The timesteps that LCMScheduler takes for a strength in 0..1 and a number of steps."""
    usable = [i * (1000 // origin) - 1 for i in range(1, max(1, int(origin * strength)) + 1)][::-1]
    picks = np.floor(np.linspace(0, len(usable), num=min(steps, len(usable)), endpoint=False)).astype(int)
    return [usable[i] for i in picks]


class Sampler:
    """The averaged weights of the last checkpoints, ready to stylise."""

    def __init__(self, work: Path, config: Config, config_file: Path) -> None:
        self.device = config.torch_device()
        self.channels = config.vae.latent_channels
        state = load_checkpoint(work / CHECKPOINT)
        if state is None:
            raise FileNotFoundError(f"no {CHECKPOINT} in {work}: run train_unet first")
        self.model = Denoiser(config, work / "tokenizer")
        ema = Ema(self.model, config.unet.ema)
        ema.load_state_dict(state["ema"])
        ema.copy_to(self.model)
        self.model.to(self.device).eval().requires_grad_(False)
        self.vae = load_vae(work, config_file).to(self.device)
        self.schedule = Schedule(self.device)
        self.pairs, self.seconds = int(state["pairs"]), float(state["seconds"])

    def _v(self, noisy: Tensor, condition: Tensor, timestep: Tensor, prompts: list[str]) -> Tensor:
        ids = token_ids(self.model.tokenizer, prompts).to(self.device)
        return self.model(noisy, condition, timestep, ids).float()

    @torch.inference_mode()
    def latents(
        self,
        z: Tensor,
        prompts: list[str],
        strength: float = 0.5,
        steps: int = 1,
        guidance: float = 1.0,
        negative: str = "",
        seed: int = 0,
    ) -> Tensor:
        """Latents [N, C, h, w] of photographs -> stylised latents. One noise for all pictures, as in the stream."""
        generator = torch.Generator().manual_seed(seed)
        plan = plan_timesteps(strength, steps)
        clean = z
        with torch.autocast(self.device.type, torch.bfloat16):
            for tau in plan:
                timestep = torch.full((len(z),), tau, device=self.device)
                alpha, sigma = self.schedule.at(timestep)
                noise = torch.randn(z.shape[1:], generator=generator).to(self.device)
                noisy = alpha * clean + sigma * noise
                v = self._v(noisy, z, timestep, prompts)
                if guidance > 1:
                    other = self._v(noisy, z, timestep, [negative] * len(z))
                    v = other + guidance * (v - other)
                clean = clean_prediction(noisy, v, alpha, sigma)
        return clean

    @torch.inference_mode()
    def encode(self, pictures: Tensor) -> Tensor:
        """uint8 [N, H, W, 3] -> latents [N, C, H/8, W/8]."""
        return self.vae.encode(pictures.to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1)

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents -> uint8 [N, H, W, 3] on the host."""
        out = self.vae.decode(latents).clamp(-1, 1)
        return ((out + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu()
