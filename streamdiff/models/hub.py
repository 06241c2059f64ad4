"""Models from the hub: downloaded once into its own cache, or a clear word about what to do instead."""

from __future__ import annotations

import re
from pathlib import Path

from streamdiff.errors import ModelError

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
TIMEOUT = 5.0
"""Seconds to wait for the hub's first answer."""

CONFIGS = ["model_index.json", "*/config.json", "*/scheduler_config.json", "config.json", "tokenizer/*", "*.index.json"]
NAMES = ("diffusion_pytorch_model", "model")
"""What weights of one part are called. Whole checkpoints, which lie beside the parts in many repositories, are not."""

PLACES = ("unet/", "vae/", "text_encoder/", "")
"""Folders that hold weights; the top, of a repository that is one part, such as a VAE."""


def download(name: str, revision: str | None, *, weights: bool = True) -> Path:
    """A folder with a hub model's files.

    Args:
        name: "owner/name".
        revision: branch, tag or commit.
        weights: the weights too, not only configurations and tokenizer.

    Raises:
        ModelError: unknown there, or the hub cannot be reached and the model is not in its cache.
    """
    if not weights:
        return _snapshot(name, revision, CONFIGS, [])
    patterns = [
        f"{place}{stem}{end}" for place in PLACES for stem in NAMES for end in (".safetensors", "-0*.safetensors")
    ]
    folder = _snapshot(name, revision, CONFIGS + patterns, ["safety_checker/*", "*.fp16*", "*.non_ema*"])
    if all(any((folder / part).glob("*.safetensors")) for part in PLACES if (folder / part / "config.json").is_file()):
        return folder
    # Published in half precision only: the variants are what there is.
    halves = [f"{place}{stem}.fp16*.safetensors" for place in PLACES for stem in NAMES]
    return _snapshot(name, revision, CONFIGS + patterns + halves, ["safety_checker/*", "*.non_ema*"])


def _snapshot(name: str, revision: str | None, patterns: list[str], ignored: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(
            snapshot_download(
                name, revision=revision, allow_patterns=patterns, ignore_patterns=ignored, etag_timeout=TIMEOUT
            )
        )
    except (RepositoryNotFoundError, GatedRepoError) as error:
        kind = "needs its licence accepted and a login" if isinstance(error, GatedRepoError) else "is not there"
        raise ModelError(f"the hub says that {name} {kind}; check the name, or give a local folder") from None
    except RevisionNotFoundError:
        reason = f"the hub has no revision {revision!r} of it"
    except LocalEntryNotFoundError:
        reason = "the hub cannot be reached and the model is not in its cache (HF_HOME)"
    except Exception as error:
        reason = f"{type(error).__name__} from the hub"
    raise ModelError(
        f"{name} cannot be loaded: {reason}; download it where there is a network and give its folder with --model, "
        "or use --model tiny, which needs no download"
    )
