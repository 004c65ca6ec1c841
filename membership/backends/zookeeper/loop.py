"""An event loop on a thread of its own, for callers on other threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from membership.errors import Closed

T = TypeVar("T")


class LoopThread:
    """Runs coroutines and plain calls, in the order in which they are handed over."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._gate = threading.Lock()
        self._shut = False
        # A daemon: whoever forgets to close isn't kept from exiting.
        self._thread = threading.Thread(target=self.loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What the coroutine comes to; it is cancelled where the wait for it is interrupted.

        Raises: Closed once `shut` has been called, which also ends the wait.
        """
        with self._gate:
            if self._shut:
                raise Closed("this connection has been closed")
            future = asyncio.run_coroutine_threadsafe(work(), self.loop)
        try:
            return future.result()
        except CancelledError:
            raise Closed("this connection was closed meanwhile") from None
        except BaseException:
            future.cancel()
            raise

    def post(self, call: Callable[..., object], *arguments: object) -> None:
        """Have it called soon; never, once `shut` has been called."""
        with self._gate:
            if not self._shut:
                self.loop.call_soon_threadsafe(call, *arguments)

    def shut(self) -> None:
        """Take in nothing more, and cancel what runs. Plain callbacks still come through."""
        with self._gate:
            self._shut = True
            ended = asyncio.run_coroutine_threadsafe(_cancel_all(), self.loop)
        ended.result()

    def stop(self) -> None:
        """End the thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


async def _cancel_all() -> None:
    while others := asyncio.all_tasks() - {asyncio.current_task()}:  # ending, one may start another
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
