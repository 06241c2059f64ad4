"""Small random-weight models saved to disk in the real formats: diffusers folders, checkpoints, LoRA files."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from streamdiff.models.base import Model

KINDS = ("sd15", "sd2", "pix2pix", "lcm", "tinyvae")
WIDTH = 32
START, END = "<|startoftext|>", "<|endoftext|>"


def make_folder(path: Path, kind: str) -> Path:
    """A diffusers folder of one of ``KINDS``; made once a process and copied from then on."""
    shutil.copytree(_folder(kind), path)
    return path


def make_taesd(path: Path, seed: int = 9) -> Path:
    """A folder with an AutoencoderTiny of 4 latent channels, as TAESD is published."""
    _perturbed(_tiny_vae(), seed).save_pretrained(path)
    return path


def make_single_file(path: Path, kind: str, folder: Path) -> Path:
    """The folder's weights as one checkpoint in the original layout."""
    weights = _to_ldm_unet(load_file(folder / "unet" / "diffusion_pytorch_model.safetensors"))
    weights |= _to_ldm_vae(load_file(folder / "vae" / "diffusion_pytorch_model.safetensors"))
    text = load_file(folder / "text_encoder" / "model.safetensors")
    text = {name.removeprefix("text_model."): value for name, value in text.items()}
    weights |= _to_open_clip(text) if kind == "sd2" else {
        f"cond_stage_model.transformer.text_model.{name}": value for name, value in text.items()
    }  # fmt: skip
    save_file({name: value.contiguous() for name, value in weights.items()}, path)
    return path


def make_lora(
    path: Path,
    folder: Path,
    form: str = "peft",
    seed: int = 0,
    rank: int = 2,
    parts: tuple[str, ...] = ("unet",),
    alpha: float = 1.0,
) -> Path:
    """A LoRA for a folder, in peft's or kohya's layout.

    Parts: "unet", "text" (attention of both), "conv" (the UNet's 3x3 and 1x1 convolutions, as LoCon trains them).
    """
    generator = torch.Generator().manual_seed(seed)
    weights: dict[str, Tensor] = {}

    def pair(prefix: str, value: Tensor, kohya: str) -> None:
        down = torch.randn(rank, *value.shape[1:], generator=generator) * 0.3
        up = torch.randn(value.shape[0], rank, *(1 for _ in value.shape[2:]), generator=generator) * 0.3
        if form == "kohya":
            weights.update({f"{kohya}.lora_down.weight": down, f"{kohya}.lora_up.weight": up})
            weights[f"{kohya}.alpha"] = torch.tensor(alpha)
        else:
            weights.update({f"{prefix}.lora_A.weight": down, f"{prefix}.lora_B.weight": up})

    for name, value in load_file(folder / "unet" / "diffusion_pytorch_model.safetensors").items():
        module = name.removesuffix(".weight")
        attention = module.endswith(("to_q", "to_k", "to_v", "to_out.0"))
        conv = value.ndim == 4 and module.endswith(("conv1", "conv2", "proj_in", "proj_out"))
        if ("unet" in parts and attention) or ("conv" in parts and conv):
            pair(f"unet.{module}", value, "lora_unet_" + module.replace(".", "_"))
    for name, value in load_file(folder / "text_encoder" / "model.safetensors").items() if "text" in parts else ():
        module = name.removesuffix(".weight").removeprefix("text_model.")
        if value.ndim == 2 and module.endswith(("q_proj", "k_proj", "v_proj", "out_proj")):
            pair(f"text_encoder.text_model.{module}", value, "lora_te_text_model_" + module.replace(".", "_"))
    save_file(weights, path)
    return path


def make_foreign_lora(path: Path) -> Path:
    """A LoRA of some other kind of model."""
    names = [f"unet.transformer_blocks.{i}.attn.to_q" for i in range(3)]
    save_file(
        {f"{n}.lora_A.weight": torch.ones(2, 8) for n in names}
        | {f"{n}.lora_B.weight": torch.ones(8, 2) for n in names},
        path,
    )
    return path


