"""Models: where weights come from. One loader for the embedded model, folders, single files and hub ids."""

from streamdiff.models.base import Model, Style
from streamdiff.models.load import load_model
from streamdiff.models.lora import LoraSpec

__all__ = ["LoraSpec", "Model", "Style", "load_model"]
