"""BlockCache: keys and values of the finished blocks, in buffers whose size never changes (ALGORITHMS 6)."""

from __future__ import annotations

import torch
from torch import Tensor

from streamdiff.rolling.window import Span


class BlockCache:
    """Un-rotated keys and values of every layer for the anchor (the attention sink) and the newest finished blocks.

    Place 0 holds the anchor, the others are a ring: block b lies at 1 + b mod (places - 1). A block's clean pass reads
    the places of the blocks before it and then writes its own, which was that of the oldest among them: one place less
    than the longest history.

    Attributes:
        keys, values: [layers, places, tokens of a block, heads, width of a head].
        latents: [places, frames of a block, C, h, w] float32, what the blocks' clean passes took, for showing them to
            another prompt.
        anchor: the block at place 0; None while the cache is empty.
        newest: the newest block in the cache.
    """

    def __init__(
        self, layers: int, span: Span, tokens: int, heads: int, width: int, latent: tuple[int, int, int],
        dtype: torch.dtype, device: torch.device,
    ) -> None:  # fmt: skip
        """Allocate, once and for all.

        Args:
            layers: transformer blocks.
            span: how far attention reaches.
            tokens: in one block of frames.
            heads: attention heads.
            width: of a head.
            latent: (C, h, w) of one frame as the transformer takes it.
            dtype: of keys and values.
            device: where they lie.
        """
        self._span = span
        shape = (layers, span.blocks, tokens, heads, width)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.latents = torch.zeros((span.blocks, span.block, *latent), device=device)
        self.clear()

    def clear(self) -> None:
        """Forget everything; the memory stays."""
        self.anchor: int | None = None
        self.newest = -1

    def begin(self, block: int) -> None:
        """Make a block the anchor: the history begins with it, and what was before is forgotten."""
        self.anchor, self.newest = block, block - 1

    def add(self, block: int, latents: Tensor) -> None:
        """Count a block in whose keys and values have been written, with what its clean pass took, [F, C, h, w]."""
        self.latents[self.place(block)] = latents
        self.newest = block

    def place(self, block: int) -> int:
        """Where a block lies."""
        return 0 if block == self.anchor else 1 + block % (self._span.blocks - 1)

    def places(self, blocks: list[int]) -> Tensor:
        """Where blocks lie, int64 on the cache's device."""
        return torch.tensor([self.place(block) for block in blocks], dtype=torch.int64, device=self.keys.device)

    @property
    def first(self) -> int:
        """The oldest block from which on, to the newest, all are in the cache."""
        assert self.anchor is not None
        oldest = self.newest - (self._span.blocks - 1) + 1
        return self.anchor if oldest <= self.anchor + 1 else oldest
