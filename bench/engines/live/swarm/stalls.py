"""How long a shard's process fails to do what is due: its event loop, and its threads at large.

Both stand still in a process that gets no processor. A loop also stands still in a long callback,
a thread while another one holds the interpreter's lock.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

from bench.engines.live.swarm.shard import monotonic

STEP = 0.1
"""In s; a stall that is longer is surely seen. Looking ten times as often costs 1% of a core."""
EVERY = 1.0

Measure = Callable[[float, str, float, str], None]
"""Takes t, metric, value and unit."""


class Stalls:
    """Measures once a second: ``loop_stall`` and ``gil_stall``, the worst delay of a wake-up of the
    event loop and of a plain thread in that second, and ``renewals``, how many were sent in it."""

    def __init__(self, measure: Measure, renewals: Callable[[], int]) -> None:
        self._measure = measure
        self._renewals = renewals
        self._worst = 0.0
        """Of the thread; taken by the loop."""
        self._over = threading.Event()

    async def watch(self) -> None:
        """Goes on until it is cancelled."""
        thread = threading.Thread(target=self._watch_threads, name="stalls", daemon=True)
        thread.start()
        try:
            await self._watch_loop()
        finally:
            self._over.set()

    async def _watch_loop(self) -> None:
        sent, again = self._renewals(), monotonic()
        while True:
            worst, again = 0.0, max(again, monotonic() - EVERY) + EVERY
            while (now := monotonic()) < again:
                await asyncio.sleep(STEP)
                worst = max(worst, monotonic() - now - STEP)
            threads, self._worst = self._worst, 0.0
            before, sent = sent, self._renewals()
            self._measure(now, "loop_stall", worst, "s")
            self._measure(now, "gil_stall", threads, "s")
            self._measure(now, "renewals", sent - before, "count")

    def _watch_threads(self) -> None:
        while not self._over.is_set():
            now = monotonic()
            time.sleep(STEP)
            self._worst = max(self._worst, monotonic() - now - STEP)
