"""RollingTransformer: diffusers' WanTransformer3DModel over a window of frames, each at its own noise level.

Its layers are used as they are. Frames go through them as the batch, which makes the modulation one row for each frame
instead of one for each token (0.86 GB at full size); the attention processors join the frames again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from streamdiff.rolling.attention import (
    RollingCrossAttention,
    RollingSelfAttention,
    Sight,
    TextMemory,
    text_memory,
)


@dataclass(frozen=True)
class TimeEmbedding:
    """Embedded timesteps; row i belongs to timestep i.

    Attributes:
        output: for the output layer, [n, D] float32.
        layers: for the transformer's layers, [n, 6, D] float32.
    """

    output: Tensor
    layers: Tensor

    def rows(self, index: Tensor) -> TimeEmbedding:
        """One row for each entry of an int64 index."""
        return TimeEmbedding(self.output[index], self.layers[index])


class RollingTransformer(nn.Module):
    """The denoiser of the rolling window; holds weights alone, and may be shared by sessions and threads.

    Attributes:
        wan: the WanTransformer3DModel within.
        layers: number of transformer blocks.
        heads: attention heads.
        width: of a head.
        channels: C, of a latent.
        conditioned: it takes the camera's clean latents as C further channels, and predicts the change to them.
        patch: latent pixels on a side of a token's patch.
    """

    def __init__(self, wan: Any, dtype: torch.dtype = torch.float32) -> None:
        """Take over a model: its attention processors are replaced.

        Args:
            wan: a WanTransformer3DModel for text alone, with patches of one frame.
            dtype: precision of its large layers. Norms and modulations keep that of their weights, and what embeds
                times and prompts is float32: it runs once for each of them, and exactness is worth more there.
        """
        super().__init__()
        wan.condition_embedder.float()
        wan.patch_embedding.to(dtype)
        wan.proj_out.to(dtype)
        for block in wan.blocks:
            for part in (block.attn1, block.attn2, block.ffn):
                part.to(dtype)
            block.attn1.set_processor(RollingSelfAttention())
            block.attn2.set_processor(RollingCrossAttention())
        self.wan = wan.eval().requires_grad_(False)
        self.layers = len(wan.blocks)
        self.heads = int(wan.config.num_attention_heads)
        self.width = int(wan.config.attention_head_dim)
        self.channels = int(wan.config.out_channels)
        self.conditioned = int(wan.config.in_channels) == 2 * self.channels
        self.patch = int(wan.config.patch_size[1])

    @property
    def dtype(self) -> torch.dtype:
        """Precision of its large layers, and of keys and values."""
        return self.wan.patch_embedding.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return self.wan.patch_embedding.weight.device

    def embed_text(self, embedding: Tensor) -> list[TextMemory]:
        """Keys and values of a prompt for each layer; once a prompt.

        Args:
            embedding: the text encoder's output, [1, L, text width], zeros where there is no token.
        """
        text = self.wan.condition_embedder.text_embedder(embedding.to(self.device, torch.float32)).to(self.dtype)
        return [text_memory(block.attn2, text) for block in self.wan.blocks]

    def embed_time(self, timesteps: Sequence[float]) -> TimeEmbedding:
        """Embed timesteps; once a ladder. The sinusoids are computed in float64, as the model was trained."""
        embedder = self.wan.condition_embedder
        half = int(self.wan.config.freq_dim) // 2
        speeds = torch.pow(10000, -torch.arange(half, dtype=torch.float64) / half)
        angles = torch.tensor(timesteps, dtype=torch.float64)[:, None] * speeds
        sinusoids = torch.cat([angles.cos(), angles.sin()], dim=1).to(self.device, torch.float32)
        output = embedder.time_embedder(sinusoids)
        return TimeEmbedding(output, embedder.time_proj(embedder.act_fn(output)).unflatten(1, (6, -1)))

    def rotations(self, frames: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        """cos and sin for every token of frames at positions 0 .. frames - 1, [tokens, 1, width of a head].

        Args:
            frames: positions.
            height, width: of a latent.
        """
        from diffusers.models.embeddings import get_1d_rotary_pos_embed

        # The model's own tables, from the function it makes them with: its way of reading them out is wrong in some
        # versions for some widths, and ends at rope_max_seq_len.
        grid = frames, height // self.patch, width // self.patch
        side = 2 * (self.width // 6)
        tables: list[Any] = []
        for axis, channels in enumerate((self.width - 2 * side, side, side)):
            along: Any = get_1d_rotary_pos_embed(
                channels, grid[axis], use_real=True, repeat_interleave_real=True, freqs_dtype=torch.float64
            )
            shape = [1, 1, 1, channels]
            shape[axis] = grid[axis]
            tables.append([table.view(shape).expand(*grid, channels) for table in along])
        cos, sin = (torch.cat(parts, dim=3).flatten(0, 2)[:, None] for parts in zip(*tables, strict=True))
        return cos.to(self.device, torch.float32), sin.to(self.device, torch.float32)

    def forward(
        self, x: Tensor, time: TimeEmbedding, text: Sequence[TextMemory], sight: Callable[[int], Sight]
    ) -> Tensor:
        """Predict the flow of a window's frames, or, conditioned, what the clean frames have beside the camera's.

        Args:
            x: noisy latents [F, C, h, w] float32; conditioned, [F, 2 C, h, w], the camera's behind them.
            time: F rows.
            text: the prompt, one entry for each layer.
            sight: what a layer, given by its index, sees.

        Returns:
            [F, C, h, w] float32.
        """
        wan, patch = self.wan, self.patch
        patches: Tensor = wan.patch_embedding(x[:, :, None].to(self.dtype))
        rows, columns = patches.shape[-2:]
        hidden = patches.flatten(2).transpose(1, 2).contiguous()
        for index, block in enumerate(wan.blocks):
            hidden = block(hidden, text[index], time.layers, sight(index))
        shift, scale = (wan.scale_shift_table.float() + time.output[:, None]).chunk(2, dim=1)
        hidden = (wan.norm_out(hidden.float()) * (1 + scale) + shift).type_as(hidden)
        out: Tensor = wan.proj_out(hidden).float().unflatten(2, (patch, patch, -1)).unflatten(1, (rows, columns))
        return out.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
