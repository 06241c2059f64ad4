"""The two modes of a run that is steered: picture by picture, or a rolling window of video; one may become the other.

A run has one set of settings in both, ``RunConfig``. The rolling model works at a size of its own, and what comes out
is enlarged to the size that is set.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np

from apps.run_config import Mode, RunConfig
from apps.sizes import fit_size
from engines.base import Runtime
from streamdiff.errors import ConfigError
from streamdiff.frame import Frame, Pixels
from streamdiff.models.base import Model
from streamdiff.picture import check_pixels, cover
from streamdiff.rolling.config import MULTIPLE, RollingConfig
from streamdiff.rolling.model import RollingModel
from streamdiff.rolling.schedule import Ladder
from streamdiff.rolling.stream import RollingStream
from streamdiff.stream import Stream
from streamdiff.streaming import flushed


class SharedRolling:
    """A rolling model that is loaded when it is first wanted, once for all who share it."""

    def __init__(self, load: Callable[[], RollingModel]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._model: RollingModel | None = None

    def __call__(self) -> RollingModel:
        """The model.

        Raises:
            ModelError, EngineError: it cannot be loaded; asked again, it is tried again.
        """
        with self._lock:
            if self._model is None:
                self._model = self._load()
            return self._model


def level_of(strength: float, ladder: Ladder) -> int:
    """The level at which camera pictures enter: that whose share of noise is nearest to a strength, of two the milder.

    Raises:
        ConfigError: the ladder has no level for a camera.
    """
    if len(ladder) < 2:
        raise ConfigError("this rolling model makes video from a prompt alone: mode = rolling needs one for a camera")
    return min(range(1, len(ladder)), key=lambda level: (round(abs(ladder.sigma(level) - strength), 6), -level))


class ModalStream:
    """A ``Streaming`` in either mode. Frames keep their order through a change; those that are in are finished first.

    Attributes:
        pictures: the stream of the picture mode; it stays ready in the rolling mode.
    """

    def __init__(self, pictures: Stream, config: RunConfig, rolling: Callable[[], RollingModel] | None = None) -> None:
        """Take over a stream.

        Args:
            pictures: closed with this one; of any size, it is brought to the settings when the mode is its own.
            config: settings to begin with.
            rolling: gives the rolling model when it is first wanted; None: this run has none.

        Raises:
            ConfigError, ModelError, EngineError: they cannot be used here.
        """
        self.pictures = pictures
        self._load = rolling
        self._rolling: RollingStream | None = None
        self._lost = 0
        self._ready: list[Frame] = []
        self._prepare(config)
        self._active = self._wanted = config

    @property
    def model(self) -> Model:
        """The picture model."""
        return self.pictures.model

    @property
    def runtime(self) -> Runtime:
        """What runs its networks."""
        return self.pictures.runtime

    @property
    def skipped(self) -> int:
        """Frames that the similarity filter repeated."""
        return self.pictures.skipped

    @property
    def config(self) -> RunConfig:
        """The settings that the next frame will be made with."""
        return self._wanted

    @property
    def lost(self) -> int:
        """Frames that an error of either model has cost."""
        return self.pictures.lost + self._lost + (self._rolling.lost if self._rolling is not None else 0)

    @property
    def burst(self) -> int:
        """Frames that enter together in the present mode."""
        return self._current.burst

    @property
    def _current(self) -> Stream | RollingStream:
        if self._wanted.mode is Mode.stream:
            return self.pictures
        assert self._rolling is not None
        return self._rolling

    def push(self, frame: Frame) -> list[Frame]:
        """Let a frame in; returns those that came out, in order, of the size that is set."""
        try:
            self._switch()
        except BaseException:
            self._lost += 1
            raise
        try:
            self._keep(self._current.push(self._fitting(frame)))
        except Exception:
            self._agree()
            raise
        return self._taken()

    def _agree(self) -> None:
        """After a failure: a size that turned out not to fit is taken back by the picture stream itself."""
        if self._wanted.mode is Mode.stream:
            agreed = RunConfig.make(**{**dict(self._wanted), **dict(self.pictures.config)})
            if agreed != self._wanted:
                self._wanted = self._active = agreed

    def flush(self) -> list[Frame]:
        """Finish what is in; returns it in order."""
        return flushed(self.drain(), self._put_back)

    def drain(self) -> Iterator[list[Frame]]:
        """Finish what is in, step by step."""
        self._switch()
        yield self._taken()
        for frames in self._current.drain():
            self._keep(frames)
            yield self._taken()

    def update(self, /, **settings: Any) -> None:
        """Change settings, the mode among them.

        Raises:
            ConfigError, ModelError, EngineError: in one line; nothing has changed.
        """
        config = self._wanted.changed(**settings)
        if config != self._wanted:
            self._prepare(config)
            self._wanted = config

    def reset(self) -> None:
        """Throw away what is in, and begin anew; the settings stay."""
        self._active = self._wanted
        self._ready = []
        self.pictures.reset()
        if self._wanted.mode is Mode.stream:
            self._close_rolling()
        elif self._rolling is not None:
            self._rolling.reset()

    def close(self) -> None:
        """Let go of both modes' models and frames."""
        self._close_rolling()
        self._ready = []
        self.pictures.close()

    def __enter__(self) -> ModalStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self, config: RunConfig) -> None:
        """Bring the stream of the wanted mode to its settings, or raise and leave everything as it was."""
        if config.mode is Mode.stream:
            self.pictures.update(**config.of_pictures)
            return
        if self._load is None:
            raise ConfigError("mode = rolling: this run has no rolling model")
        model = self._load()
        area = model.default_size[0] * model.default_size[1]
        width, height = fit_size((config.width, config.height), area, step=MULTIPLE)
        settings: dict[str, Any] = {
            "prompt": config.prompt, "second_prompt": config.second_prompt, "blend": config.blend,
            "seed": config.seed, "level": level_of(config.strength, model.ladder), "width": width, "height": height,
        }  # fmt: skip
        if self._rolling is None:
            self._rolling = RollingStream(model, RollingConfig.make(**settings))
        else:
            self._rolling.update(**settings)

    def _switch(self) -> None:
        """Make the wanted settings the active ones; the mode that is left is finished."""
        old, new = self._active, self._wanted
        if old is new:
            return
        self._active = new
        if new.mode is Mode.rolling and old.mode is Mode.stream:
            self._finish(self.pictures)
        elif new.mode is Mode.stream and self._rolling is not None:
            try:
                self._finish(self._rolling)
            finally:
                self._close_rolling()

    def _finish(self, left: Stream | RollingStream) -> None:
        """Finish what is in the mode that is left; after an error what was still in is lost."""
        try:
            for frames in left.drain():
                self._keep(frames)
        except BaseException:
            self._lost += left.in_flight
            left.reset()
            raise

    def _close_rolling(self) -> None:
        if self._rolling is not None:
            self._lost += self._rolling.lost
            self._rolling.close()
            self._rolling = None

    def _keep(self, frames: list[Frame]) -> None:
        """Make frames ready. A rolling model has a size of its own: the output is stretched back to what is set."""
        size = self._active.width, self._active.height
        for frame in frames:
            pixels = frame.pixels if self._rolling is None else _stretched(frame.pixels, size)
            self._ready.append(frame if pixels is frame.pixels else frame.with_pixels(pixels))

    def _fitting(self, frame: Frame) -> Frame:
        """The frame as the present mode takes it. The rolling model's size has not quite the aspect that is set, and it
        would cut; stretched there and back, all of the picture is seen."""
        if self._wanted.mode is Mode.stream or self._rolling is None:
            return frame
        check_pixels(frame.pixels)
        shape = self._rolling.config
        pixels = cover(frame.pixels, self._wanted.width, self._wanted.height)
        return frame.with_pixels(_stretched(pixels, (shape.width, shape.height)))

    def _put_back(self, frames: list[Frame]) -> None:
        self._ready = frames + self._ready

    def _taken(self) -> list[Frame]:
        ready, self._ready = self._ready, []
        return ready


def _stretched(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Pixels at a width and height, whatever that does to their aspect."""
    if pixels.shape[1::-1] == size:
        return pixels
    smaller = size[0] * size[1] < pixels.shape[0] * pixels.shape[1]
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC), np.uint8)
