"""Stage 2: train the rolling transformer on episodes, by running its window over them."""

from __future__ import annotations

import torch
import typer

from scripts.train_tiny.config import load_config as load_picture_config
from scripts.train_tiny.data import Cache
from scripts.train_tiny.loop import mixed_precision
from streamdiff.models.load import load_model

from .clips import Clips
from .config import DEFAULT_CONFIG, DEFAULT_PICTURES, DEFAULT_WORK, TrainConfig, load_config
from .episodes import EpisodeMaker
from .latents import Latents
from .losses import pixel_loss, video_loss
from .rollout import Rollout
from .run import ConfigFile, Minutes, PauseFile, PictureWork, Run, StartFrom, Work, build

CHECKPOINT = "rolling.pt"


def own_share(config: TrainConfig, progress: float) -> float:
    """How often the model's own predictions go on, rising along a straight line."""
    return min(1.0, config.own_from + (1 - config.own_from) * progress / config.own_full)


def main(
    work: Work = DEFAULT_WORK,
    pictures: PictureWork = DEFAULT_PICTURES,
    config_file: ConfigFile = DEFAULT_CONFIG,
    minutes: Minutes = None,
    pause_file: PauseFile = None,
    start_from: StartFrom = None,
) -> None:
    """Train; continues from the last checkpoint in the work folder."""
    config = load_config(config_file)
    c = config.train
    torch.manual_seed(config.seed)
    wan, rolling = build(config)
    run = Run(wan, config, work / CHECKPOINT, minutes, pause_file, start_from)
    torch.manual_seed(config.seed + run.steps)
    latents = Latents(load_model(config.pictures), run.device, config.model.paint, config.model.calm)
    clips = Clips(work, config.clips)
    maker = EpisodeMaker(Cache(pictures, load_picture_config()), clips, config, latents, config.seed + run.steps)
    print(f"{len(maker.items)} pictures, {len(clips)} segments of clips in {len(clips.arrays)} styles")
    rollouts: list[Rollout] = []
    for progress in run:
        rollouts = [rollout for rollout in rollouts if not rollout.over]
        while len(rollouts) < c.streams:
            rollouts.append(Rollout(rolling, config.model, maker.make(), maker.random.randrange(2**31)))
        value, frames = 0.0, 0
        for rollout in rollouts:
            with mixed_precision(run.device):
                predicted = rollout.step(own_share(c, progress))
                loss = video_loss(predicted.clean, predicted.answer, c.motion_weight)
                value += loss.item() / c.streams
                if progress >= c.pixel_from:
                    one = slice(first := maker.random.randrange(len(predicted.clean)), first + 1)
                    loss = loss + c.pixel_weight * pixel_loss(predicted.clean[one], predicted.answer[one], latents)
            (loss * rollout.episode.weight / c.streams).backward()
            frames += len(predicted.clean)
        run.step(value, frames)


if __name__ == "__main__":
    typer.run(main)