@cache
def _folder(kind: str) -> Path:
    from diffusers import DDIMScheduler, LCMScheduler

    path = Path(tempfile.mkdtemp(prefix="streamdiff-toy-")) / kind
    _perturbed(_unet(kind), 1).save_pretrained(path / "unet")
    _perturbed(_tiny_vae() if kind == "tinyvae" else _kl_vae(), 2).save_pretrained(path / "vae")
    _perturbed(_text(kind), 3).save_pretrained(path / "text_encoder")
    _tokenizer(path / "tokenizer", "!" if kind == "sd2" else END)
    prediction = "v_prediction" if kind == "sd2" else "epsilon"
    made = LCMScheduler if kind == "lcm" else DDIMScheduler
    scheduler = made(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction,
        clip_sample=False, set_alpha_to_one=False, steps_offset=1,
    )  # fmt: skip
    scheduler.save_pretrained(path / "scheduler")
    pipeline = "StableDiffusionInstructPix2PixPipeline" if kind == "pix2pix" else "StableDiffusionPipeline"
    index = {
        "_class_name": pipeline, "_diffusers_version": "0.30.0", "requires_safety_checker": False,
        "safety_checker": [None, None], "feature_extractor": [None, None],
        "scheduler": ["diffusers", made.__name__], "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderTiny" if kind == "tinyvae" else "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
    }  # fmt: skip
    (path / "model_index.json").write_text(json.dumps(index))
    return path


