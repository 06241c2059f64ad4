"""A toy in the layout of Wan2.1-T2V-1.3B's diffusers folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.rolling.toys import CHANNELS, config_of, original_weights, wan_vae

WORDS = ["a", "lake", "at", "dawn", "&"]


def weights(seed: int = 0, **sizes: Any) -> dict[str, Tensor]:
    return original_weights(**{"channels": CHANNELS, "text": 8, "seed": seed, **sizes})


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy in the layout of Wan2.1-T2V-1.3B's diffusers folder."""
    from diffusers import WanTransformer3DModel
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

    home = tmp_path_factory.mktemp("wan")
    WanTransformer3DModel(**config_of(weights(), 2)).save_pretrained(home / "transformer")
    wan_vae().save_pretrained(home / "vae")
    torch.manual_seed(0)
    sizes = {"vocab_size": 16, "d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
    UMT5EncoderModel(UMT5Config(**sizes)).save_pretrained(home / "text_encoder")
    vocabulary = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    fast.save_pretrained(home / "tokenizer")
    return home
