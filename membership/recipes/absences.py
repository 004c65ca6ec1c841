"""Who is missing, and since when: rules without a clock or a server. Times are seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from membership.model import EventKind, Member, MemberEvent


@dataclass(frozen=True, slots=True)
class Absence:
    """A life that ended, and when its grace is over."""

    name: str
    token: int
    due: float


class Absences:
    """The members that ``applies`` to, those of them that are gone, and for how much longer each
    may come back unharmed. A return ends an absence; another departure begins a whole new one."""

    def __init__(
        self,
        grace: float,
        applies: Callable[[Member], bool],
        present: Iterable[Member],
    ) -> None:
        self._grace = grace
        self._applies = applies
        self._present: dict[str, int] = {}
        self._seen: set[str] = set()
        """Every name that was there at some time: of these nothing needs to be recalled."""
        self._missing: dict[str, Absence] = {}
        self._went: dict[str, float] = {}
        """When those went who aren't back, the earliest first; acted upon or not."""
        for member in present:
            self._enter(member)

    def see(self, event: MemberEvent, now: float) -> None:
        """Take one event of the group in."""
        member = event.member
        if member is None:
            return
        if event.kind is not EventKind.LEFT:
            self._enter(member)
            return
        if self._present.get(member.name) == member.token:
            del self._present[member.name]
            self._lose(member.name, member.token, now)

    def recall(self, name: str, token: int, now: float) -> None:
        """The roster knows this life: if nothing was seen of it, it went while nobody looked."""
        if name not in self._seen:
            self._seen.add(name)
            self._lose(name, token, now)

    def _enter(self, member: Member) -> None:
        self._seen.add(member.name)
        self._missing.pop(member.name, None)
        self._went.pop(member.name, None)
        if self._applies(member):
            self._present[member.name] = member.token
        else:
            self._present.pop(member.name, None)

    def _lose(self, name: str, token: int, now: float) -> None:
        self._missing[name] = Absence(name, token, now + self._grace)
        self._went[name] = now

    def close(self, name: str, token: int) -> None:
        """That life's absence is being acted upon."""
        absence = self._missing.get(name)
        if absence is not None and absence.token == token:
            del self._missing[name]

    def due(self, now: float) -> list[Absence]:
        """Those whose grace is over, the longest absent first."""
        over = [absence for absence in self._missing.values() if absence.due <= now]
        return sorted(over, key=lambda absence: absence.due)

    def life(self, name: str) -> int | None:
        """The life of that name that is to be in the roster: present, or missing and not yet
        acted upon; None where there is none."""
        absence = self._missing.get(name)
        return self._present.get(name) if absence is None else absence.token

    def is_mass(self, now: float, share: float, window: float, at_least: int) -> bool:
        """Whether that share of them, and so many, went within the window and aren't back."""
        while self._went and now - next(iter(self._went.values())) > window:
            del self._went[next(iter(self._went))]
        went = len(self._went)
        return went >= at_least and went >= share * (went + len(self._present))

    def pardon(self) -> None:
        """Who went until now counts as part of a mass no more."""
        self._went.clear()
