"""A window with the stylised picture, by SDL (pygame): before and after, figures, keys."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from apps.sinks.sink import Picture
from apps.sources.source import Sound
from streamdiff.errors import ConfigError, DeviceError
from streamdiff.frame import Frame, Pixels

TALLEST = 640
"""Pixels of the window's longer side at first; small streams are shown larger."""

MOST_OF_SCREEN = 0.9
"""Share of the screen's width and height that the window has at most: a part outside it could not be seen."""

HIDDEN = ("dummy", "offscreen", "evdev", "kmsdrm")
"""What SDL draws to when there is no desktop: nothing that anybody sees."""

IDLE = 0.1
"""Seconds after which the window looks for keys though no picture came."""


class Window:
    """A window; see ``Sink``. ``write`` only keeps the newest picture; ``run`` shows it, in the program's main thread.

    Keys of its own: b shows before, after, or both halves; i shows the figures; F11 fills the screen.
    """

    name = "window"
    takes_sound = False

    def __init__(
        self,
        picture: Picture,
        *,
        on_key: Callable[[str], None],
        on_closed: Callable[[], None],
        lines: Callable[[], list[str]],
    ) -> None:
        """Open the window; ``run`` must follow in the same thread.

        Args:
            picture: what will come.
            on_key: told of every key that is not the window's own, by name ("space", "up", "f").
            on_closed: told when the user closes it.
            lines: what to write over the picture when figures are wanted.

        Raises:
            ConfigError: pygame is not installed.
            DeviceError: there is no display.
        """
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        try:
            import pygame
        except ModuleNotFoundError:
            raise ConfigError("the window needs pygame-ce: pip install 'streamdiff[live]'") from None
        self._pygame: Any = pygame
        try:
            pygame.display.init()
            if pygame.display.get_driver() in HIDDEN and not os.environ.get("SDL_VIDEODRIVER"):
                pygame.display.quit()
                raise DeviceError("no window can be opened: there is no display; another output works without one")
            pygame.font.init()
            scale = max(1.0, TALLEST / max(picture.width, picture.height))
            across, down = pygame.display.get_desktop_sizes()[0]
            scale = min(scale, MOST_OF_SCREEN * across / picture.width, MOST_OF_SCREEN * down / picture.height)
            size = (round(picture.width * scale), round(picture.height * scale))
            self._screen = pygame.display.set_mode(size, pygame.RESIZABLE)
        except pygame.error as error:
            raise DeviceError(f"no window can be opened ({error}); another output works without a display") from error
        pygame.display.set_caption("streamdiff")
        self._font = pygame.font.Font(None, 22)
        self.width, self.height = picture.width, picture.height
        self._on_key, self._on_closed, self._lines = on_key, on_closed, lines
        self._newest: Frame | None = None
        self._came = threading.Event()
        self._shown: Frame | None = None
        self.view = "after"
        self.split = 0.5
        self.figures = False

    def write(self, frame: Frame) -> None:
        """See ``Sink``."""
        self._newest = frame
        self._came.set()

    def write_sound(self, sound: Sound) -> None:
        """It has no sound."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to complete; the window itself goes when ``run`` returns."""

    def run(self, stopped: Callable[[], bool]) -> None:
        """Show pictures until told to stop."""
        try:
            while not stopped():
                came = self._came.wait(IDLE)
                self._came.clear()
                events = self._pygame.event.get()
                for event in events:
                    self._handle(event)
                if came or events:
                    self._shown = self._newest or self._shown
                    self._draw()
        finally:
            with contextlib.suppress(self._pygame.error):
                self._pygame.display.quit()

    def _handle(self, event: Any) -> None:
        pygame = self._pygame
        if event.type == pygame.QUIT:
            self._on_closed()
        elif event.type == pygame.KEYDOWN:
            name = event.unicode if event.unicode and event.unicode.isprintable() else pygame.key.name(event.key)
            name = "space" if name == " " else name
            if name == "b":
                views = ("after", "split", "before")
                self.view = views[(views.index(self.view) + 1) % len(views)]
            elif name == "i":
                self.figures = not self.figures
            elif name == "f11":
                pygame.display.toggle_fullscreen()
            else:
                self._on_key(name)
        elif event.type == pygame.MOUSEMOTION and event.buttons[0] and self.view == "split":
            left, _, width, _ = self._place()
            self.split = min(1.0, max(0.0, (event.pos[0] - left) / max(1, width)))

    def _place(self) -> tuple[int, int, int, int]:
        """Left, top, width and height of the picture in the window, its aspect kept."""
        across, down = self._screen.get_size()
        scale = min(across / self.width, down / self.height)
        width, height = max(1, round(self.width * scale)), max(1, round(self.height * scale))
        return (across - width) // 2, (down - height) // 2, width, height

    def _draw(self) -> None:
        pygame = self._pygame
        self._screen = pygame.display.get_surface()
        self._screen.fill((0, 0, 0))
        if self._shown is not None:
            left, top, width, height = self._place()
            surface = pygame.image.frombuffer(self._picture(self._shown).tobytes(), (self.width, self.height), "RGB")
            self._screen.blit(pygame.transform.smoothscale(surface, (width, height)), (left, top))
            if self.view == "split":
                x = left + round(width * self.split)
                pygame.draw.line(self._screen, (255, 255, 255), (x, top), (x, top + height), 2)
        if self.figures:
            for i, line in enumerate(self._lines()):
                text = self._font.render(line, True, (255, 255, 255), (0, 0, 0))
                self._screen.blit(text, (8, 8 + 22 * i))
        pygame.display.flip()

    def _picture(self, frame: Frame) -> Pixels:
        before = frame.tag if isinstance(frame.tag, np.ndarray) else frame.pixels
        if self.view == "after":
            return frame.pixels
        if self.view == "before":
            return before
        edge = round(self.width * self.split)
        return np.concatenate([before[:, :edge], frame.pixels[:, edge:]], axis=1)
