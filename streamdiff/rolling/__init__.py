"""Rolling Forcing: the windowed video mode (arXiv 2509.25161; ALGORITHMS 6).

Read it beside section 6 in this order: ``schedule`` (the ladder of noise levels), ``window`` (which blocks a pass
sees), ``cache`` (their keys and values), ``attention`` and ``transformer`` (one joint pass), ``denoiser`` (the rolling
window on latents), ``vae``, ``intake`` and ``outlet`` (pictures to latents and back), ``stream`` (the public face).
"""

from streamdiff.rolling.config import RollingConfig
from streamdiff.rolling.load import load_rolling
from streamdiff.rolling.model import RollingModel
from streamdiff.rolling.stream import RollingStream

__all__ = ["RollingConfig", "RollingModel", "RollingStream", "load_rolling"]
