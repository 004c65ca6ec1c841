"""Leaders among members: one, or N active of M.

Each seat is two cells. The *seat* names its holder; its version is the leadership's token, minted
as the seat is taken. The *renewal* is written by the holder, a committed write each time, and by
nobody else. Both writes are conditional on the other cell, in one atomic step:

* a holder renews only while the seat's version is still its token;
* a candidate takes a held seat only while the renewal is still at the version that it has itself
  seen unchanged for a whole lease.

A holder trusts itself until ``sent + lease``, less the drift, of its last answered renewal. The
candidate began to count when that renewal had been committed, so no two local deadlines of one
seat are ever unexpired at once, whatever the network, the servers' clocks or a pause do.

Candidates watch the seats, so that a seat that is given up is taken without waiting for the next
look. Safety doesn't rest on it: what a watch says is only ever a version to write against.
"""

from __future__ import annotations

import json
import logging
import math
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from membership.api import Cell, CellWatch, Closable, Fence, Membership, Registration
from membership.config import DRIFT
from membership.errors import Closed, Conflict, Disconnected, InvalidValue
from membership.liveness import lease_deadline
from membership.model import CellState

RENEWALS = 3
"""Renewals to a lease."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seat:
    """Who holds a seat, as recorded; ``name`` None: nobody."""

    number: int
    name: str | None
    member_token: int | None
    """The incarnation of the member that took it."""
    token: int
    """The leadership's; larger for each one that follows."""


