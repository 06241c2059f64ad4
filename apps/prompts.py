"""What to tell about a prompt before it is used."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from apps.run_config import Mode, RunConfig
from streamdiff.config import Guidance

if TYPE_CHECKING:
    from streamdiff.config import StreamConfig
    from streamdiff.models.base import Model

NEAREST = 3
"""Styles named when a prompt is none that the model knows."""


def about_prompt(model: Model, prompt: str) -> list[str]:
    """Notes for the user, one line each: a prompt that is missing, unknown to the model, or too long for it."""
    notes: list[str] = []
    if not prompt.strip():
        if model.styles:
            # The first style is the photograph itself: what no prompt gives already.
            notes.append(f"no prompt was given; try --prompt {model.styles[-1].prompt!r} (streamdiff styles lists all)")
        return notes
    if model.styles and not _known(model, prompt):
        shown = " ".join(prompt.split())
        shown = shown if len(shown) <= 40 else shown[:39] + "…"
        nearest = ", ".join(repr(name) for name in nearest_styles(model, prompt))
        notes.append(
            f"the {model.name} model was not taught {shown!r}; nearest styles: {nearest} (streamdiff styles lists all)"
        )
    if _is_cut(model, prompt):
        notes.append(
            f"the prompt of {len(prompt)} characters is longer than the {model.text_length} tokens the model reads; "
            "the rest has no effect"
        )
    return notes


def about_settings(model: Model, config: StreamConfig) -> list[str]:
    """Notes for the user on the settings that a run begins with, one line each."""
    notes = about_prompt(model, config.prompt)
    rolling = isinstance(config, RunConfig) and config.mode is Mode.rolling
    return notes if rolling else [*notes, *_about_guidance(config)]


def _about_guidance(config: StreamConfig) -> list[str]:
    if config.guidance is Guidance.none or config.guidance_in_use is not Guidance.none:
        return []
    scale = f"a scale of {config.guidance_scale:g}"
    return [f"guidance {config.guidance.value} has no effect at {scale}; try --guidance-scale 2"]


def nearest_styles(model: Model, prompt: str) -> list[str]:
    """Names of the styles that are written most like a prompt."""
    asked = prompt.lower()[:200]
    by_term = {term: style.prompt for style in model.styles for term in (style.name, style.prompt, *style.synonyms)}
    ranked = sorted(by_term, key=lambda term: -difflib.SequenceMatcher(None, asked, term.lower()).ratio())
    return list(dict.fromkeys(by_term[term] for term in ranked))[:NEAREST]


def _known(model: Model, prompt: str) -> bool:
    words = f" {' '.join(prompt.lower().replace(',', ' ').replace('.', ' ').split())} "
    terms = (term for style in (*model.styles, *model.moods) for term in (style.name, style.prompt, *style.synonyms))
    return any(f" {term.lower()} " in words for term in terms)


def _is_cut(model: Model, prompt: str) -> bool:
    # Where more text changes nothing, the model's tokens are used up.
    before, after = model.tokenize(prompt), model.tokenize(prompt + " sketch")
    return before.shape == after.shape and bool((before == after).all())
