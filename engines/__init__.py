"""Engines: how one network is run. One file for each runtime, behind the protocol of ``engines.base``."""

from engines.base import Engine, Input, Network, Recorder, Runtime
from engines.errors import EngineError
from engines.no_telemetry import no_telemetry
from engines.pool import shared_engine
from engines.selection import Candidate, available, choose

__all__ = [
    "Candidate",
    "Engine",
    "EngineError",
    "Input",
    "Network",
    "Recorder",
    "Runtime",
    "available",
    "choose",
    "shared_engine",
]

no_telemetry()  # before anything here imports a package that would
