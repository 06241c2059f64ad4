"""The tokenizer (CLIP's format, byte level, own merges) and the text encoder (transformers' CLIPTextModel)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from .config import TextConfig

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
_WORDS = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


def train_tokenizer(lines: list[str], config: TextConfig) -> CLIPTokenizer:
    """Learn merges from prompts. Any unicode text tokenises, since all 256 bytes are in the vocabulary."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    base = alphabet + [letter + "</w>" for letter in alphabet]
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size - 2,
        min_frequency=3,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    merges = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    words = list(dict.fromkeys(base + [a + b for a, b in merges]))
    room = config.vocab_size - 2 - len(words)
    if room < 0:  # keep the most frequent merges; they come first
        merges = merges[:room]
        words = list(dict.fromkeys(base + [a + b for a, b in merges]))
    vocab = {word: i for i, word in enumerate([*words, BOS, EOS])}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=config.max_length)


def build_text_encoder(tokenizer: CLIPTokenizer, config: TextConfig) -> CLIPTextModel:
    """A fresh text encoder for this tokenizer: token ids [N, max_length] -> [N, max_length, hidden]."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden,
            intermediate_size=config.intermediate,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            max_position_embeddings=config.max_length,
            projection_dim=config.hidden,
            hidden_act="quick_gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """Read a tokenizer from a folder."""
    return cast(CLIPTokenizer, CLIPTokenizer.from_pretrained(folder))


def token_ids(tokenizer: CLIPTokenizer, prompts: list[str], merge_dropout: float = 0.0) -> Tensor:
    """Token ids [N, max_length], padded and truncated as the pipelines do it.

    `merge_dropout` leaves merges out at random while training, so that the encoder also knows words by their pieces
    and a misspelt word is not a stranger.
    """
    model = tokenizer.backend_tokenizer.model
    model.dropout = merge_dropout or None
    try:
        encoded = tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt")
    finally:
        model.dropout = None
    return cast(Tensor, encoded["input_ids"]).to(torch.int64)
