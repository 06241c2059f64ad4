"""One engine for equal networks: sessions share weights and compiled graphs, and the last one to go frees them."""

from __future__ import annotations

import threading
import weakref

from engines.base import Engine, Network, Runtime

_lock = threading.Lock()
_engines: weakref.WeakValueDictionary[tuple[object, ...], Engine] = weakref.WeakValueDictionary()


def shared_engine(runtime: Runtime, network: Network) -> Engine:
    """The engine of a network, made if no one holds it yet; whoever keeps the result keeps it alive.

    Raises:
        EngineError: it cannot be built here.
    """
    identity = (runtime.description, network.name, network.key, network.inputs)
    # Building under the lock: two sessions that start together must not build, or hold, the same weights twice.
    with _lock:
        engine = _engines.get(identity)
        if engine is None:
            engine = runtime.compile(network)
            _engines[identity] = engine
        return engine
