"""A UNet in two: what depends on the prompt and the timestep alone, computed once, and the rest (ALGORITHMS 5).

Keys and values of every cross-attention, and every residual block's projection of the timestep, are the same for each
frame. ``Conditioner`` computes them, one after another in one flat row; ``Denoiser`` is the UNet with those modules
taken out, which reads them from that row. ``Shallow`` is its outermost level alone (DeepCache, arXiv 2312.00858).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

LCM_GUIDANCE = 7.5
"""The guidance an LCM-distilled UNet (``time_cond_proj_dim``) is asked for: its authors' default, 8.5 less 1."""


@dataclass(frozen=True)
class _Site:
    """A linear layer whose output depends on the prompt and the timestep alone.

    Attributes:
        owner: the module that has it.
        name: under which name.
        of_text: it reads the text; otherwise the timestep's embedding.
        modulates: its output is scale and shift of the owner's second norm, x (1 + scale) + shift.
        activation: of the embedding before the layer.
    """

    owner: nn.Module
    name: str
    of_text: bool
    modulates: bool
    activation: nn.Module

    @property
    def layer(self) -> nn.Linear:
        return cast("nn.Linear", getattr(self.owner, self.name))

    def width(self, tokens: int) -> int:
        """Numbers in a row."""
        return self.layer.out_features * (tokens if self.of_text else 1)


def _sites(unet: nn.Module) -> Iterator[_Site]:
    """In the order of the module's tree; the same for equal UNets."""
    from diffusers.models.attention import BasicTransformerBlock
    from diffusers.models.resnet import ResnetBlock2D

    for module in unet.modules():
        if isinstance(module, ResnetBlock2D) and module.time_emb_proj is not None:
            modulates = module.time_embedding_norm == "scale_shift"
            activation = nn.Identity() if module.skip_time_act else module.nonlinearity
            yield _Site(module, "time_emb_proj", False, modulates, activation)
        if isinstance(module, BasicTransformerBlock):
            block: Any = module
            crossed = [block.attn1] if block.only_cross_attention else []
            crossed += [] if block.attn2 is None or block.double_self_attention else [block.attn2]
            for attention in crossed:
                for name in ("to_k", "to_v"):
                    yield _Site(attention, name, True, False, nn.Identity())


class Conditioner(nn.Module):
    """(t int64 [B], text [B, L, D]) to the flat row [B, M] that ``Denoiser`` and ``Shallow`` read."""

    def __init__(self, unet: Any, train_steps: int) -> None:
        """Take the layers out of a UNet2DConditionModel; the rest of it is let go.

        Args:
            unet: the model.
            train_steps: T; timesteps are 0 .. T-1.
        """
        super().__init__()
        sites = list(_sites(unet))
        self.kinds = [(site.of_text, site.modulates) for site in sites]
        self.layers = nn.ModuleList(site.layer for site in sites)
        self.activations = nn.ModuleList(site.activation for site in sites)
        # Looked up instead of computed: the same numbers, exact in any precision of the engine.
        self.table = nn.Parameter(unet.time_proj(torch.arange(train_steps)), requires_grad=False)
        self.time_embedding = unet.time_embedding
        # Pooled text that is added to the timestep's embedding; other additions need inputs that a stream has not.
        self.add_embedding = unet.add_embedding if unet.config.addition_embed_type == "text" else None
        self.time_activation = unet.time_embed_act or nn.Identity()
        width = unet.config.time_cond_proj_dim
        self.guided = width is not None
        self.register_buffer("guidance", guidance_embedding(LCM_GUIDANCE, width or 2))

    def forward(self, timestep: Tensor, text: Tensor) -> Tensor:
        """Compute the row."""
        guidance = self.get_buffer("guidance").expand(text.shape[0], -1) if self.guided else None
        embedding = self.time_embedding(self.table[timestep], guidance)
        if self.add_embedding is not None:
            embedding = embedding + self.add_embedding(text)
        embedding = self.time_activation(embedding)
        parts: list[Tensor] = []
        for (of_text, modulates), layer, activation in zip(self.kinds, self.layers, self.activations, strict=True):
            part = layer(text if of_text else activation(embedding))
            if modulates:
                scale, shift = part.chunk(2, dim=1)
                part = torch.cat([1 + scale, shift], dim=1)
            parts.append(part.flatten(1))
        return torch.cat(parts, dim=1)


class _Row:
    """What the present call was given: a plain object, so that no exporter takes it for a part of the module."""

    def __init__(self) -> None:
        self.parts: tuple[Tensor, ...] = ()
        self.deep: Tensor | None = None


class _Given(nn.Module):
    """In a layer's place: gives its output, computed before."""

    def __init__(self, row: _Row, index: int, width: int) -> None:
        super().__init__()
        self.row, self.index, self.width = row, index, width

    def forward(self, _: Tensor) -> Tensor:
        part = self.row.parts[self.index]
        # Keys and values are [B, L, width], a time projection [B, width].
        return part if part.shape[1] == self.width else part.unflatten(1, (-1, self.width))


