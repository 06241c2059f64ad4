"""TensorRT and TensorRT-RTX: two packages with nearly the same interface, behind one thin layer."""

from engines.tensorrt.binding import FLAVOURS, Flavour
from engines.tensorrt.builder import Profile
from engines.tensorrt.engine import TensorRTEngine
from engines.tensorrt.runtime import TensorRTRuntime

__all__ = ["FLAVOURS", "Flavour", "Profile", "TensorRTEngine", "TensorRTRuntime"]
