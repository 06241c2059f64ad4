"""Another VAE in place of the model's own: a folder, a file in the original layout, or a hub id such as TAESD's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from streamdiff.errors import ModelError
from streamdiff.models import infer
from streamdiff.models.components import checked_weights, first_line, kind_of, load_module, read_json, shown, user_path
from streamdiff.models.fingerprint import safetensors_header
from streamdiff.models.hub import HUB_ID, download
from streamdiff.models.quiet import quiet


@dataclass(frozen=True)
class Vae:
    """A VAE that is not yet built.

    Attributes:
        place: its folder, or its file.
        config: its configuration, in diffusers' terms.
        files: what decides what it computes, with roles.
    """

    place: Path
    config: dict[str, Any]
    files: list[tuple[str, Path]]

    def module(self) -> nn.Module:
        """The VAE, fp32, in eval mode, on the CPU.

        Raises:
            ModelError: the weights do not fit.
        """
        return load_module(self.place) if self.place.is_dir() else _module_of_file(self.place, self.config)


def find_vae(given: str | Path) -> Vae:
    """Look at a VAE.

    Args:
        given: a folder with its config.json, or a pipeline's folder that has one in ``vae/``; a ``.safetensors`` file
            in the original layout, alone or in a checkpoint; or a hub id.

    Raises:
        ModelError: in one line, what is wrong and what to do.
    """
    path, name = user_path(given), str(given)
    kind = kind_of(path) if name.strip() else None
    if kind == "file":
        return _file(path)
    if kind is None:
        if not HUB_ID.fullmatch(name) or name.startswith((".", "~")) or path.suffix == ".safetensors":
            raise ModelError(
                f"the VAE {shown(name)} is not a folder or file; give a folder with its config.json, a .safetensors "
                "file in the original layout, or a hub id"
            )
        path = download(name, None)
    inner = path / "vae"
    folder = path if (path / "config.json").is_file() or not inner.is_dir() else inner
    config = read_json(folder / "config.json")
    weights, _ = checked_weights(folder)
    files = [(f"other vae/{file.name}", file) for file in weights]
    return Vae(folder, config, [("other vae/config.json", folder / "config.json"), *files])


def _file(path: Path) -> Vae:
    if path.suffix != ".safetensors":
        raise ModelError(f"the VAE {shown(path)} is not a folder or a .safetensors file; convert it first")
    shapes = {name: tuple(item["shape"]) for name, item in safetensors_header(path).items()}
    if "decoder.mid_block.resnets.0.conv1.weight" in shapes or "decoder.layers.0.weight" in shapes:
        raise ModelError(f"the VAE {shown(path)} is not a folder; its layout is diffusers', give the folder around it")
    config = infer.vae_config(shapes)
    if config is None:
        raise ModelError(f"the VAE {shown(path)} is not a VAE in the original layout; give a diffusers folder")
    return Vae(path, config, [("other vae", path)])


def _module_of_file(path: Path, config: dict[str, Any]) -> nn.Module:
    from safetensors import safe_open

    try:
        with quiet():
            from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
            from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

        with safe_open(str(path), "pt") as file:
            names = [name for name in file.keys() if not name.startswith(infer.OTHER_PARTS)]  # noqa: SIM118
            weights = {name: file.get_tensor(name) for name in names}
        module: Any = AutoencoderKL.from_config(config)
        fill(module, convert_ldm_vae_checkpoint(weights, config))
    except Exception as error:
        raise ModelError(f"the VAE {path} cannot be loaded: {first_line(error)}") from None
    return module.float().eval().requires_grad_(False)


def fill(module: nn.Module, weights: dict[str, Any]) -> None:
    """Load weights of any precision as fp32.

    Raises:
        ValueError: some are missing, or have another shape.
    """
    known = module.state_dict()
    # Position ids are buffers that some writers keep and some do not.
    missing = [name for name in known if name not in weights and not name.endswith("position_ids")]
    if missing:
        raise ValueError(f"{len(missing)} weights are missing, such as {missing[0]}")
    wrong = [name for name in known if name in weights and weights[name].shape != known[name].shape]
    if wrong:
        raise ValueError(f"{len(wrong)} weights have another shape than configured, such as {wrong[0]}")
    module.load_state_dict({k: v.float() for k, v in weights.items() if k in known}, strict=False)