class Leadership:
    """One tenure of a seat. ``token`` fences: what it guards refuses a smaller one."""

    def __init__(
        self,
        seat: Seat,
        fence: Fence,
        registration: Registration,
        deadline: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seat = seat
        self.token = seat.token
        self.fence = fence
        """Makes any cell's write conditional on this tenure, atomically."""
        self._registration = registration
        self._clock = clock
        self._changing = threading.Lock()
        self._deadline = deadline

    @property
    def is_leader(self) -> bool:
        """Whether the tenure may still be believed in, decided without asking anybody.

        False from the local deadline of the last committed renewal on, and as soon as the
        member that took the seat is none, or in another life. Once false, false for good.
        """
        with self._changing:
            if self._clock() >= self._deadline:
                return False
            member = self._registration
            if member.is_member and member.token == self.seat.member_token:
                return True
            self._deadline = -math.inf
            return False

    def extend(self, deadline: float) -> None:
        """A renewal was committed; a tenure that is over stays so."""
        with self._changing:
            if self._clock() < self._deadline:
                self._deadline = deadline

    def end(self) -> None:
        """Believe in it no more."""
        with self._changing:
            self._deadline = -math.inf


class LeadershipSource(Protocol):
    """Whatever knows whether this process leads now; a `Candidacy` does."""

    @property
    def leadership(self) -> Leadership | None:
        """The present tenure, if it may still be believed in."""


Told = Callable[[Leadership], None]


class Election:
    """``seats`` leaders among the candidates of that name.

    ``lease``: seconds after its last committed renewal until a dead leader's seat is free; a
    third of it is the period of renewals, each one write, and of each candidate's look at the
    seats, one read a seat; it follows each seat besides. Every candidate of one name has to be
    given the same two.

    Raises: InvalidValue.
    """

    def __init__(
        self,
        membership: Membership,
        name: str,
        *,
        seats: int = 1,
        lease: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if seats < 1 or not lease > 0:
            raise InvalidValue(f"{seats} seats for {lease} s each: both have to be more than 0")
        self.name = name
        self.lease = lease
        self.clock = clock
        self.cells = [SeatCells(membership, name, number) for number in range(seats)]

    def run(
        self,
        registration: Registration,
        *,
        on_elected: Told = lambda _: None,
        on_deposed: Told = lambda _: None,
    ) -> Candidacy:
        """Stand for election, as that member, until the candidacy is closed.

        Callbacks run on the candidacy's own thread, which also renews: they have to be quick.
        ``on_elected`` comes when a seat was taken, ``on_deposed`` once for it when the tenure is
        over, for whatever reason, and before the seat is given up. Between the two, ask
        `Leadership.is_leader` before each act, and hand its token along with the act.
        """
        return Candidacy(self, registration, on_elected, on_deposed)

    def holders(self) -> tuple[Seat, ...]:
        """Every seat as it is recorded now; a dead holder is recorded until it is replaced.

        Raises: Disconnected.
        """
        return tuple(cells.read() for cells in self.cells)


class SeatCells:
    """Where a seat is kept."""

    def __init__(self, membership: Membership, election: str, number: int) -> None:
        self.number = number
        self.holder: Cell = membership.cell(f"election/{election}/{number}")
        self.renewal: Cell = membership.cell(f"election/{election}/{number}/renewal")

    def read(self) -> Seat:
        state = self.holder.get()
        if not state.value:
            return Seat(self.number, None, None, state.version)
        name, member_token = json.loads(state.value)
        return Seat(self.number, name, member_token, state.version)


class Candidacy(Closable):
    """One member's standing for election; it stands down at its end."""

    def __init__(
        self, election: Election, registration: Registration, on_elected: Told, on_deposed: Told
    ) -> None:
        self._lease = election.lease
        self._clock = election.clock
        # in an order of its own, so that not all try the same seat first
        self._seats = [
            _Watched(cells) for cells in random.sample(election.cells, len(election.cells))
        ]
        self._registration = registration
        self._on_elected = on_elected
        self._on_deposed = on_deposed
        self._tenure: _Tenure | None = None
        self._given_up: tuple[SeatCells, int] | None = None
        """The seat that this candidacy gave up last, and the version of it: others go first."""
        self._woken = threading.Event()
        self._closed = False
        self._thread = threading.Thread(
            target=self._stand, name=f"membership-election-{election.name}", daemon=True
        )
        self._thread.start()

    @property
    def leadership(self) -> Leadership | None:
        """The present tenure, if it may still be believed in."""
        tenure = self._tenure
        return tenure.leadership if tenure and tenure.leadership.is_leader else None

    def stand_down(self) -> None:
        """Give the seat up, if one is held, and stay a candidate. The tenure is over at once; the
        seat is free as soon as the servers know, else after the lease. Others go first."""
        tenure = self._tenure
        if tenure is not None:
            tenure.leadership.end()
            self._woken.set()

    def close(self) -> None:
        """Stand no more; a held seat is free at once. Never raises for silent servers: it waits for
        the call that is under way and the handover's, each of which is bounded."""
        self._closed = True
        self.stand_down()
        self._woken.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    # --- on the candidacy's thread

    def _stand(self) -> None:
        while not self._closed:
            begun = self._clock()
            with suppress(Disconnected):  # the deadline and the next look take care of it
                self._look()
            self._rest(self._pause() - (self._clock() - begun))
        if self._tenure is not None:
            self._tenure.leadership.end()
            with suppress(Disconnected, Closed):
                self._depose(self._tenure)
        for seat in self._seats:
            seat.close()

    def _pause(self) -> float:
        """Until the next look; shifted a little, so that candidates don't all look at once."""
        period = self._lease / RENEWALS
        pause = period * random.uniform(0.8, 1.0)  # noqa: S311
        if self._tenure is None:
            expiry = min(seat.since for seat in self._seats) + self._lease
            pause = min(pause, max(expiry - self._clock(), period / 10))
        return pause

    def _rest(self, pause: float) -> None:
        """Wait for the next look; who leads also for standing down, a candidate for a seat that
        somebody else gives up."""
        end = time.monotonic() + pause
        while not self._closed and self._woken.wait(max(0.0, end - time.monotonic())):
            self._woken.clear()
            if self._tenure is None:
                for seat in self._seats:
                    seat.take_in()
                if any(self._is_free(seat) for seat in self._seats):
                    return
            elif not self._tenure.leadership.is_leader:
                return
        self._given_up = None  # the others have had their time

    def _is_free(self, seat: _Watched) -> bool:
        """Whether nobody holds it, as far as is known, and it is this candidate's turn."""
        return not seat.state.value and self._given_up != (seat.cells, seat.state.version)

    def _look(self) -> None:
        try:
            if self._tenure is None:
                self._try_seats()
            elif self._tenure.leadership.is_leader:
                self._renew(self._tenure)
            if self._tenure is not None and not self._tenure.leadership.is_leader:
                self._depose(self._tenure)
        except Closed:
            self._closed = True

    def _renew(self, tenure: _Tenure) -> None:
        seat, leadership = tenure.seat, tenure.leadership
        version, tenure.renewed = tenure.renewed, None  # until the outcome is known
        if version is None:
            version = seat.renewal.get().version
        sent = self._clock()
        try:
            written = seat.renewal.compare_and_set(b"", version, leadership.fence)
        except Conflict:
            if seat.holder.get().version != leadership.token:
                leadership.end()
        else:
            tenure.renewed = written.version
            leadership.extend(lease_deadline(sent, self._lease, DRIFT))

    def _depose(self, tenure: _Tenure) -> None:
        self._tenure = None
        self._tell(self._on_deposed, tenure.leadership)
        seat, token = tenure.seat, tenure.leadership.token
        self._given_up = (seat, token + 1)
        with suppress(Conflict):  # somebody has taken it already
            seat.holder.compare_and_set(b"", token)

    def _try_seats(self) -> None:
        for seat in self._seats:
            seat.open(self._woken.set)
            seat.take_in()
        for seat in sorted(self._seats, key=self._is_free, reverse=True):
            if self._tenure is not None or self._closed or not self._registration.is_member:
                return
            if self._is_free(seat):
                self._take(seat)
            elif seat.state.value:
                renewal = seat.cells.renewal.get().version
                if seat.unchanged(renewal, self._clock()) >= self._lease:
                    self._take(seat, Fence(seat.cells.renewal.name, renewal))

    def _take(self, seat: _Watched, *unrenewed: Fence) -> None:
        registration, cells = self._registration, seat.cells
        life = registration.token
        sent = self._clock()
        try:
            taken = cells.holder.compare_and_set(
                json.dumps([registration.name, life]).encode(), seat.state.version, *unrenewed
            )
        except Conflict:
            return
        leadership = Leadership(
            Seat(cells.number, registration.name, life, taken.version),
            Fence(cells.holder.name, taken.version),
            registration,
            lease_deadline(sent, self._lease, DRIFT),
            self._clock,
        )
        for each in self._seats:
            each.since = math.inf
        self._tenure = _Tenure(cells, leadership)
        self._tell(self._on_elected, leadership)

    def _tell(self, told: Told, leadership: Leadership) -> None:
        try:
            told(leadership)
        except Exception:  # noqa: BLE001  whatever an application raises
            _log.exception("%s raised; the candidacy goes on", told)


class _Watched:
    """A seat as one candidacy knows it."""

    def __init__(self, cells: SeatCells) -> None:
        self.cells = cells
        self.state = CellState()
        """Of the seat; it changes in `open` and `take_in` alone."""
        self.since = math.inf
        """Since when it has been seen held, and not renewed."""
        self._seen = (0, 0)
        self._watch: CellWatch | None = None

    def open(self, woken: Callable[[], None]) -> None:
        """Watch it from now on. Raises: Disconnected."""
        if self._watch is None:
            self.state = self.cells.holder.get()
            self._watch = self.cells.holder.watch()
            self._watch.notify(woken)

    def take_in(self) -> None:
        """Bring `state` up to date with what has been told."""
        if self._watch is not None and (news := self._watch.next(0.0)) is not None:
            self.state = news

    def unchanged(self, renewal: int, now: float) -> float:
        """For how long this state has been seen at this renewal, in s."""
        seen = (self.state.version, renewal)
        if self.since == math.inf or seen != self._seen:
            self._seen, self.since = seen, now
        return now - self.since

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()


@dataclass(slots=True)
class _Tenure:
    seat: SeatCells
    leadership: Leadership
    renewed: int | None = None
    """The renewal's version; None where it has to be read first."""
