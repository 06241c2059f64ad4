"""RollingStream: the public face of the windowed video mode. Synchronous; owns no thread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from streamdiff.conditioning import Prompts
from streamdiff.errors import ClosedError, ConfigError
from streamdiff.frame import Frame, Pixels
from streamdiff.picture import check_pixels, cover, to_pixels
from streamdiff.rolling.config import RollingConfig
from streamdiff.rolling.denoiser import RollingDenoiser
from streamdiff.rolling.intake import Intake
from streamdiff.rolling.model import RollingModel
from streamdiff.rolling.outlet import Load, Outlet
from streamdiff.rolling.painter import Brush, Brushes
from streamdiff.streaming import flushed


@dataclass(frozen=True)
class _Setting:
    """All that follows from a configuration, computed before anything changes, so that a failure changes nothing."""

    config: RollingConfig
    text: Tensor
    brush: Brush | None


class RollingStream:
    """Video from a prompt, or a camera's pictures restyled, for as long as one likes.

    From a prompt (``generate``), pictures come a block at a time: 9, then 12 and 12 (with a VAE of 4 pictures a latent
    frame). The first leave when their block is final: once the window has ramped up.

    From a camera (``push``), pictures are gathered into such blocks, and a picture comes out ``4 - level`` blocks after
    its own has been gathered (for a ladder of 5 levels), with the times and identity it went in with.

    ``update`` changes any setting; a change of prompt is seen by all blocks in the window (what a model's painter has
    painted stays as it is), a change of level or size finishes the window first. The history, and with it what things
    look like, goes on through all but a change of size.

    Attributes:
        model: the model it runs.
        lost: frames that an error of the model has cost.
    """

    def __init__(self, model: RollingModel, config: RollingConfig) -> None:
        """Prepare a stream; its memory is allocated here, and does not grow.

        Raises:
            ConfigError: the model cannot run this configuration.
            EngineError: the text encoder does not fit the device.
        """
        self.model = model
        self.lost = 0
        self._prompts: Prompts | None = Prompts(model, model.runtime)
        self._brushes = None if model.painter is None else Brushes(model.painter)
        self._active = self._wanted = self._prepare(config)
        self._size: tuple[int, int] | None = None
        self._start()

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path = "tiny-rolling",
        checkpoint: str | Path | None = None,
        *,
        decoder: str | Path | None = None,
        engine: str = "auto",
        device: str | None = None,
        precision: torch.dtype | str | None = None,
        **settings: Any,
    ) -> RollingStream:
        """Load a model and prepare a stream.

        Args:
            folder, checkpoint, decoder, engine, device, precision: as ``load_rolling`` takes them.
            settings: fields of RollingConfig; the model's own where they are not given.

        Raises:
            ConfigError, ModelError, EngineError: in one line, what to do.
        """
        from streamdiff.rolling.load import load_rolling

        RollingConfig.make(**settings)  # before the minutes that loading may take
        model = load_rolling(folder, checkpoint, decoder=decoder, engine=engine, device=device, precision=precision)
        return cls(model, model.config(**settings))

    @property
    def config(self) -> RollingConfig:
        """The settings that the next picture will be made with."""
        self._check_open()
        return self._wanted.config

    @property
    def burst(self) -> int:
        """Camera frames of a block, after a video's first."""
        self._check_open()
        return self._intake.block_size(False)

    @property
    def in_flight(self) -> int:
        """Camera frames that went in and have not come out."""
        self._check_open()
        waiting = len(self._intake.frames) + self._due
        return waiting + sum(len(load or ()) for load in self._denoiser.loads)

    def push(self, frame: Frame) -> list[Frame]:
        """Let a camera's frame in, at ``config.level``.

        Returns:
            The frames that came out, in order: none while a block is gathered or the window ramps up, else a block.

        Raises:
            ClosedError: the stream is closed.
            PictureError: the frame's pixels are not uint8 [height, width, 3].
            Exception: the model's own. What had finished comes out of the next call; what was lost is counted.
        """
        self._check_open()
        check_pixels(frame.pixels)
        try:
            self._switch()
        except BaseException:
            self.lost += 1
            raise
        config = self._active.config
        self._gather(frame.with_pixels(cover(frame.pixels, config.width, config.height)))
        return self._taken()

    def generate(self, blocks: int | None = None) -> Iterator[Frame]:
        """Make video from the prompt alone; camera frames that are in come out first.

        Args:
            blocks: how many, the window then being finished; None goes on for as long as it is asked for more, and
                leaves the window as it stands.

        Yields:
            Frames counted and timed (``pts``) from the stream's first, at the model's rate.
        """
        for _ in count() if blocks is None else range(blocks):
            self._check_open()
            self._switch()
            self._finish_gathered()
            self._end_camera()
            shape = self._denoiser.noise_shape[1:]
            self._enter(torch.zeros(shape, device=self.model.transformer.device), None, level=0)
            yield from self._taken()
        if blocks is not None:
            yield from self.flush()

    def flush(self) -> list[Frame]:
        """Finish every frame that is in, without new input; returns them in order. The history stays."""
        return flushed(self.drain(), self._put_back)

    def drain(self) -> Iterator[list[Frame]]:
        """As ``flush``, step by step: gives what came out after each. A block begun is filled up with its last."""
        self._check_open()
        self._finish_gathered()
        while self._denoiser.held:
            yield self._taken()
            self._advance()
        yield self._taken()

    def update(self, /, **settings: Any) -> None:
        """Change settings; they are in force from the next block that enters.

        Raises:
            ConfigError: unknown name, value out of bounds, or a level the model does not have.
            EngineError: an engine for a new size cannot be built. In either case nothing has changed.
        """
        self._check_open()
        config = self._wanted.config.changed(**settings)
        if config != self._wanted.config:
            self._wanted = self._prepare(config)

    def re_anchor(self) -> None:
        """Renew the attention sink, for a new scene or a new look: it becomes the block that enters next.

        When that block is final the history begins with it, as it once began with the first; until then the old one
        serves.
        """
        self._check_open()
        self._denoiser.re_anchor()

    def continue_from(self, pictures: Iterable[Any]) -> None:
        """Begin anew with given pictures as the history: what comes next continues them.

        Args:
            pictures: Frames, or anything that ``streamdiff.picture.to_pixels`` reads, in order; scaled and cut to the
                stream's size. Of these, the last 9, 21, 33 ... are used (as many as fill blocks), the first block of
                them as the attention sink.

        Raises:
            ConfigError: too few for one block.
            PictureError: not a picture. In either case nothing has changed.
        """
        self._check_open()
        given = [_pixels_of(picture) for picture in pictures]
        first, later = self._intake.block_size(True), self._intake.block_size(False)
        if len(given) < first:
            raise ConfigError(f"continuing takes {first} pictures or more, given {len(given)}")
        self._begin(self._wanted)
        config = self._active.config
        for pixels in given[(len(given) - first) % later :]:
            latents = self._intake.add(Frame(cover(pixels, config.width, config.height)))
            if latents is not None:
                self._intake.take()
                self._denoiser.remember(latents)
                self._outlet.skip(latents)
        self._begun = True

    def reset(self) -> None:
        """Forget every frame that is in, and the history; the settings stay."""
        self._check_open()
        self._begin(self._wanted)

    def close(self) -> None:
        """Let go of the cache and all frames; ``model`` can be used for another stream."""
        self._prompts = self._brushes = None
        for name in ("_denoiser", "_intake", "_outlet", "_active", "_wanted", "_ready"):
            self.__dict__.pop(name, None)

    def __enter__(self) -> RollingStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._prompts is None:
            raise ClosedError("this stream is closed; make a new one")

    def _prepare(self, config: RollingConfig) -> _Setting:
        assert self._prompts is not None
        self.model.check(config)
        self.model.vae.ready(config.width, config.height)
        text = self._prompts.blend(config.prompt, config.second_prompt, config.blend)
        return _Setting(config, text, None if self._brushes is None else self._brushes(config))

    def _begin(self, setting: _Setting) -> None:
        """Begin a video under a setting; where its size does not fit, under all of it but the size, and raise."""
        size = {name: getattr(self._active.config, name) for name in ("width", "height")}
        self._active = setting
        try:
            self._start()
        except BaseException:
            self._active = self._wanted = self._prepare(setting.config.changed(**size))
            self._start()
            raise

    def _start(self) -> None:
        """Begin a video under the active setting."""
        model, setting = self.model, self._active
        size = model.latent_size(setting.config)
        if size == self._size:
            self._denoiser.clear()
            self._denoiser.set_text(setting.text)
        else:
            self.__dict__.pop("_denoiser", None)  # its cache may be most of the memory there is
            self._size = None
            self._denoiser: RollingDenoiser[Load] = RollingDenoiser(
                model.transformer, model.ladder, model.span, size, setting.text
            )
            self._size = size
        self._shown_text = setting.text
        self._intake = Intake(model.vae, model.span.block)
        self._outlet = Outlet(model.vae, model.fps)
        if self._brushes is not None:
            self._brushes.calm.forget()
        self._generator = torch.Generator().manual_seed(setting.config.seed)
        self._level = 0
        self._begun = False
        self._ready: list[Frame] = []
        self._due = 0  # of these, the camera's

    def _switch(self) -> None:
        """Make the wanted setting the active one; what this finishes is made ready."""
        old, new = self._active, self._wanted
        if old is new:
            return
        if (old.config.width, old.config.height) != (new.config.width, new.config.height):
            self._finish_gathered()
            while self._denoiser.held:
                self._advance()
            ready, due, made = self._ready, self._due, self._outlet.made
            try:
                self._begin(new)
            finally:
                self._ready, self._due, self._outlet.made = ready, due, made
            return
        self._active = new
        if old.config.seed != new.config.seed:
            self._generator.manual_seed(new.config.seed)

    def _gather(self, frame: Frame, *, counts: bool = True) -> None:
        """Take a camera's frame; the one that completes a block lets it in."""
        try:
            latents = self._intake.add(frame, begun=self._begun, counts=counts, paint=self._active.brush)
        except BaseException:
            self.lost += len(self._intake.take())
            self._begin_anew()
            raise
        if latents is not None:
            self._enter(latents, self._intake.take(), level=self._active.config.level)

    def _finish_gathered(self) -> None:
        """Fill a block that was begun with its last picture, which does not come out."""
        last = self._intake.frames[-1:]
        while self._intake.frames:
            self._gather(last[0], counts=False)

    def _enter(self, latents: Tensor, load: Load, level: int) -> None:
        """Let a block into the window, which is finished first when its blocks came in at another level."""
        try:
            while self._denoiser.held and level != self._level:
                self._advance()
            self._level = level
            # Here and not when it was asked for: a blend may move with every picture, and the history is shown to the
            # new prompt by a pass of each of its blocks.
            setting = self._active
            if setting.text is not self._shown_text and not torch.equal(setting.text, self._shown_text):
                self._denoiser.set_text(setting.text, recache=setting.config.recache)
            self._shown_text = setting.text
            noise = torch.randn(self._denoiser.noise_shape, generator=self._generator)
            finished = self._denoiser.push(latents, noise, load, level)
        except BaseException:
            self.lost += len(load or ())
            self._begin_anew()
            raise
        self._begun = True
        self._leave(finished)

    def _begin_anew(self) -> None:
        """A first block that failed is none: the next is the first, for the encoder as for the decoder."""
        if not self._begun:
            self._end_camera()

    def _end_camera(self) -> None:
        """What the camera shows next is another video."""
        self._intake.end()
        if self._brushes is not None:
            self._brushes.calm.forget()

    def _advance(self) -> None:
        self._leave(self._denoiser.advance())

    def _leave(self, finished: tuple[Tensor, Load] | None) -> None:
        """Decode a final block and make its pictures ready."""
        if finished is None:
            return
        latents, load = finished
        try:
            self._ready += self._outlet.frames(latents, load)
        except BaseException:
            self.lost += len(load or ())
            raise
        self._due += len(load or ())

    def _put_back(self, frames: list[Frame]) -> None:
        self._ready = frames + self._ready
        self._due += len(frames) if self._level else 0

    def _taken(self) -> list[Frame]:
        ready, self._ready, self._due = self._ready, [], 0
        return ready


def _pixels_of(picture: Any) -> Pixels:
    if isinstance(picture, Frame):
        check_pixels(picture.pixels)
        return picture.pixels
    return np.asarray(to_pixels(picture)[0])
