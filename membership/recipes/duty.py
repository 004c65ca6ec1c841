"""What the leader alone does: begun with each tenure, over with it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from membership.api import Closable
from membership.errors import Closed, MembershipError
from membership.recipes.election import Leadership, LeadershipSource

_log = logging.getLogger(__name__)

_IDLE = 0.05
"""Seconds between two questions whether this process leads: they cost no call to the servers."""

_RECOVERY = 0.5
"""Seconds until work that failed is begun anew."""


class Duty(Closable):
    """A thread that does ``work(leadership)`` whenever this process leads.

    The work asks `lasts` before each act and returns when that is over. If it raises while the
    tenure lasts it is begun anew; it finds everything it needs at the servers.
    """

    def __init__(
        self, name: str, source: LeadershipSource, work: Callable[[Leadership], None]
    ) -> None:
        self._name = name
        self._source = source
        self._work = work
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, name=f"membership-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def lasts(self, leadership: Leadership) -> bool:
        """Whether the work is still this thread's to do."""
        return not self._closed.is_set() and leadership.is_leader

    def wait(self, seconds: float) -> None:
        """Sleep, but not past `close`."""
        self._closed.wait(seconds)

    def close(self) -> None:
        """Do it no more, and wait for the act that is under way. The seat is left as it is."""
        self._closed.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _serve(self) -> None:
        while not self._closed.wait(_IDLE):
            leadership = self._source.leadership
            if leadership is None:
                continue
            try:
                self._work(leadership)
            except Closed:
                return
            except MembershipError as error:
                if self.lasts(leadership):
                    _log.warning("%s: %s; it begins anew", self._name, error)
                    self._closed.wait(_RECOVERY)
            except Exception:  # noqa: BLE001  whatever an application's part raises
                _log.exception("%s failed; it begins anew", self._name)
                self._closed.wait(_RECOVERY)
