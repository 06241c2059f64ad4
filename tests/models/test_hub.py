"""Models from the hub: from its cache, only what is read, and without a network a word about what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streamdiff import ModelError
from streamdiff.models import load_model
from streamdiff.models.hub import download
from tests.models.toys import make_folder, make_single_file, make_taesd

COMMIT = "0" * 40


def cached(cache: Path, name: str, folder: Path) -> Path:
    """Put a folder into a hub cache, as a download would."""
    place = cache / ("models--" + name.replace("/", "--"))
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    return Path(shutil.copytree(folder, place / "snapshots" / COMMIT))


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from streamdiff.models import load_model\n" + code],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip


def test_a_model_in_the_hubs_cache(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "sd2", "sd2")
    cached(tmp_path / "cache", "stabilityai/sd-turbo", folder)
    cached(tmp_path / "cache", "madebyollin/taesd", make_taesd(tmp_path / "taesd"))
    code = (
        "m = load_model('stabilityai/sd-turbo', vae='madebyollin/taesd')\n"
        "print(m.key, m.name, load_model('stabilityai/sd-turbo').key)"
    )
    result = run(code, HF_HUB_CACHE=str(tmp_path / "cache"), HF_HUB_OFFLINE="1")
    assert result.returncode == 0, result.stderr
    key, name, plain = result.stdout.split()
    assert name == "stabilityai/sd-turbo"
    assert plain == load_model(folder).key != key


def test_a_bare_checkpoint_takes_its_configuration_from_the_cache(tmp_path: Path) -> None:
    """Only the configurations and the tokenizer of the base model are needed."""
    folder = make_folder(tmp_path / "sd15", "sd15")
    file = make_single_file(tmp_path / "dream.safetensors", "sd15", folder)
    place = cached(tmp_path / "cache", "toy/base", folder)
    for weights in place.rglob("*.safetensors"):
        weights.unlink()
    code = (
        "import streamdiff.models.single_file as s\ns.BASES = {32: 'toy/base'}\n"
        f"m = load_model({str(file)!r})\nm.make_denoiser(False)\nm.make_text_encoder()\nprint(m.text_width)"
    )
    result = run(code, HF_HUB_CACHE=str(tmp_path / "cache"), HF_HUB_OFFLINE="1")
    assert result.stdout.split() == ["32"], result.stderr


@pytest.mark.parametrize(
    "environment", [{"HF_HUB_OFFLINE": "1"}, {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}]
)
def test_without_a_network(tmp_path: Path, environment: dict[str, str]) -> None:
    started = time.monotonic()
    result = run(
        "from streamdiff import ModelError\ntry:\n    load_model('stabilityai/sd-turbo')\n"
        "except ModelError as error:\n    print(error)",
        HF_HUB_CACHE=str(tmp_path), **environment,
    )  # fmt: skip
    assert time.monotonic() - started < 45  # mostly the imports of a busy machine
    assert result.stdout.count("\n") == 1
    assert "stabilityai/sd-turbo cannot be loaded" in result.stdout and "--model" in result.stdout
    assert result.stderr == ""


FILES = {
    "stabilityai/sd-turbo": [
        "README.md", "model_index.json", "sd_turbo.safetensors", "output_tile.jpg", "scheduler/scheduler_config.json",
        "text_encoder/config.json", "text_encoder/model.fp16.safetensors", "text_encoder/model.safetensors",
        "tokenizer/merges.txt", "tokenizer/special_tokens_map.json", "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json", "unet/config.json", "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.safetensors", "vae/config.json",
        "vae/diffusion_pytorch_model.fp16.safetensors", "vae/diffusion_pytorch_model.safetensors",
    ],
    "stable-diffusion-v1-5/stable-diffusion-v1-5": [
        "README.md", "model_index.json", "v1-5-pruned.safetensors", "v1-5-pruned-emaonly.safetensors",
        "v1-5-pruned.ckpt", "v1-inference.yaml", "feature_extractor/preprocessor_config.json",
        "safety_checker/config.json", "safety_checker/model.safetensors", "safety_checker/pytorch_model.bin",
        "scheduler/scheduler_config.json", "text_encoder/config.json", "text_encoder/model.safetensors",
        "text_encoder/pytorch_model.bin", "tokenizer/merges.txt", "tokenizer/vocab.json",
        "tokenizer/special_tokens_map.json", "tokenizer/tokenizer_config.json", "unet/config.json",
        "unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors", "vae/config.json", "vae/diffusion_pytorch_model.bin",
        "vae/diffusion_pytorch_model.safetensors",
    ],
    "Lykon/dreamshaper-8": [
        "model_index.json", "DreamShaper_8_LCM.safetensors", "scheduler/scheduler_config.json",
        "text_encoder/config.json", "text_encoder/model.safetensors", "text_encoder/model.fp16.safetensors",
        "tokenizer/merges.txt", "tokenizer/vocab.json", "tokenizer/tokenizer_config.json", "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors", "vae/config.json", "vae/diffusion_pytorch_model.safetensors",
    ],
}  # fmt: skip
"""What the repositories hold, from memory of them: enough to see what the patterns take."""


def chosen(monkeypatch: pytest.MonkeyPatch, place: Path, name: str, files: list[str], weights: bool = True) -> set[str]:
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    taken: set[str] = set()

    def snapshot_download(repo_id: str, *, allow_patterns: Any, ignore_patterns: Any, **_: Any) -> str:
        taken.update(filter_repo_objects(files, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns))
        for file in taken:
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            (place / file).touch()
        return str(place)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    download(name, None, weights=weights)
    return taken


@pytest.mark.parametrize("name", list(FILES))
def test_a_download_takes_what_is_read_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    parts = {
        f"{part}/{file}"
        for part, file in [
            ("unet", "diffusion_pytorch_model.safetensors"), ("vae", "diffusion_pytorch_model.safetensors"),
            ("text_encoder", "model.safetensors"),
        ]
    }  # fmt: skip
    taken = chosen(monkeypatch, tmp_path, name, FILES[name])
    assert {file for file in taken if file.endswith((".safetensors", ".bin", ".ckpt"))} == parts
    small = {"model_index.json", "scheduler/scheduler_config.json", "tokenizer/vocab.json", "tokenizer/merges.txt"}
    assert small | {"unet/config.json", "vae/config.json", "text_encoder/config.json"} <= taken
    configs = chosen(monkeypatch, tmp_path, name, FILES[name], weights=False)
    assert not {file for file in configs if file.endswith((".safetensors", ".bin", ".ckpt"))}
    assert "unet/config.json" in configs and "tokenizer/merges.txt" in configs


def test_a_vaes_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = ["README.md", "config.json", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"]
    assert chosen(monkeypatch, tmp_path, "madebyollin/taesd", files) == {
        "config.json",
        "diffusion_pytorch_model.safetensors",
    }


def test_the_hubs_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    response = SimpleNamespace(headers={}, request=None, status_code=404)

    for kind, says in [
        (GatedRepoError, "licence"), (RepositoryNotFoundError, "is not there"), (RevisionNotFoundError, "cannot be"),
        (OSError, "cannot be"), (ValueError, "cannot be"),
    ]:  # fmt: skip

        def snapshot_download(*_: Any, kind: Any = kind, **__: Any) -> str:
            try:
                raise kind("one\ntwo", response=response)
            except TypeError:
                raise kind("one\ntwo") from None

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        with pytest.raises(ModelError, match=says) as caught:
            load_model("owner/name")
        assert "\n" not in str(caught.value)
