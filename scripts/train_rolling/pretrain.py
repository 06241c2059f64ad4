"""Stage 2: the transformer learns the styles on single pictures, many different ones in a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import typer
from diffusers.models.attention_dispatch import dispatch_attention_fn
from torch import Tensor

from scripts.train_tiny.batches import BatchMaker
from scripts.train_tiny.config import load_config as load_picture_config
from scripts.train_tiny.data import Cache, Picture
from scripts.train_tiny.loop import mixed_precision
from streamdiff.models.load import load_model
from streamdiff.rolling.attention import RollingCrossAttention, RollingSelfAttention, TextMemory, rotate
from streamdiff.rolling.transformer import RollingTransformer

from .config import DEFAULT_CONFIG, DEFAULT_PICTURES, DEFAULT_WORK, load_config
from .latents import Latents
from .losses import distance, pixel_loss
from .run import ConfigFile, Minutes, PauseFile, PictureWork, Run, StartFrom, Work, build

CHECKPOINT = "pictures.pt"


class FlowSchedule:
    """Flow matching's factors in the place of train_tiny's ``Schedule``: x_t = (1 - t / 1000) x_0 + t / 1000 noise."""

    def __init__(self, device: torch.device) -> None:
        self.alpha = 1 - torch.arange(1000, device=device) / 1000

    def at(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """Factors of the clean latent and of the noise at timesteps [N]."""
        alpha = self.alpha[timestep][:, None, None, None]
        return alpha, 1 - alpha


class Pictures(BatchMaker):
    """train_tiny's batches, encoded by the picture model as it is used."""

    def __init__(self, latents: Latents, cache: Cache, seed: int) -> None:
        self.latents = latents
        schedule: Any = FlowSchedule(latents.device)
        nothing: Any = None  # its own VAE in training
        super().__init__(cache, load_picture_config().unet, schedule, nothing, seed)

    def encode(self, pictures: list[Picture]) -> Tensor:
        """uint8 pictures of one size to latents."""
        return self.latents.encode(np.stack(pictures))


@dataclass(frozen=True)
class Alone:
    """Rotations for frames that see themselves only."""

    cos: Tensor
    sin: Tensor


class AloneSelfAttention:
    """Each frame attends to itself."""

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: None = None, attention_mask: None = None,
        rotary_emb: Alone | None = None,
    ) -> Tensor:  # fmt: skip
        """Hidden states [F, T, D] to their attention's output of the same shape."""
        assert rotary_emb is not None
        heads = (attn.heads, -1)
        query = rotate(attn.norm_q(attn.to_q(hidden_states)).unflatten(2, heads), rotary_emb.cos, rotary_emb.sin)
        key = rotate(attn.norm_k(attn.to_k(hidden_states)).unflatten(2, heads), rotary_emb.cos, rotary_emb.sin)
        value = attn.to_v(hidden_states).unflatten(2, heads)
        return attn.to_out[0](dispatch_attention_fn(query, key, value).flatten(2))


class AloneCrossAttention:
    """Each frame attends to a prompt of its own."""

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: TextMemory | None = None,
        attention_mask: None = None, rotary_emb: None = None,
    ) -> Tensor:  # fmt: skip
        """Hidden states [F, T, D] to their attention's output of the same shape."""
        assert encoder_hidden_states is not None
        query = attn.norm_q(attn.to_q(hidden_states)).unflatten(2, (attn.heads, -1))
        return attn.to_out[0](dispatch_attention_fn(query, *encoder_hidden_states).flatten(2))


class PictureTransformer:
    """The rolling transformer over independent frames, each with a timestep and a prompt of its own."""

    def __init__(self, rolling: RollingTransformer) -> None:
        self._rolling = rolling
        for block in rolling.wan.blocks:
            block.attn1.set_processor(AloneSelfAttention())
            block.attn2.set_processor(AloneCrossAttention())

    def __call__(self, noisy: Tensor, camera: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        """Clean latents [N, C, h, w] of noisy ones, beside the camera's; text [N, L, D]."""
        rolling = self._rolling
        alone: Any = Alone(*rolling.rotations(1, noisy.shape[-2], noisy.shape[-1]))
        time = rolling.embed_time(timestep.tolist())
        return camera + rolling(torch.cat([noisy, camera], 1), time, rolling.embed_text(text), lambda _: alone)

    def close(self) -> None:
        """Give the transformer its own attention back."""
        for block in self._rolling.wan.blocks:
            block.attn1.set_processor(RollingSelfAttention())
            block.attn2.set_processor(RollingCrossAttention())


def main(
    work: Work = DEFAULT_WORK,
    pictures: PictureWork = DEFAULT_PICTURES,
    config_file: ConfigFile = DEFAULT_CONFIG,
    minutes: Minutes = None,
    pause_file: PauseFile = None,
    start_from: StartFrom = None,
) -> None:
    """Train; continues from the last checkpoint in the work folder."""
    config = load_config(config_file)
    c = config.train
    torch.manual_seed(config.seed)
    wan, rolling = build(config)
    run = Run(
        wan, c, work / CHECKPOINT, config.version, minutes or c.picture_minutes, c.picture_lr, pause_file, start_from
    )
    torch.manual_seed(config.seed + run.steps)
    latents = Latents(load_model(config.pictures), run.device)
    maker = Pictures(latents, Cache(pictures, load_picture_config()), config.seed + run.steps)
    model = PictureTransformer(rolling)
    side = config.model.size[0]
    for progress in run:
        batch = maker.make(c.picture_batch, side)
        with mixed_precision(run.device):
            clean = model(batch.noisy, batch.condition, batch.timestep, latents.embed(batch.prompts))
            loss = (distance(clean - batch.target) * batch.weight).mean()
            value = loss.item()
            if progress >= c.pixel_from:
                some = slice(0, max(1, c.picture_batch // 4))
                loss = loss + c.pixel_weight * pixel_loss(clean[some], batch.target[some], latents)
        loss.backward()
        run.step(value, c.picture_batch)


if __name__ == "__main__":
    typer.run(main)