class _Modulation:
    """Behind a norm: x scale + shift.

    In this form, with 1 + scale computed before, because of OpenVINO 2026.4 too: it crashes on 1 + scale in float32.
    """

    def __init__(self, row: _Row, index: int) -> None:
        self.row, self.index = row, index

    def __call__(self, _: nn.Module, __: tuple[Tensor, ...], normed: Tensor) -> Tensor:
        scale, shift = self.row.parts[self.index][:, :, None, None].chunk(2, dim=1)
        return normed * scale + shift


class _First(nn.Module):
    def forward(self, given: Tensor, *_: object) -> Tensor:
        return given


class _Deep(nn.Module):
    """In the place of the middle block of a shallow UNet: the kept features."""

    def __init__(self, row: _Row) -> None:
        super().__init__()
        self.row = row

    def forward(self, *_: Tensor) -> Tensor:
        assert self.row.deep is not None
        return self.row.deep


class Denoiser(nn.Module):
    """(x [B, C or 2 C, h, w], conditioning [B, M]) to prediction [B, C, h, w].

    With ``deep`` the features [B, D, h, w] that its last block is given come behind the prediction, on the channel
    axis. One call at a time: what it is given stands in the module while it runs.
    """

    def __init__(self, unet: Any, tokens: int, condition_scale: float | None, *, deep: bool = False) -> None:
        """Take the conditioning out of a UNet2DConditionModel.

        Args:
            unet: the model; it is changed.
            tokens: L, of a prompt.
            condition_scale: of an image-conditioned UNet, the scaling factor of the VAE it was trained with:
                InstructPix2Pix takes unscaled condition latents, and the stream's are scaled. None for any other.
            deep: give the deep features too.
        """
        super().__init__()
        self.unet = unet
        self.condition_scale = condition_scale
        self.deep = deep
        self.row = _Row()
        sites = list(_sites(unet))
        self.widths = [site.width(tokens) for site in sites]
        for index, site in enumerate(sites):
            given = None if site.modulates else _Given(self.row, index, site.layer.out_features)
            if site.modulates:
                owner = cast(Any, site.owner)
                owner.norm2.register_forward_hook(_Modulation(self.row, index))
                owner.time_embedding_norm = "by a hook"
            delattr(site.owner, site.name)
            setattr(site.owner, site.name, given)
        unet.time_proj = unet.time_embedding = _First()
        unet.time_embed_act = unet.add_embedding = None
        unet.register_to_config(addition_embed_type=None)
        # Cross-attention looks at its shape alone.
        self.register_buffer("text", torch.zeros(1, tokens, 1), persistent=False)
        if deep:
            unet.up_blocks[-1].register_forward_pre_hook(self._keep, with_kwargs=True)

    def _keep(self, _: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.row.deep = named["hidden_states"] if "hidden_states" in named else given[0]

    def forward(self, x: Tensor, conditioning: Tensor) -> Tensor:
        """Predict."""
        prediction = self._run(x, conditioning)
        deep, self.row.deep = self.row.deep, None
        if not self.deep:
            return prediction
        assert deep is not None
        return torch.cat([prediction, deep], dim=1)

    def _run(self, x: Tensor, conditioning: Tensor) -> Tensor:
        if self.condition_scale is not None and self.condition_scale != 1.0:
            noisy, condition = x.chunk(2, dim=1)
            x = torch.cat([noisy, condition / self.condition_scale], dim=1)
        self.row.parts = conditioning.split(self.widths, dim=1)
        text = self.get_buffer("text").expand(x.shape[0], -1, -1)
        prediction = self.unet(x, torch.zeros_like(x[:, 0, 0, 0]), text, return_dict=False)[0]
        self.row.parts = ()
        return prediction


class Shallow(Denoiser):
    """(x, conditioning, deep [B, D, h, w]) to prediction: the outermost blocks alone, around kept deep features."""

    def __init__(self, unet: Any, tokens: int, condition_scale: float | None) -> None:
        """As ``Denoiser``; the UNet has at least two levels."""
        super().__init__(unet, tokens, condition_scale)
        outer, last = unet.down_blocks[0], len(unet.up_blocks) - 1
        outer.downsamplers = None
        unet.down_blocks = _only(outer, 0)
        unet.mid_block = _Deep(self.row)
        unet.up_blocks = _only(unet.up_blocks[last], last)

    def forward(self, x: Tensor, conditioning: Tensor, deep: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Predict."""
        self.row.deep = deep
        prediction = self._run(x, conditioning)
        self.row.deep = None
        return prediction


def _only(block: nn.Module, index: int) -> nn.ModuleList:
    """A list of one block, which keeps the name it had."""
    blocks = nn.ModuleList()
    blocks.add_module(str(index), block)
    return blocks


def guidance_embedding(guidance: float, width: int) -> Tensor:
    """Sinusoidal embedding of a guidance scale, [1, width] (LCM, arXiv 2310.04378, section 4.2; widths are even)."""
    frequencies = torch.exp(torch.arange(width // 2) * -(torch.log(torch.tensor(10000.0)) / max(1, width // 2 - 1)))
    angles = 1000 * guidance * frequencies
    return torch.cat([angles.sin(), angles.cos()])[None]
