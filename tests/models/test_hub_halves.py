"""A repository that holds half precision only: it is fetched, and only then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamdiff.models.hub import download

PARTS = ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model")


@pytest.mark.parametrize("plain", [True, False])
def test_half_precision_where_nothing_else_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: bool) -> None:
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    ends = [".fp16.safetensors", ".non_ema.safetensors", *([".safetensors"] if plain else [])]
    files = ["model_index.json", "whole.safetensors", *(part + end for part in PARTS for end in ends)]
    files += [part.split("/")[0] + "/config.json" for part in PARTS]

    def snapshot_download(name: str, *, allow_patterns: Any, ignore_patterns: Any, **_: Any) -> str:
        for file in filter_repo_objects(files, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns):
            (tmp_path / file).parent.mkdir(exist_ok=True)
            (tmp_path / file).touch()
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    folder = download("someone/model", None)
    taken = {str(path.relative_to(folder).as_posix()) for path in folder.rglob("*.safetensors")}
    assert taken == {part + (".safetensors" if plain else ".fp16.safetensors") for part in PARTS}
