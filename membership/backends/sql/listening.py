"""The thread that hears of changes from PostgreSQL, so that no watch has to wait for a poll."""

from __future__ import annotations

import logging
import random
import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from membership.backends.sql.database import Database
from membership.errors import MembershipError

Hear = Callable[[str | None, str], None]
"""Told of a change: channel, and name of what has changed. No channel: anything may have."""

_PAUSE = 0.01
"""Between two looks at what was said (s). A change by itself is heard at once; of a crowd that
trickles in, each would wake this thread."""
_RETRY = 1.0
"""Between two attempts to connect (s), more or less."""

_logger = logging.getLogger("membership.sql")


class Listener:
    """Listens on a connection of its own from `start` to `stop`, through every reconnection.

    What is said while nobody listens is lost: each connection begins with "anything may have
    changed". Nothing rests on this thread but promptness, for polls go on beside it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stopped = threading.Event()
        self._waker: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def start(self, hear: Hear) -> None:
        """Begin. Not more than once."""
        awake, self._waker = socket.socketpair()
        self._thread = threading.Thread(
            target=self._run, args=(hear, awake), name="membership-listener", daemon=True
        )
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End the thread and its connection; wait for it that long."""
        self._stopped.set()
        if self._waker is not None and self._thread is not None:
            with self._waker, suppress(BrokenPipeError):  # the thread may have ended by itself
                self._waker.send(b"!")  # to close it wouldn't do: a forked child may hold it too
            self._thread.join(timeout)

    def _run(self, hear: Hear, awake: socket.socket) -> None:
        with awake:
            while not self._stopped.is_set():
                try:
                    self._listen(hear, awake)
                except MembershipError as error:
                    _logger.debug("%s; polls go on", error)
                self._stopped.wait(_RETRY * random.uniform(0.5, 1.5))  # noqa: S311  no secret

    def _listen(self, hear: Hear, awake: socket.socket) -> None:
        """Until there is something to read at ``awake``. Raises: Disconnected."""
        with self._database.listening() as connection, selectors.DefaultSelector() as ready:
            ready.register(connection, selectors.EVENT_READ)
            ready.register(awake, selectors.EVENT_READ)
            hear(None, "")
            while True:
                ready.select()
                if self._stopped.is_set():
                    return
                for change in {
                    (each.channel, each.payload) for each in connection.notifies(timeout=0.0)
                }:
                    hear(*change)
                self._stopped.wait(_PAUSE)
