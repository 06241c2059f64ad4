"""Conditioning: from prompts to what the denoiser is given, each computed once (ALGORITHMS 5)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

import torch
from torch import Tensor

from engines.base import Engine, Network, Runtime
from engines.pool import shared_engine
from streamdiff.models.base import Model, Tokenize

KEPT = 64
"""Prompts whose embeddings are kept, and plans whose rows are, so that switching back is instant."""

KEPT_BYTES = 2**28
"""Memory, in bytes, for each of both: a row of Stable Diffusion 1.5 has 8 MB, so has an embedding of Wan's."""


class Prompted(Protocol):
    """What a model needs in order to be told prompts."""

    @property
    def tokenize(self) -> Tokenize:
        """Text to ids."""
        ...

    def text_encoder(self) -> Network:
        """Ids to embeddings."""
        ...


class Prompts:
    """Embeds prompts, remembering the latest of them."""

    def __init__(self, model: Prompted, runtime: Runtime) -> None:
        self._model = model
        self._runtime = runtime
        self._engine: Engine | None = None
        self._kept: OrderedDict[str, Tensor] = OrderedDict()

    def blend(self, first: str, second: str, share: float) -> Tensor:
        """Embedding [1, L, D] on the straight line between two prompts; share 0 is the first alone, 1 the second."""
        if share in (0, 1):
            return self.embed(second if share else first)
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
        while len(self._kept) > _room(embedding.nbytes):
            self._kept.popitem(last=False)
        return embedding


class Conditioning:
    """Makes of prompts what the denoiser is given at each timestep, remembering the latest."""

    def __init__(self, model: Model, runtime: Runtime) -> None:
        self._model = model
        self._runtime = runtime
        self._engine: Engine | None = None
        self.prompts = Prompts(model, runtime)
        self._rows: OrderedDict[tuple[object, ...], tuple[Tensor, ...]] = OrderedDict()

    def rows(self, timesteps: tuple[int, ...], first: str, second: str = "", share: float = 0.0) -> tuple[Tensor, ...]:
        """What the denoiser is given for a prompt at each timestep, [1, M] each, on the runtime's device.

        Args:
            timesteps: of the plan.
            first: a prompt.
            second: another, to blend with it.
            share: of the second; the embeddings lie on the straight line between both.
        """
        prompts = (second if share else first,) if share in (0, 1) else (first, second, share)
        key = timesteps, prompts
        rows = self._rows.get(key)
        if rows is None:
            rows = self._rows[key] = self._made(timesteps, self.prompts.blend(first, second, share))
            # In number, too: sliders of blend and strength pass thousands that never come again.
            while len(self._rows) > _room(sum(row.nbytes for row in rows)):
                self._rows.popitem(last=False)
        self._rows.move_to_end(key)
        return rows

    def _made(self, timesteps: tuple[int, ...], text: Tensor) -> tuple[Tensor, ...]:
        if self._engine is None:
            self._engine = shared_engine(self._runtime, self._model.conditioner())
        steps = torch.tensor(timesteps, device=text.device)
        # Copies: a view would keep the others of its batch alive.
        return tuple(row.clone() for row in self._engine(steps, text.expand(len(steps), -1, -1)).split(1))


def _room(size: int) -> int:
    """How many things of so many bytes are kept: two at least, which a blend goes between."""
    return max(2, min(KEPT, KEPT_BYTES // size))
