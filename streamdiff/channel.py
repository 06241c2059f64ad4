"""Channel: a bounded queue between one thread and the event loop (ALGORITHMS 4)."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Channel(Generic[T]):
    """A bounded queue with an asynchronous and a blocking side.

    ``offer`` never waits: the newest wins and the oldest is given back. ``put`` waits for room. After ``finish`` what
    is inside can still be taken; ``abort`` throws it away. Both wake everyone who waits.

    Attributes:
        capacity: items that may wait; may be changed at any time, and what is inside stays.
    """

    def __init__(self, capacity: int, loop: asyncio.AbstractEventLoop) -> None:
        self.capacity = capacity
        self._loop = loop
        self._items: deque[T] = deque()
        self._condition = threading.Condition()
        # One event for all coroutines that wait; each looks again for itself when it is set.
        self._changed = asyncio.Event()
        self._finished = False
        self._aborted = False

    @property
    def finished(self) -> bool:
        """Nothing more can be put."""
        return self._finished

    @property
    def aborted(self) -> bool:
        """It was ended in the middle, and what was inside is gone."""
        return self._aborted

    def __len__(self) -> int:
        return len(self._items)

    def offer(self, item: T) -> T | None:
        """Put at once, from any thread; returns the item this one takes the place of, or itself after the end."""
        with self._condition:
            if self._finished:
                return item
            overtaken = self._items.popleft() if len(self._items) >= self.capacity else None
            self._items.append(item)
            self._wake()
        return overtaken

    def offer_all(self, items: list[T]) -> int:
        """Put several that belong together, from any thread; returns how many older ones they take the place of.

        None of them overtakes another of them, however many they are: nobody could have taken the first in time.
        """
        with self._condition:
            if self._finished or not items:  # nothing overtakes nothing: a burst longer than the capacity stays
                return len(items)
            room = max(self.capacity, len(items)) - len(items)
            overtaken = max(0, len(self._items) - room)
            for _ in range(overtaken):
                self._items.popleft()
            self._items.extend(items)
            self._wake()
        return overtaken

    def put_blocking(self, item: T) -> bool:
        """Put from a thread, waiting for room; False when the channel ended meanwhile."""
        with self._condition:
            self._condition.wait_for(lambda: self._finished or len(self._items) < self.capacity)
            if self._finished:
                return False
            self._items.append(item)
            self._wake()
        return True

    def take_blocking(self) -> T | None:
        """Take from a thread, waiting for an item; None once the channel has ended and is empty."""
        with self._condition:
            self._condition.wait_for(lambda: self._finished or bool(self._items))
            return self._popped()

    async def put(self, item: T) -> bool:
        """Put from the event loop, waiting for room; False when the channel ended meanwhile."""
        while True:
            with self._condition:
                if self._finished:
                    return False
                if len(self._items) < self.capacity:
                    self._items.append(item)
                    self._wake()
                    return True
                self._changed.clear()
            await self._changed.wait()

    async def take(self) -> T | None:
        """Take from the event loop, waiting for an item; None once the channel has ended and is empty."""
        while True:
            with self._condition:
                if self._items or self._finished:
                    return self._popped()
                self._changed.clear()
            await self._changed.wait()

    def give_back(self, item: T) -> None:
        """Put what was taken and not used before all others, whatever the capacity; lost after ``abort``."""
        with self._condition:
            if not self._aborted:
                self._items.appendleft(item)
                self._wake()

    def finish(self) -> None:
        """Nothing more comes; what is inside can still be taken."""
        with self._condition:
            self._finished = True
            self._wake()

    def abort(self) -> None:
        """Nothing more comes, and what is inside is thrown away."""
        with self._condition:
            self._finished = self._aborted = True
            self._items.clear()
            self._wake()

    def _popped(self) -> T | None:
        if not self._items:
            return None
        item = self._items.popleft()
        self._wake()
        return item

    def _wake(self) -> None:
        self._condition.notify_all()
        if self._loop.is_closed():
            return
        try:
            self._loop.call_soon_threadsafe(self._changed.set)
        except RuntimeError:  # the loop was closed between the question and the call: nobody waits there any more
            return
