"""Keeps the loaders of other packages from writing progress bars and advice into a user's terminal."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quiet() -> Generator[None]:
    """Within it, diffusers and transformers report errors only; afterwards their settings are what they were."""
    import diffusers.utils.logging as diffusers_logging
    import transformers.utils.logging as transformers_logging

    loggings: list[Any] = [diffusers_logging, transformers_logging]
    levels = [logging.get_verbosity() for logging in loggings]
    bars = [logging.is_progress_bar_enabled() for logging in loggings if hasattr(logging, "is_progress_bar_enabled")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logging in loggings:
            logging.set_verbosity_error()
            logging.disable_progress_bar()
        try:
            yield
        finally:
            for logging, level in zip(loggings, levels, strict=True):
                logging.set_verbosity(level)
            if all(bars):
                for logging in loggings:
                    logging.enable_progress_bar()
