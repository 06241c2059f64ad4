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
START, END = "<|startoftext|>", "<|endoftext|>"
FLAGS = ("lstrip", "rstrip", "single_word", "normalized")
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
        from tokenizers import AddedToken

        try:
            self._tokenizer = _read(folder)
            special = _special_tokens(folder)
            # As in transformers: with SD 2's padding, an exclamation mark in a prompt is the padding token.
            self._tokenizer.add_special_tokens([AddedToken(**token) for token in special.values()])
            pad = special["pad_token"]["content"]
            pad_id = self._tokenizer.token_to_id(pad)
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(f"the tokenizer in {folder} cannot be read: {reason}; save it again") from None
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
    end, start = END, START
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
            # Its own pattern cuts once more, for instance a "<|ENDOFTEXT|>" in capitals: so it does in transformers.
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.RobertaProcessing((end, vocab[end]), (start, vocab[start]), False, False)
    return made


def _special_tokens(folder: Path) -> dict[str, dict[str, Any]]:
    """Start, end and padding with their flags, by transformers' precedence.

    CLIP pads with its end token, SD 2 with "!". The two files may contradict each other (SD 2.1's do): the map holds,
    unless the configuration lists its tokens one by one.
    """
    config = _object(folder / "tokenizer_config.json")
    listed = cast("dict[str, dict[str, Any]]", config.get("added_tokens_decoder") or {})
    known = {str(token.get("content")): token for token in listed.values()}
    told = config if listed else config | _object(folder / "special_tokens_map.json")
    special: dict[str, dict[str, Any]] = {}
    for kind, default in (("bos_token", START), ("eos_token", END), ("pad_token", END)):
        value: Any = told.get(kind) or default
        token = cast("dict[str, Any]", value) if isinstance(value, dict) else {"content": str(value)}
        token = known.get(str(token["content"]), token)
        flags = {name: bool(token[name]) for name in FLAGS if name in token}
        special[kind] = {"content": str(token["content"]), "special": True, **flags}
    return special


def _object(path: Path) -> dict[str, Any]:
    loaded: Any = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return cast("dict[str, Any]", loaded) if isinstance(loaded, dict) else {}
