"""Keys of the engine cache: equal contents share one, anything else does not; damage is noticed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from streamdiff import ModelError
from streamdiff.models import fingerprint as prints
from streamdiff.models import load, load_model
from tests.models.toys import make_folder, make_lora


def key(*paths: Path) -> str:
    return prints.fingerprint([(f"role {i}", path) for i, path in enumerate(paths)])


def test_contents_and_roles_count_and_names_do_not(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"1" * 5000)
    b.write_bytes(b"1" * 5000)
    assert key(a) == key(b)
    b.write_bytes(b"1" * 4999 + b"2")
    assert len({key(a), key(b), key(a, b), key(b, a), prints.fingerprint([("x", a)], 2)}) == 5


def test_large_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not read whole, yet one changed in place, wherever it is, has another key."""
    monkeypatch.setattr(prints, "WHOLE", 100)
    monkeypatch.setattr(prints, "PIECE", 4)
    monkeypatch.setattr(prints, "SAMPLES", 3)
    file = tmp_path / "large"
    file.write_bytes(bytes(1000))
    os.utime(file, ns=(1, 1))
    before = key(file)
    assert key(file) == before
    file.write_bytes(bytes(100) + b"\x01" + bytes(899))  # between the samples
    assert key(file) != before
    file.write_bytes(b"\x01" + bytes(999))
    os.utime(file, ns=(1, 1))
    assert key(file) != before


def test_large_files_of_the_hubs_cache_go_by_their_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prints, "WHOLE", 100)
    keys = set[str]()
    for folder, digest in [("one", "a" * 64), ("two", "a" * 64), ("three", "b" * 64)]:
        blob = tmp_path / folder / digest
        blob.parent.mkdir()
        blob.write_bytes(bytes(1000))
        link = tmp_path / folder / "model.safetensors"
        try:
            link.symlink_to(blob)
        except OSError:
            pytest.skip("no links here")
        keys.add(key(link))
    assert len(keys) == 2


@pytest.mark.skipif(not (load.TINY / "model_index.json").is_file(), reason="the embedded model is not there")
def test_one_wrong_bit_in_the_embedded_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(load.TINY, tmp_path / "tiny"))
    monkeypatch.setattr(load, "TINY", folder)
    good = load_model("tiny").key
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ModelError, match=r"damaged \(vae/.*install streamdiff again"):
        load_model("tiny")
    assert load_model(folder).key != good  # as a folder it is a model like any other
    weights.unlink()
    with pytest.raises(ModelError, match="damaged"):
        load_model("tiny")
    shutil.rmtree(folder)
    with pytest.raises(ModelError, match="missing from this installation"):
        load_model("tiny")


@pytest.mark.parametrize(("value", "says"), [(0.0, "changes nothing"), (float("nan"), "not finite")])
def test_a_lora_that_cannot_help(tmp_path: Path, value: float, says: str) -> None:
    folder = make_folder(tmp_path / "sd15", "sd15")
    file = make_lora(tmp_path / "x.safetensors", folder)
    save_file({k: torch.full_like(v, value) if "lora_B" in k else v for k, v in load_file(file).items()}, file)
    with pytest.raises(ModelError, match=says) as caught:
        load_model(folder, lora=[str(file)])
    assert "\n" not in str(caught.value)
