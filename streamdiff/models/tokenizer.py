"""CLIP's tokenizer through the ``tokenizers`` package alone: transformers takes seconds to import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from streamdiff.errors import ModelError

# CLIP's own pattern, as its reference tokenizer splits words.
PATTERN = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
LONGEST = 20_000
"""Characters that are looked at: far more than any prompt's tokens, and it keeps a pasted book from costing time."""


class ClipTokenizer:
    """Text to ids, equal to transformers' CLIPTokenizer with padding and truncation to ``length``."""

    def __init__(self, folder: Path, length: int) -> None:
        """Read a ``tokenizer`` folder.

        Args:
            folder: with tokenizer.json, or vocab.json and merges.txt.
            length: tokens of every result.

        Raises:
            ModelError: neither is there, or they cannot be read.
        """
        try:
            self._tokenizer = _read(folder)
            pad = _pad_token(folder)
            # As in transformers: with SD 2's padding, an exclamation mark in a prompt is the padding token.
            self._tokenizer.add_special_tokens([pad])
            pad_id = self._tokenizer.token_to_id(pad)
        except Exception as error:
            raise ModelError(f"the tokenizer in {folder} cannot be read: {error}") from None
        self._tokenizer.enable_truncation(length)
        self._tokenizer.enable_padding(length=length, pad_id=pad_id or 0, pad_token=pad)

    def __call__(self, text: str) -> Tensor:
        """int64 [1, length]."""
        # What no encoding can carry (lone surrogates from a broken terminal) is replaced, not fatal.
        text = text[:LONGEST].encode("utf-8", "replace").decode("utf-8")
        return torch.tensor([self._tokenizer.encode(text).ids])


def _read(folder: Path) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    whole = folder / "tokenizer.json"
    if whole.is_file():
        return Tokenizer.from_file(str(whole))
    vocab = cast("dict[str, int]", json.loads((folder / "vocab.json").read_text("utf-8")))
    lines = (folder / "merges.txt").read_text("utf-8").splitlines()
    merges = [
        cast("tuple[str, str]", tuple(line.split())) for line in lines if line and not line.startswith("#version")
    ]
    end, start = "<|endoftext|>", "<|startoftext|>"
    made: Any = Tokenizer(
        models.BPE(
            vocab, merges, continuing_subword_prefix="", end_of_word_suffix="</w>", fuse_unk=False, unk_token=end
        )
    )
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.RobertaProcessing((end, vocab[end]), (start, vocab[start]), False, False)
    made.add_special_tokens([start, end])
    return made


def _pad_token(folder: Path) -> str:
    """The padding token: CLIP pads with its end token, SD 2 with "!"."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = folder / name
        if path.is_file():
            token: Any = json.loads(path.read_text("utf-8")).get("pad_token")
            if isinstance(token, dict):
                token = cast("dict[str, Any]", token).get("content")
            if token:
                return str(token)
    return "<|endoftext|>"
