"""The loaded stream computes what diffusers' own image-to-image pipelines compute: same weights, same noise, fp32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from streamdiff import Stream
from streamdiff.schedule import plan_of
from streamdiff.stream_batch import StreamBatch
from tests.models.toys import make_folder
from tests.toy import picture

STEPS = [(1, 0.5), (2, 0.8), (4, 1.0)]


def pixels() -> torch.Tensor:
    return torch.from_numpy(picture(3))[None]


def ours(stream: Stream, count: int = 1) -> torch.Tensor:
    """Latent of the last of ``count`` equal frames, through the real Stream Batch."""
    setting = stream._active
    batch: StreamBatch[int] = StreamBatch(
        stream.engines.unet, setting.plan, image_conditioned=stream.model.image_conditioned
    )
    with torch.inference_mode():
        clean = stream.engines.encoder(pixels())
        finished = batch.push(clean, setting.terms, 0)
        while finished is None:
            finished = batch.step()
    return finished[0]


def theirs(pipe: Any, stream: Stream, monkeypatch: pytest.MonkeyPatch, **call: Any) -> torch.Tensor:
    """The pipeline's latent, drawing this stream's noise in place of its own."""
    from diffusers.schedulers import scheduling_lcm

    noise = iter(stream._active.terms.noise)

    def draw(shape: Any, **_: Any) -> torch.Tensor:
        return next(noise)[None].expand(tuple(shape)).clone()

    monkeypatch.setattr(scheduling_lcm, "randn_tensor", draw)
    module = __import__(type(pipe).__module__, fromlist=["randn_tensor"])
    monkeypatch.setattr(module, "randn_tensor", draw)
    config = stream.config
    plan = plan_of(config, stream.model.alphas_cumprod, stream.model.prediction)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler.config.num_train_timesteps = len(stream.model.alphas_cumprod)
    return pipe(
        config.prompt,
        negative_prompt=config.negative_prompt,
        num_inference_steps=len(plan),
        guidance_scale=config.guidance_scale,
        output_type="latent",
        **call,
    ).images


@pytest.mark.parametrize(("steps", "strength"), STEPS)
@pytest.mark.parametrize("kind", ["sd15", "sd2"])
@pytest.mark.parametrize(("guidance", "scale"), [("none", 1.0), ("full", 1.8)])
def test_image_to_image(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    steps: int,
    strength: float,
    guidance: str,
    scale: float,
) -> None:
    from diffusers import LCMScheduler, StableDiffusionImg2ImgPipeline

    folder = make_folder(tmp_path / kind, kind)
    stream = Stream.from_pretrained(
        folder, engine="torch", device="cpu", prompt="a cat", negative_prompt="a dog", width=64, height=64, steps=steps,
        strength=strength, guidance=guidance, guidance_scale=scale, seed=5,
    )  # fmt: skip
    pipe = StableDiffusionImg2ImgPipeline.from_pretrained(folder)
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    clean = stream.engines.encoder(pixels())
    with torch.inference_mode():
        image = pixels().permute(0, 3, 1, 2).float() / 127.5 - 1
        encoded = pipe.vae.encode(image).latent_dist.mode() * pipe.vae.config.scaling_factor
    torch.testing.assert_close(clean, encoded, atol=1e-5, rtol=1e-5)
    taus = list(stream._active.plan.timesteps)
    want = theirs(pipe, stream, monkeypatch, image=encoded, strength=1.0, timesteps=taus)
    assert float((ours(stream) - want).abs().max()) < 1e-4


def test_decoder_is_the_pipelines(tmp_path: Path) -> None:
    from diffusers import StableDiffusionImg2ImgPipeline

    folder = make_folder(tmp_path / "sd15", "sd15")
    stream = Stream.from_pretrained(folder, engine="torch", device="cpu", width=64, height=64)
    pipe = StableDiffusionImg2ImgPipeline.from_pretrained(folder)
    latent = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        want = pipe.image_processor.postprocess(
            pipe.vae.decode(latent / pipe.vae.config.scaling_factor).sample, output_type="np"
        )
    got = stream.engines.decoder(latent).float() / 255
    assert float((got - torch.from_numpy(want)).abs().max()) <= 0.5 / 255 + 1e-4
