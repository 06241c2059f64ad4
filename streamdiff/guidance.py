"""Guidance: which UNet rows a slot needs, and how their predictions become one (ALGORITHMS 2).

Residual CFG after StreamDiffusion (arXiv 2312.12491, section 3.2), in anchor form: the virtual residual noise of slot
i is epsilon'_i = (x_i - alpha_i a) / sigma_i with a clean latent `a` that travels with the frame. It equals the
recursion on a noise buffer of the original and cannot drift.
"""

from __future__ import annotations

from torch import Tensor

from streamdiff.config import Guidance
from streamdiff.schedule import Plan, predict_clean


def needs_negative(mode: Guidance, i: int) -> bool:
    """Whether slot i evaluates the negative prompt: every slot of full, the first of onetime."""
    return mode is Guidance.full or (mode is Guidance.onetime_negative and i == 0)


def guide(
    mode: Guidance,
    scale: float,
    delta: float,
    plan: Plan,
    i: int,
    x: Tensor,
    positive: Tensor,
    negative: Tensor | None,
    anchor: Tensor,
) -> tuple[Tensor, Tensor]:
    """Combine one slot's noise predictions.

    Args:
        mode: guidance in use; scale > 1 unless it is none.
        scale: gamma.
        delta: strength of the residual.
        plan: the plan, i the slot.
        x: noisy latents [F, C, h, w].
        positive: epsilon(x, c) of the same shape.
        negative: epsilon(x, c_negative) where ``needs_negative`` says so.
        anchor: the clean latent that travels with the frames: z, or once known the onetime-negative's own.

    Returns:
        The guided epsilon and the anchor that travels on.
    """
    if mode is Guidance.none:
        return positive, anchor
    if mode is Guidance.full:
        assert negative is not None
        return negative + scale * (positive - negative), anchor
    if mode is Guidance.onetime_negative and i == 0:
        assert negative is not None
        anchor = predict_clean(plan, i, x, negative)
    residual = delta * (x - plan.alpha[i] * anchor) / plan.sigma[i]
    return residual + scale * (positive - residual), anchor