def _perturbed(module: nn.Module, seed: int) -> Any:
    """Nothing is left at zero or equal to its neighbour: what is not used would not be noticed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return module.eval()


def _unet(kind: str) -> Any:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(11)
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=8 if kind == "pix2pix" else 4,
        out_channels=4,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=(2, 4) if kind == "sd2" else 4,
        use_linear_projection=kind == "sd2",
        norm_num_groups=8,
        time_cond_proj_dim=8 if kind == "lcm" else None,
    )


def _kl_vae() -> Any:
    from diffusers import AutoencoderKL

    torch.manual_seed(12)
    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16), norm_num_groups=4, latent_channels=4, layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, sample_size=64,
    )  # fmt: skip


def _tiny_vae() -> Any:
    from diffusers import AutoencoderTiny

    torch.manual_seed(13)
    return AutoencoderTiny(
        encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4, num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1), latent_channels=4,
    )  # fmt: skip


def _text(kind: str) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(14)
    count = len(_vocabulary()[0])
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=count, hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=77, bos_token_id=count - 2, eos_token_id=count - 1, pad_token_id=count - 1,
            hidden_act="gelu" if kind == "sd2" else "quick_gelu",
        )
    )  # fmt: skip


def _vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    merges = [("c", "a"), ("ca", "t</w>"), ("o", "i"), ("oi", "l</w>"), ("t", "h"), ("th", "e</w>")]
    tokens = [
        "!",
        *(c for c in letters if c != "!"),
        *(c + "</w>" for c in letters),
        *(a + b for a, b in merges),
        START,
        END,
    ]
    return {token: index for index, token in enumerate(tokens)}, merges


def _tokenizer(path: Path, pad: str) -> None:
    """The files that published models carry: vocab.json, merges.txt and their settings."""
    vocabulary, merges = _vocabulary()
    path.mkdir(parents=True)
    (path / "vocab.json").write_text(json.dumps(vocabulary))
    (path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(f"{a} {b}" for a, b in merges))
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": pad}
    (path / "special_tokens_map.json").write_text(json.dumps(special))
    settings = special | {"model_max_length": 77, "tokenizer_class": "CLIPTokenizer", "do_lower_case": True}
    (path / "tokenizer_config.json").write_text(json.dumps(settings))


# The inverse of diffusers' converters, for the toys' own shape: two UNet levels, four VAE levels, one layer each.

_UNET_PLACES = {
    "down_blocks.0.resnets.0": "input_blocks.1.0", "down_blocks.0.attentions.0": "input_blocks.1.1",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op", "down_blocks.1.resnets.0": "input_blocks.3.0",
    "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2", "up_blocks.0.resnets.0": "output_blocks.0.0",
    "up_blocks.0.resnets.1": "output_blocks.1.0", "up_blocks.0.upsamplers.0.conv": "output_blocks.1.1.conv",
    "up_blocks.1.resnets.0": "output_blocks.2.0", "up_blocks.1.attentions.0": "output_blocks.2.1",
    "up_blocks.1.resnets.1": "output_blocks.3.0", "up_blocks.1.attentions.1": "output_blocks.3.1",
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
_UNET_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def _to_ldm_unet(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    for name, value in weights.items():
        place = max((p for p in _UNET_PLACES if name.startswith(p + ".")), key=len)
        rest = name.removeprefix(place + ".")
        if ".resnets." in place + ".":
            part, _, kind = rest.rpartition(".")
            rest = f"{_UNET_RESNET[part]}.{kind}"
        out[f"model.diffusion_model.{_UNET_PLACES[place]}.{rest}"] = value
    return out


def _to_ldm_vae(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    for name, value in weights.items():
        new = name
        for i in range(4):
            new = new.replace(f"down_blocks.{i}.resnets.", f"down.{i}.block.")
            new = new.replace(f"down_blocks.{i}.downsamplers.0.conv", f"down.{i}.downsample.conv")
            new = new.replace(f"up_blocks.{i}.resnets.", f"up.{3 - i}.block.")
            new = new.replace(f"up_blocks.{i}.upsamplers.0.conv", f"up.{3 - i}.upsample.conv")
        for i in range(2):
            new = new.replace(f"mid_block.resnets.{i}", f"mid.block_{i + 1}")
        if "mid_block.attentions.0." in new:
            new = new.replace("mid_block.attentions.0.", "mid.attn_1.")
            for ours, theirs in _VAE_ATTENTION.items():
                new = new.replace(f"attn_1.{ours}.", f"attn_1.{theirs}.")
            value = value[:, :, None, None] if value.ndim == 2 else value
        new = new.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        out[f"first_stage_model.{new}"] = value
    return out


def _to_open_clip(text: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = "cond_stage_model.model."
    out = {
        prefix + "token_embedding.weight": text["embeddings.token_embedding.weight"],
        prefix + "positional_embedding": text["embeddings.position_embedding.weight"],
        prefix + "ln_final.weight": text["final_layer_norm.weight"],
        prefix + "ln_final.bias": text["final_layer_norm.bias"],
        prefix + "text_projection": torch.eye(WIDTH),
    }
    layers = 1 + max(int(name.split(".")[2]) for name in text if name.startswith("encoder.layers."))
    for i in range(layers):
        ours, theirs = f"encoder.layers.{i}.", f"{prefix}transformer.resblocks.{i}."
        for kind in ("weight", "bias"):
            qkv = [text[f"{ours}self_attn.{part}_proj.{kind}"] for part in "qkv"]
            out[f"{theirs}attn.in_proj_{kind}"] = torch.cat(qkv)
            for a, b in [
                ("self_attn.out_proj", "attn.out_proj"), ("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"),
                ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"),
            ]:  # fmt: skip
                out[f"{theirs}{b}.{kind}"] = text[f"{ours}{a}.{kind}"]
    return out


def whole_unet(model: Model) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """(x, t, text) to prediction, through both of its parts."""
    conditioner, denoiser = model.make_conditioner(), model.make_denoiser(False)
    return lambda x, t, text: denoiser(x, conditioner(t, text))


def all_networks(model: Model) -> list[nn.Module]:
    """Everything that an engine would ask for."""
    made = (model.make_encoder, model.make_decoder, model.make_text_encoder, model.make_conditioner, model.make_shallow)
    return [make() for make in made] + [model.make_denoiser(deep) for deep in (False, True)]
