"""BySize: engines that are made for one size of picture, kept for the sizes that were used last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

E = TypeVar("E")

KEPT = 4
"""Sizes whose engines are kept while nobody uses them: changing back to one costs nothing."""


class BySize(Generic[E]):
    """Makes what a size needs when it is first wanted; safe to share between threads."""

    def __init__(self, make: Callable[..., E]) -> None:
        """Nothing is made yet.

        Args:
            make: from the numbers that a size consists of.
        """
        self._make = make
        self._made: OrderedDict[tuple[int, ...], E] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, *size: int) -> E:
        """What belongs to a size; raises what making it raises."""
        with self._lock:
            found = self._made.get(size)
        if found is None:
            # Not under the lock: whoever uses another size meanwhile does not wait for this one.
            found = self._make(*size)
        with self._lock:
            self._made[size] = found
            self._made.move_to_end(size)
            if len(self._made) > KEPT:
                self._made.popitem(last=False)
        return found
