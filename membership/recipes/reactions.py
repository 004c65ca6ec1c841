"""Actions on failure, such as an evacuation, by the elected leader.

A member's departure starts a grace period; its return within it cancels. After it the leader
*claims* the failure: one write that holds only under its leadership and while nobody of that name
is a member, checked in one atomic step. Then the action runs, then the claim is removed. Who was
a member when nobody led is known from a *roster* that the leader keeps in cells, so the next one
misses whoever went meanwhile, and takes up every claim that the last one left.

Promised, for every life that the roster had:

* its failure is acted upon at least once, in spite of the executor's death, if the name doesn't
  come back within the grace; a new leader starts the grace anew;
* each leadership claims it once, and claims nothing for a member that is back;
* claims hold while the brake is on, and come no faster than the rate.

Not promised: that an action runs once. A leader may die between its end and the claim's removal,
or be stopped amid it while its successor takes it up: the action fences with the leadership's
token, and can be repeated. A life that begins and ends within a few ticks of the leader's death
may never have reached the roster. Nobody can tell a departure by `leave` from a death: a member
that is to go unnoticed first updates its metadata so that ``applies`` says no. The rate is counted
by each leader for itself.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from membership.api import Absent, Closable, Membership, Watch
from membership.errors import Conflict, Disconnected, InvalidValue
from membership.model import Freshness, Member
from membership.recipes.absences import Absences
from membership.recipes.brake import Brake, BrakeCell, Braking
from membership.recipes.duty import Duty
from membership.recipes.election import Leadership, LeadershipSource
from membership.recipes.roster import Bucket, Claim, Roster

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Failure:
    """What an action is told."""

    group: str
    name: str
    token: int
    """The life that ended."""
    leadership: Leadership
    """Under which it was claimed: hand its token along to whatever can refuse an older one."""


@dataclass(frozen=True, slots=True)
class Rate:
    """At most so many actions are begun within so many seconds."""

    actions: int = 10
    per: float = 60.0

    def __post_init__(self) -> None:
        if self.actions < 1 or not self.per > 0:
            raise InvalidValue(f"{self.actions} actions in {self.per} s: both have to exceed 0")


class Reactions:
    """Run ``action`` for each member of ``group`` that fails; ``name`` is the reaction's own.

    ``applies`` says whether a member is to be missed at all; it sees each new metadata, and has
    to answer the same everywhere. ``grace`` and ``retry`` are seconds: the latter until an action
    that raised is run again, under the same claim. At most ``parallel`` run at a time, each on a
    thread of its own. ``tick``: seconds between two looks, and of delay in the roster; a look
    writes one cell for each of the roster's 64 that changed. They hold about 80,000 members with
    names of 30 characters. ``brake`` None: nothing but the rate holds claims back.
    """

    def __init__(
        self,
        membership: Membership,
        group: str,
        name: str,
        action: Callable[[Failure], object],
        *,
        applies: Callable[[Member], bool] = lambda _: True,
        grace: float = 30.0,
        rate: Rate = Rate(),
        brake: Brake | None = Brake(),  # noqa: B008  frozen
        retry: float = 30.0,
        parallel: int = 4,
        tick: float = 0.5,
    ) -> None:
        self.membership = membership
        self.group = group
        self.name = name
        self.action = action
        self.applies = applies
        self.grace = grace
        self.rate = rate
        self.brake = brake
        self.retry = retry
        self.parallel = parallel
        self.tick = tick
        self.prefix = f"reaction/{group}/{name}"
        self._held = BrakeCell(membership.cell(f"{self.prefix}/brake"))

    def run(self, source: LeadershipSource) -> Executor:
        """Act whenever that source, a `Candidacy` for one, says that this process leads."""
        return Executor(self, source)

    def held(self) -> bool:
        """Whether the brake holds new claims back. Raises: Disconnected."""
        return self._held.read()

    def release(self) -> None:
        """Let go of the brake: what is due is claimed from now on. A new leader judges anew, by
        what it finds gone. Raises: Disconnected."""
        while self._held.read():
            try:
                self._held.write(on=False)
            except Conflict:
                continue


class Executor(Closable):
    """A process's readiness to act.

    `close` waits for the actions that run; the next leader takes up what isn't marked as done.
    Who closes it should stand down, too: nobody else acts while this process leads.
    """

    def __init__(self, reactions: Reactions, source: LeadershipSource) -> None:
        self._reactions = reactions
        self._pool = ThreadPoolExecutor(reactions.parallel, f"membership-{reactions.name}")
        self._duty = Duty(f"reactions-{reactions.name}", source, self._work)
        self._duty.start()

    def close(self) -> None:
        self._duty.close()
        self._pool.shutdown(cancel_futures=True)

    def _work(self, leadership: Leadership) -> None:
        reactions = self._reactions
        with reactions.membership.watch(reactions.group) as watch:
            tenure = _Tenure(reactions, leadership, watch, self._duty, self._pool)
            while self._duty.lasts(leadership):
                tenure.listen()
                try:
                    tenure.turn()
                except (Conflict, Disconnected) as error:
                    # what was written is read again at the next turn
                    _log.debug("reactions %s: %s", reactions.name, error)


@dataclass(frozen=True, slots=True)
class _Run:
    token: int
    future: Future[object]


class _Tenure:
    """One leadership's work. Only the duty's thread touches it."""

    def __init__(
        self,
        reactions: Reactions,
        leadership: Leadership,
        watch: Watch,
        duty: Duty,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._of = reactions
        self._leadership = leadership
        self._watch = watch
        self._duty = duty
        self._pool = pool
        view = watch.view
        self._since = view.version
        """Events until then are in the view already."""
        self._absences = Absences(reactions.grace, reactions.applies, view)
        self._roster = Roster(reactions.membership, reactions.prefix)
        self._changed: dict[Bucket, set[str]] = {}
        """Whose roster entries may be out of date."""
        for name in view.members:
            self._touch(name)
        self._running: dict[str, _Run] = {}
        self._done: dict[str, int] = {}
        """Lives whose action has ended; their claims are to be removed."""
        self._again: dict[str, float] = {}
        """When to run an action again that raised."""
        self._begun: deque[float] = deque()
        self._braking = Braking(
            reactions.name,
            reactions.brake,
            BrakeCell(reactions.membership.cell(f"{reactions.prefix}/brake")),
            self._absences,
            leadership.fence,
        )

    def _touch(self, name: str) -> None:
        self._changed.setdefault(self._roster.bucket(name), set()).add(name)

    def listen(self) -> None:
        """Take in what happens until the next turn is due."""
        end = time.monotonic() + self._of.tick
        while (left := end - time.monotonic()) > 0:
            event = self._watch.next(left)
            if event is None:
                self._duty.wait(end - time.monotonic())  # only where the watch was closed
                return
            if event.member is not None and event.version > self._since:
                self._absences.see(event, time.monotonic())
                self._touch(event.member.name)

    def turn(self) -> None:
        """Bring roster, claims and actions up to date. Raises: Conflict, Disconnected."""
        self._read()
        view = self._watch.view
        held = self._braking.judge(view, time.monotonic())
        self._harvest(time.monotonic())
        self._write()
        self._take_up()
        if view.freshness is Freshness.FRESH and not held:
            self._claim()

    def _read(self) -> None:
        now = time.monotonic()
        for bucket in self._roster:
            if bucket.stale:
                bucket.read()
                for name, token in bucket.alive.items():
                    self._absences.recall(name, token, now)
                for name, claim in bucket.claimed.items():
                    self._absences.close(name, claim.token)

    def _harvest(self, now: float) -> None:
        """See which actions have ended."""
        for name, run in list(self._running.items()):
            if run.future.done():
                del self._running[name]
                if (error := run.future.exception()) is None:
                    self._done[name] = run.token
                else:
                    self._again[name] = now + self._of.retry
                    _log.error("%s: acting on %r raised", self._of.name, name, exc_info=error)

    def _write(self) -> None:
        """Write what has changed, one write a bucket."""
        for name in self._done:
            self._touch(name)
        for bucket, names in list(self._changed.items()):
            alive = dict(bucket.alive)
            claimed = dict(bucket.claimed)
            for name in names:
                if (token := self._absences.life(name)) is None:
                    alive.pop(name, None)
                else:
                    alive[name] = token
                if name in claimed and claimed[name].token == self._done.get(name):
                    del claimed[name]
            if (alive, claimed) != (bucket.alive, bucket.claimed):
                self._check()
                bucket.write(alive, claimed, self._leadership.fence)
            del self._changed[bucket]
            for name in names:
                self._done.pop(name, None)

    def _take_up(self) -> None:
        """Run what is claimed and isn't running: the last leader's, what raised, and a claim
        whose outcome was unknown."""
        now = time.monotonic()
        for bucket in self._roster:
            for name, claim in list(bucket.claimed.items()):
                if name in self._running or name in self._done:
                    continue
                if self._again.get(name, now) > now or not self._room(now):
                    continue
                self._check()
                if claim.leadership != self._leadership.token:
                    ours = Claim(claim.token, self._leadership.token)
                    bucket.write(
                        bucket.alive, {**bucket.claimed, name: ours}, self._leadership.fence
                    )
                self._run(name, claim.token, now)

    def _claim(self) -> None:
        """Claim the failures whose grace is over."""
        now = time.monotonic()
        for absence in self._absences.due(now):
            bucket = self._roster.bucket(absence.name)
            if not self._room(now):
                return
            if bucket.stale or absence.name in bucket.claimed:
                continue
            self._check()
            alive = {name: token for name, token in bucket.alive.items() if name != absence.name}
            claimed = {**bucket.claimed}
            claimed[absence.name] = Claim(absence.token, self._leadership.token)
            absent = Absent(self._of.group, absence.name)
            try:
                bucket.write(alive, claimed, self._leadership.fence, absent)
            except Conflict:
                continue  # it is back, which the watch will say
            self._absences.close(absence.name, absence.token)
            self._run(absence.name, absence.token, now)

    def _room(self, now: float) -> bool:
        while self._begun and now - self._begun[0] >= self._of.rate.per:
            self._begun.popleft()
        return len(self._begun) < self._of.rate.actions and len(self._running) < self._of.parallel

    def _run(self, name: str, token: int, now: float) -> None:
        self._begun.append(now)
        self._again.pop(name, None)
        failure = Failure(self._of.group, name, token, self._leadership)
        self._running[name] = _Run(token, self._pool.submit(self._of.action, failure))

    def _check(self) -> None:
        """Before each act; it saves what the fence would refuse. Raises: Conflict."""
        if not self._duty.lasts(self._leadership):
            raise Conflict("this process leads no more")
