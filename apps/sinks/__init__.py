"""Where live pictures go: one small class for each kind of sink, behind the protocol ``Sink``."""

from apps.sinks.sink import OpenSink, Picture, Sink

__all__ = ["OpenSink", "Picture", "Sink"]
