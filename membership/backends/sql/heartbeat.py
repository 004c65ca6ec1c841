"""The thread that beats for every registration of one connection, on a schedule of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from membership.api import Meter
from membership.backends.sql.profile import Life, Profile
from membership.backends.sql.registration import SqlRegistration
from membership.errors import Disconnected

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
"""Between two attempts while the database doesn't answer, doubled up to the longest (s)."""


_logger = logging.getLogger("membership.sql")


class Heartbeat:
    """Beats each registration at a fixed cadence; a beat that goes out late shifts no other.

    Where the profile has batches, those that are due within a fiftieth of the interval share one
    statement. Starts its thread with the first registration.
    """

    def __init__(
        self,
        profile: Profile,
        interval: float,
        meter: Meter,
        on_lost: Callable[[SqlRegistration], None],
    ) -> None:
        self._profile = profile
        self._interval = interval
        self._window = interval / 50 if profile.batches else 0.0
        self._meter = meter
        self._on_lost = on_lost
        self._changed = threading.Condition()
        self._due: dict[SqlRegistration, float] = {}
        self._stopped = False
        self._thread: threading.Thread | None = None

    def add(self, registration: SqlRegistration) -> None:
        """Beat for it from now on."""
        with self._changed:
            if self._stopped:
                return
            self._due[registration] = time.monotonic() + self._profile.first_beat()
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="membership-heartbeat", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def remove(self, registration: SqlRegistration) -> None:
        """Beat no more for it; a beat that is on its way may still arrive."""
        with self._changed:
            self._due.pop(registration, None)

    def stop(self, timeout: float) -> None:
        """End the thread; wait for it that long."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        pause = 0.0
        while (lives := self._next(pause)) is not None:
            if lives and self._beat(lives):
                pause = 0.0
            elif lives:
                pause = min(max(_FIRST_PAUSE, 2 * pause), _LONGEST_PAUSE, self._interval)

    def _next(self, pause: float) -> dict[SqlRegistration, Life] | None:
        """Wait until somebody is due; None at the end."""
        with self._changed:
            if pause:
                self._changed.wait_for(lambda: self._stopped, pause)
            while not self._stopped:
                now = time.monotonic()
                first = min(self._due.values(), default=None)
                if first is None or first > now:
                    self._changed.wait(None if first is None else first - now)
                    continue
                return {each: each.life for each in self._together(now)}
            return None

    def _together(self, now: float) -> list[SqlRegistration]:
        if not self._profile.batches:
            return [min(self._due, key=self._due.__getitem__)]
        return [each for each, due in self._due.items() if due <= now + self._window]

    def _beat(self, lives: dict[SqlRegistration, Life]) -> bool:
        """Whether the database answered."""
        with self._changed:
            first = min((self._due[each] for each in lives if each in self._due), default=None)
        sent = time.monotonic()
        try:
            over = self._profile.beat(list(lives.values()))
        except Disconnected:
            return False
        except Exception:  # such as the caller's wall clock: the thread must outlive it
            _logger.exception("a beat failed")
            return False
        answered = time.monotonic()
        self._meter("renewal_seconds", answered - sent)
        if first is not None:
            self._meter("renewal_late_seconds", max(0.0, sent - first))
        with self._changed:
            for each in lives:
                if each in self._due:
                    self._due[each] = self._after(self._due[each], answered)
        for each, life in lives.items():
            if life in over:
                if each.end(life):
                    self._on_lost(each)
                elif each.left:
                    self.remove(each)
            else:
                each.renewed(life, sent)
        return True

    def _after(self, due: float, now: float) -> float:
        """The next instant of the cadence; those that have passed are skipped."""
        missed = max(0, int((now - due) // self._interval))
        return due + (missed + 1) * self._interval
