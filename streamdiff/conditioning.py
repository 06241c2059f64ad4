"""Conditioning: from prompts to what the denoiser is given, each computed once (ALGORITHMS 5)."""

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

KEPT_BYTES = 2**28
"""Memory, in bytes, for the rows that are kept: 8 MB for each prompt and timestep of Stable Diffusion 1.5."""


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
    """Embeds prompts for one stream and conditions the denoiser, remembering the latest."""

    def __init__(self, model: Prompted, runtime: Runtime) -> None:
        self._model = model
        self._runtime = runtime
        self._text: Engine | None = None
        self._conditioner: Engine | None = None
        self._prompts: OrderedDict[str, Tensor] = OrderedDict()
        self._rows: OrderedDict[tuple[object, ...], tuple[Tensor, ...]] = OrderedDict()

    def rows(self, timesteps: tuple[int, ...], first: str, second: str = "", share: float = 0.0) -> tuple[Tensor, ...]:
        """What the denoiser is given for a prompt at each timestep, [1, M] each, on the runtime's device.

        Args:
            timesteps: of the plan.
            first: a prompt.
            second: another, to blend with it.
            share: of the second; the embeddings lie on the straight line between both.
        """
        first, second = (second, "") if share == 1 else (first, second if share else "")
        key = timesteps, first, second, share if second else 0.0
        rows = self._rows.get(key)
        if rows is None:
            rows = self._rows[key] = self._made(timesteps, self._blend(first, second, share))
            room = max(1, KEPT_BYTES // sum(row.nbytes for row in rows))
            while len(self._rows) > room:
                self._rows.popitem(last=False)
        self._rows.move_to_end(key)
        return rows

    def _made(self, timesteps: tuple[int, ...], text: Tensor) -> tuple[Tensor, ...]:
        if self._conditioner is None:
            self._conditioner = shared_engine(self._runtime, self._model.conditioner())
        steps = torch.tensor(timesteps, device=text.device)
        # Copies: a view would keep the others of its batch alive.
        return tuple(row.clone() for row in self._conditioner(steps, text.expand(len(steps), -1, -1)).split(1))

    def _blend(self, first: str, second: str, share: float) -> Tensor:
        if share in (0, 1) or not second:
            return self._embed(first)
        return torch.lerp(self._embed(first), self._embed(second), share)

    def _embed(self, prompt: str) -> Tensor:
        """Embedding [1, L, D] of a prompt, float32."""
        if prompt in self._prompts:
            self._prompts.move_to_end(prompt)
            return self._prompts[prompt]
        if self._text is None:
            self._text = shared_engine(self._runtime, self._model.text_encoder())
        embedding = self._text(self._model.tokenize(prompt).to(self._runtime.device))
        self._prompts[prompt] = embedding
        if len(self._prompts) > KEPT:
            self._prompts.popitem(last=False)
        return embedding
