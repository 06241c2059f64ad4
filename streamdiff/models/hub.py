"""Models from the hub: downloaded once into its own cache, or a clear word about what to do instead."""

from __future__ import annotations

import re
from pathlib import Path

from streamdiff.errors import ModelError

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
TIMEOUT = 5.0
"""Seconds to wait for the hub's first answer."""

CONFIGS = ["model_index.json", "*/config.json", "*/scheduler_config.json", "config.json", "tokenizer/*"]
WEIGHTS = ["unet/*.safetensors", "vae/*.safetensors", "text_encoder/*.safetensors", "*.safetensors"]


def download(name: str, revision: str | None, *, weights: bool = True) -> Path:
    """A folder with a hub model's files.

    Args:
        name: "owner/name".
        revision: branch, tag or commit.
        weights: the weights too, not only configurations and tokenizer.

    Raises:
        ModelError: unknown there, or the hub cannot be reached and the model is not in its cache.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    patterns = CONFIGS + (WEIGHTS if weights else [])
    # Variants and whole-pipeline files would double the download, and nothing here reads them.
    ignored = ["*.fp16.safetensors", "*non_ema*", "safety_checker/*", "*.ckpt", "*.bin"]
    if "/" in name and weights:
        # A repository of one part (a VAE) keeps its weights at the top; a pipeline keeps single-file copies there.
        ignored += ["sd*.safetensors", "v1-5*.safetensors", "v2-1*.safetensors", "*pruned*"]
    try:
        return Path(
            snapshot_download(
                name, revision=revision, allow_patterns=patterns, ignore_patterns=ignored, etag_timeout=TIMEOUT
            )
        )
    except (RepositoryNotFoundError, GatedRepoError) as error:
        kind = "needs its licence accepted and a login" if isinstance(error, GatedRepoError) else "is not there"
        raise ModelError(f"the hub says that {name} {kind}; check the name, or give a local folder") from None
    except LocalEntryNotFoundError:
        reason = "the hub cannot be reached and the model is not in its cache"
    except Exception as error:
        reason = f"{type(error).__name__} from the hub"
    raise ModelError(
        f"{name} cannot be loaded: {reason}; download it where there is a network and give its folder with --model, "
        "or use --model tiny, which needs no download"
    )
