"""One membership of ours on SQL, and the thread that mends those with which something is amiss."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Protocol

from membership.api import Callback, Registration
from membership.backends.sql.profile import Claim, Life, Profile
from membership.encoding import encode_metadata, freeze_metadata
from membership.errors import Disconnected, MembershipError, NameTaken, NotAMember
from membership.liveness import lease_deadline
from membership.model import Metadata

_logger = logging.getLogger("membership.sql")


class Owner(Protocol):
    """What a registration needs of its connection."""

    profile: Profile
    timeout: float
    drift: float
    metadata_bytes: int

    def check_open(self) -> None:
        """Raises: Closed."""

    def lost(self, registration: SqlRegistration) -> None:
        """Its life is over: bring it back."""

    def untold(self, registration: SqlRegistration) -> None:
        """The database may not have heard of its metadata: tell it."""

    def left(self, registration: SqlRegistration) -> None:
        """It is over for good: forget it."""


class SqlRegistration(Registration):
    """See `membership.api.Registration`."""

    def __init__(
        self,
        owner: Owner,
        life: Life,
        sent: float,
        metadata: Metadata,
        on_lost: Callback | None,
        on_rejoined: Callback | None,
    ) -> None:
        self.group = life.group
        self.name = life.name
        self.life = life
        self.on_lost = on_lost
        self.on_rejoined = on_rejoined
        self._owner = owner
        self._metadata = metadata
        self._written = True
        self._changing = threading.Lock()
        """Held while the database is told of a change, so that changes arrive in order."""
        self._state = threading.Lock()
        self._standing = True
        self._left = False
        self._sent = sent

    @property
    def token(self) -> int:
        return self.life.token

    @property
    def metadata(self) -> Metadata:
        return self._metadata

    @property
    def is_member(self) -> bool:
        with self._state:
            deadline = lease_deadline(self._sent, self._owner.timeout, self._owner.drift)
            return self._standing and not self._left and time.monotonic() < deadline

    def update(self, metadata: Metadata) -> None:
        encode_metadata(metadata, self._owner.metadata_bytes)
        with self._changing:
            if self.left:
                raise NotAMember(f"{self.name!r} has left {self.group!r}")
            self._owner.check_open()
            frozen = freeze_metadata(metadata)
            if frozen == self._metadata and self._written:
                return
            self._metadata = frozen
            if not self.standing:
                return  # the next life joins with it
            self._written = False
            try:
                self._write()
            except Disconnected:
                self._owner.untold(self)
                raise

    def _write(self) -> None:
        """`_changing` is held. Raises: Disconnected."""
        life = self.life
        if self._owner.profile.update(life, encode_metadata(self._metadata).decode()):
            self._written = True
        elif self.end(life):
            self._owner.lost(self)

    def leave(self) -> None:
        with self._changing:
            if self.left:
                return
            self._owner.check_open()
            self.retire()
            self._owner.left(self)
            if self.standing:
                self._owner.profile.leave([self.life])

    # --- the connection's side

    def retire(self) -> bool:
        """Be over here, without a word to the database; False if it was so before."""
        with self._state:
            was, self._left = self._left, True
            return not was

    def renewed(self, life: Life, sent: float) -> None:
        """A beat of this life, sent then, was answered."""
        with self._state:
            if life == self.life:
                self._sent = max(self._sent, sent)

    def end(self, life: Life) -> bool:
        """This life is over; False where that is no news."""
        with self._state:
            news = self._standing and not self._left and life == self.life
            if news:
                self._standing = False
            return news

    @property
    def left(self) -> bool:
        """Whether it is over for good."""
        with self._state:
            return self._left

    @property
    def standing(self) -> bool:
        """Whether its last life isn't known to be over; it may have been left."""
        with self._state:
            return self._standing

    @property
    def lost(self) -> bool:
        """Whether it waits for another life."""
        with self._state:
            return not self._standing and not self._left

    @property
    def amiss(self) -> bool:
        """Whether the database has yet to hear of something: a new life, or metadata."""
        with self._state:
            return not self._left and not (self._standing and self._written)

    def tell(self) -> None:
        """Write the metadata that the database may not have heard of. Raises: Disconnected."""
        with self._changing:
            if not self._written and self.standing and not self.left:
                self._write()

    def rejoin(self, claim: Claim) -> bool:
        """Try for another life; whether it stands. Raises: NameTaken, Disconnected."""
        with self._changing:
            if not self.lost:
                return False
            sent = time.monotonic()
            life = claim.attempt(encode_metadata(self._metadata).decode())
            if life is None:
                return False
            with self._state:
                self.life, self._sent, self._standing, self._written = life, sent, True, True
            return True


class Healer:
    """Brings back lost registrations, calls their callbacks, and tells the database of metadata
    that it may not have heard of; one after the other.

    Its thread exists only while there is something to do: it must hold up no heartbeat.
    """

    def __init__(
        self, profile: Profile, pause: float, on_rejoined: Callable[[SqlRegistration], None]
    ) -> None:
        self._profile = profile
        self._pause = pause
        self._on_rejoined = on_rejoined
        self._lock = threading.Lock()
        self._amiss: dict[SqlRegistration, Claim | None] = {}
        """With the endeavour to bring it back, once that has begun."""
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, registration: SqlRegistration) -> None:
        with self._lock:
            if self._stopped.is_set():
                return
            self._amiss.setdefault(registration)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="membership-healer", daemon=True
                )
                self._thread.start()

    def stop(self, timeout: float) -> None:
        """End the thread; wait for it that long, unless it is the caller's own."""
        with self._lock:
            self._stopped.set()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._lock:
                amiss = list(self._amiss.items())
                if not amiss or self._stopped.is_set():
                    self._thread = None
                    return
            for registration, claim in amiss:
                if not self._stopped.is_set():
                    self._heal(registration, claim)
            self._stopped.wait(self._pause * random.uniform(0.8, 1.2))  # noqa: S311  no secret

    def _heal(self, registration: SqlRegistration, claim: Claim | None) -> None:
        rejoined = False
        try:
            if not registration.lost:
                registration.tell()
            else:
                if claim is None:
                    claim = self._profile.claim(registration.group, registration.name)
                    _call(registration.on_lost, registration)
                if rejoined := registration.rejoin(claim):
                    claim = None
        except NameTaken:
            claim = self._profile.claim(registration.group, registration.name)
        except MembershipError as error:  # waiting may mend it, and rights that were taken away too
            _logger.debug("%r in %r: %s", registration.name, registration.group, error)
        with self._lock:
            if registration.amiss:
                self._amiss[registration] = claim
            else:
                self._amiss.pop(registration, None)
        if rejoined:
            self._on_rejoined(registration)
            _call(registration.on_rejoined, registration)


def _call(callback: Callback | None, registration: SqlRegistration) -> None:
    if callback is not None:
        try:
            callback(registration)
        except Exception:  # the caller's: it must not end the healing of others
            _logger.exception("a callback of %r failed", registration.name)
