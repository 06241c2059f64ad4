"""Stage 4: train the denoiser on cached pictures, and with it, unless it is to be kept, the text encoder."""

from __future__ import annotations

import math
import time
from itertools import chain
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
import typer
from diffusers.models.attention_processor import AttnProcessor
from rich.progress import Progress
from torch import Tensor, nn

from .batches import Batch, BatchMaker
from .config import DEFAULT_CONFIG, DEFAULT_WORK, Config, load_config
from .critic import Adversary, Critic
from .data import Cache
from .loop import Clock, Ema, FreeCores, copy_matching, learning_rate, load_checkpoint, mixed_precision, save_checkpoint
from .prompts import corpus
from .text import build_text_encoder, load_tokenizer, token_ids, train_tokenizer
from .train_vae import gradient_loss, load_vae
from .unet import Schedule, build_unet
from .vae import FoldedVae

CHECKPOINT = "unet.pt"
MERGE_DROPOUT = (0.0, 0.1, 0.3)  # in turn: words whole, and in ever smaller pieces


class Denoiser(nn.Module):
    """Text encoder and UNet as one module: (noisy, condition, timestep, token ids) -> clean latent."""

    def __init__(self, config: Config, tokenizer_folder: Path) -> None:
        super().__init__()
        if not tokenizer_folder.exists():
            train_tokenizer(corpus(list(config.styles().values()), config.seed), config.text).save_pretrained(
                tokenizer_folder
            )
        self.tokenizer = load_tokenizer(tokenizer_folder)
        self.text = build_text_encoder(self.tokenizer, config.text)
        self.unet = build_unet(config)
        if config.torch_device().type == "cpu":  # the fused attention's backward pass is five times slower there
            self.unet.set_attn_processor(AttnProcessor())
            self.text.set_attn_implementation("eager")

    def forward(self, noisy: Tensor, condition: Tensor, timestep: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Latents [N, C, h, w] twice, timesteps [N], token ids [N, L] -> [N, C, h, w], and the words [N, L, hidden]."""
        words = self.text(ids).last_hidden_state
        return self.unet(torch.cat([noisy, condition], 1), timestep, words).sample, words


def latent_loss(clean: Tensor, batch: Batch) -> Tensor:
    """Half absolute, half squared distance of the clean latents."""
    d = clean - batch.target
    each = 0.5 * d.abs().mean((1, 2, 3)) + 0.5 * d.square().mean((1, 2, 3))
    return (each * batch.weight).mean()


def pixel_loss(clean: Tensor, batch: Batch, vae: FoldedVae, count: int) -> Tensor:
    """L1 and gradient distance of the decoded pictures, for the first `count` of the batch (at most 16x16 latents)."""
    window = (slice(count), slice(None), slice(16), slice(16))
    with torch.no_grad():
        wanted = vae.decode(batch.target[window]).float()
    got = vae.decode(clean[window]).float()
    return F.l1_loss(got, wanted) + gradient_loss(got, wanted)


def main(
    work: Annotated[Path, typer.Option(help="folder for caches and checkpoints")] = DEFAULT_WORK,
    config_file: Annotated[Path, typer.Option("--config", help="TOML file")] = DEFAULT_CONFIG,
    minutes: Annotated[float | None, typer.Option(help="budget of active training, instead of the config's")] = None,
    pause_file: Annotated[Path | None, typer.Option(help="pause while this file exists")] = None,
    fresh: Annotated[bool, typer.Option(help="start anew instead of from the last checkpoint")] = False,
    start_from: Annotated[
        Path | None, typer.Option(help="checkpoint whose averaged weights a new run begins with")
    ] = None,
    keep_text: Annotated[
        bool, typer.Option("--keep-text", help="leave the text encoder as it is, for others that were trained with it")
    ] = False,
) -> None:
    """Train the denoiser; continues from the last checkpoint in the work folder."""
    config = load_config(config_file)
    c, device = config.unet, config.torch_device()
    torch.manual_seed(config.seed)
    model = Denoiser(config, work / "tokenizer").to(device)
    model.unet.to(memory_format=torch.channels_last)
    if keep_text and start_from is None and not (work / CHECKPOINT).exists():
        raise typer.BadParameter("--keep-text: there is no text encoder to keep; give --start-from")
    model.text.requires_grad_(not keep_text)
    ema = Ema(model, c.ema)
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": c.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=c.lr, betas=(0.9, 0.98), fused=device.type in ("cpu", "cuda"))
    adversary: Adversary | None = None
    if c.adversarial_share:
        critic = Critic(config.vae.latent_channels, config.text.hidden, c.critic_width).to(device)
        adversary = Adversary(critic, c.critic_lr)
    step, spent, pairs, origin = 0, 0.0, 0, ""
    if start_from is not None:
        earlier = load_checkpoint(start_from)
        if earlier is None:
            raise typer.BadParameter(f"no checkpoint {start_from}")
        copied = copy_matching(earlier["ema"]["average"], model)
        print(f"{copied} of {len(ema.average)} parameters from {start_from}")
        ema = Ema(model, c.ema)
        whose = earlier.get("version", "a run")
        origin = f"{copied} of {len(ema.average)} parameters of {whose} ({int(earlier['pairs'])} pairs)"
    state = None if fresh else load_checkpoint(work / CHECKPOINT)
    if state is not None:
        if bool(state.get("keep_text", keep_text)) != keep_text:
            raise typer.BadParameter(f"{work / CHECKPOINT} was begun {'without' if keep_text else 'with'} --keep-text")
        model.load_state_dict(state["model"])
        ema.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
        if adversary is not None and "adversary" in state:
            adversary.load_state_dict(state["adversary"])
        step, spent, pairs = int(state["step"]), float(state["seconds"]), int(state["pairs"])
        origin = str(state.get("started_from", ""))
    torch.manual_seed(config.seed + step)
    cache = Cache(work, config)
    vae = load_vae(work, config_file).to(device, memory_format=torch.channels_last)
    maker = BatchMaker(cache, c, Schedule(device), vae, config.seed + step)
    clock = Clock(minutes or c.minutes, spent, pause_file)

    def save() -> None:
        figures = {
            "step": step,
            "seconds": clock.seconds(),
            "pairs": pairs,
            "started_from": origin,
            "keep_text": keep_text,
        }
        states = {"model": model.state_dict(), "ema": ema.state_dict(), "optimizer": optimizer.state_dict()}
        if adversary is not None:
            states["adversary"] = adversary.state_dict()
        save_checkpoint(work / CHECKPOINT, {**states, **figures})

    last_save = last_log = time.monotonic()
    running, doubt, since_step, since_pairs = 0.0, 0.0, step, pairs
    cores = FreeCores()
    with Progress() as bar:
        task = bar.add_task("unet", total=1.0)
        while clock.progress() < 1:
            clock.wait_if_paused()
            if device.type == "cpu":
                cores.adapt()
            rate = learning_rate(c.lr, step, c.warmup_steps, clock.progress())
            for group in optimizer.param_groups:
                group["lr"] = rate
            small = clock.progress() < c.small_share
            batch = maker.make(
                c.small_batch if small else c.batch, config.data.size // 2 if small else config.data.size
            )
            ids = token_ids(model.tokenizer, batch.prompts, MERGE_DROPOUT[step % 3]).to(device)
            with mixed_precision(device):
                clean, words = model(batch.noisy, batch.condition, batch.timestep, ids)
                clean = clean.float()
                loss = latent_loss(clean, batch)
                value = loss.item()
                if c.pixel_weight and clock.progress() >= c.pixel_from:
                    count = max(1, round(len(clean) * c.pixel_share))
                    loss = loss + c.pixel_weight * pixel_loss(clean, batch, vae, count)
            if not math.isfinite(value):
                raise RuntimeError(f"the loss is not finite at step {step}")
            optimizer.zero_grad(set_to_none=True)
            gradient = torch.autograd.grad(loss, clean, retain_graph=True)[0]
            if adversary is not None:
                with mixed_precision(device):
                    doubt += adversary.learn(clean, batch, words)
                    if clock.progress() >= c.adversarial_from:
                        gradient = adversary.add(gradient, clean, batch, words, c.adversarial_share)
            clean.backward(gradient)
            nn.utils.clip_grad_norm_(chain(decayed, plain), c.grad_clip)
            optimizer.step()
            ema.update(model)
            step += 1
            pairs += len(batch.prompts)
            running += value
            now = time.monotonic()
            if now - last_log > 30:
                bar.update(task, completed=clock.progress())
                bar.console.print(
                    f"step {step} loss {running / (step - since_step):.4f} critic {doubt / (step - since_step):.3f} "
                    f"lr {rate:.2e} pairs {pairs} "
                    f"{(pairs - since_pairs) / (now - last_log):.1f} pairs/s {clock.seconds() / 60:.1f} min"
                )
                last_log, running, doubt, since_step, since_pairs = now, 0.0, 0.0, step, pairs
                maker.refresh()
            if now - last_save > 180:
                save()
                last_save = time.monotonic()
    save()
    print(f"{pairs} pairs in {clock.seconds() / 60:.1f} minutes of training")


if __name__ == "__main__":
    typer.run(main)
