"""Conditioning: prompts to embeddings, each computed once (ALGORITHMS 5)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

import torch
from torch import Tensor

from engines.base import Engine, Network, Runtime
from engines.pool import shared_engine
from streamdiff.models.base import Tokenize

KEPT = 64
"""Prompts whose embeddings are kept, so that switching back is instant."""


class Prompted(Protocol):
    """What a model needs in order to be told prompts."""

    @property
    def tokenize(self) -> Tokenize:
        """Text to ids."""
        ...

    def text_encoder(self) -> Network:
        """Ids to embeddings."""
        ...


class Conditioning:
    """Embeds prompts for one stream, remembering the latest ``KEPT`` of them."""

    def __init__(self, model: Prompted, runtime: Runtime) -> None:
        self._model = model
        self._runtime = runtime
        self._engine: Engine | None = None
        self._kept: OrderedDict[str, Tensor] = OrderedDict()

    def blend(self, first: str, second: str, share: float) -> Tensor:
        """Embedding [1, L, D] on the straight line between two prompts; share 0 is the first alone, 1 the second."""
        if share == 0:
            return self.embed(first)
        if share == 1:
            return self.embed(second)
        return torch.lerp(self.embed(first), self.embed(second), share)

    def embed(self, prompt: str) -> Tensor:
        """Embedding [1, L, D] of a prompt, float32, on the runtime's device."""
        if prompt in self._kept:
            self._kept.move_to_end(prompt)
            return self._kept[prompt]
        if self._engine is None:
            self._engine = shared_engine(self._runtime, self._model.text_encoder())
        embedding = self._engine(self._model.tokenize(prompt).to(self._runtime.device))
        self._kept[prompt] = embedding
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return embedding
