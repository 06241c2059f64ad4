"""Prompts for Wan: UMT5, 512 tokens, zero where there is no token."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from streamdiff.errors import ModelError
from streamdiff.models.components import first_line
from streamdiff.models.quiet import quiet

LENGTH = 512
"""Tokens in a prompt."""


class Umt5Tokenizer:
    """Text to ids, int64 [1, LENGTH], ended by the end token and filled with the padding token; long texts are cut."""

    def __init__(self, folder: Path) -> None:
        """Read a tokenizer.

        Args:
            folder: as transformers saves it.

        Raises:
            ModelError: it cannot be read, or does not pad.
        """
        try:
            with quiet():
                from transformers import AutoTokenizer

                self._tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        except Exception as error:
            raise ModelError(f"the tokenizer {folder} cannot be read: {first_line(error)}") from None
        if self._tokenizer.pad_token_id is None:
            raise ModelError(f"the tokenizer {folder} has no padding token; it is not UMT5's")
        self.padding = int(self._tokenizer.pad_token_id)

    def __call__(self, text: str) -> Tensor:
        """Tokenise, after resolving HTML's entities and joining white space, as the model's training did."""
        text = " ".join(html.unescape(html.unescape(text)).split())
        tokens = self._tokenizer(
            [text], padding="max_length", max_length=LENGTH, truncation=True, add_special_tokens=True,
            return_tensors="pt",
        )  # fmt: skip
        return tokens.input_ids


class Umt5TextEncoder(nn.Module):
    """ids int64 [1, L] to float32 [1, L, D]: the encoder's last hidden state, zero where there is no token."""

    def __init__(self, encoder: nn.Module, padding: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.padding = padding

    def forward(self, ids: Tensor) -> Tensor:
        """Embed."""
        mask = (ids != self.padding).to(torch.int64)
        hidden: Tensor = self.encoder(ids, mask)[0]
        return hidden.float() * mask[:, :, None]
