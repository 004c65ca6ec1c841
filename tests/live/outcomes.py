"""What each fault must do on each backend, and why: written down before any run of it.

`docs/faults.md` shows this table (`python -m tests.live.outcomes` prints it), and
test_fault_outcomes.py holds real servers to it. Times are seconds, for T = 4 s, H = 1 s (`db-nova`
with poll: read, `db-tuned` with Q = 0.5 s) and S = 4 s, tick = 1 s, unless a row says otherwise. P
is the time between two pings, S/3 less 10 to 400 ms: 0.93 to 1.32 s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

NOVA, TUNED, ZK = "db-nova", "db-tuned", "zk"

H, T, Q = 1.0, 4.0, 0.5
S, TICK = 4.0, 1.0
P_LEAST, P_MOST = S / 3 - 0.4, S / 3 - 0.01

CRASH: Mapping[str, tuple[float, float]] = {
    NOVA: (T - H, T),
    TUNED: (T - H, T + 2 * Q),
    ZK: (S - P_MOST, S + TICK),
}
"""From the onset to the first observer's verdict, for one who just falls silent."""

Share = Literal["none", "few", "some", "all"]
"""few: none or some, but no more than a third: those of one server of three."""


@dataclass(frozen=True)
class Outcome:
    """What becomes of those whom a fault hits; nothing ever becomes of the others, unless said."""

    noticed: Share
    """How many of the victims are called dead."""
    within: tuple[float, float] | None = None
    """From the onset to the first observer's verdict, for each that is."""
    back: bool = False
    """Whether all victims are members in the end."""
    others: Share = "none"
    """How many of the live services that nothing happened to are called dead."""
    why: str = ""


@dataclass(frozen=True)
class Case:
    """One fault, and its outcome on each backend that it is run on."""

    name: str
    fault: Mapping[str, Any]
    """As a scenario has it, without its victims."""
    outcomes: Mapping[str, Outcome]


def _alike(
    noticed: Share,
    *,
    back: bool = False,
    why: str,
    within: Mapping[str, tuple[float, float]] = CRASH,
) -> dict[str, Outcome]:
    """The same on all backends, but for the closed form."""
    return {
        name: Outcome(noticed, within[name] if noticed == "all" else None, back=back, why=why)
        for name in (NOVA, TUNED, ZK)
    }


AT_ONCE = {NOVA: (0.0, H), TUNED: (0.0, Q), ZK: (0.0, TICK)}

ON_SERVICES = (
    Case(
        "crash",
        {"kind": "crash"},
        _alike("all", why="silence for T after the last beat, S after the last ping, rounded up"),
    ),
    Case(
        "power-loss",
        {"kind": "power-loss"},
        _alike("all", why="no server takes a closed connection for a death"),
    ),
    Case(
        "leave",
        {"kind": "leave"},
        _alike(
            "all",
            within=AT_ONCE,
            why="it is said; a nova reader finds the row gone when it next reads all, each H",
        ),
    ),
    Case(
        "freeze, shorter than forgiven",
        {"kind": "freeze", "for": "1500ms"},
        _alike("none", back=True, why="forgiven are T - H = 3 s and S - P = 2.7 s"),
    ),
    Case(
        "freeze, longer",
        {"kind": "freeze", "for": "8s"},
        _alike(
            "all", back=True, why="no beat and no ping, as after a crash; who goes on comes back"
        ),
    ),
    Case(
        "flap",
        {"kind": "flap", "for": "7s", "up": "6s", "times": 2},
        _alike("all", back=True, why="each stop is a freeze of its own"),
    ),
    Case(
        "restart, killed",
        {"kind": "restart", "for": "500ms"},
        {
            NOVA: Outcome(
                "all",
                (0.0, T),
                back=True,
                why="the new process beats the same row at once; its token tells the lives apart",
            ),
            TUNED: Outcome(
                "all",
                CRASH[TUNED],
                back=True,
                why="the name is refused until the dead life has expired",
            ),
            ZK: Outcome(
                "all",
                CRASH[ZK],
                back=True,
                why="the dead session's node is waited out, never adopted",
            ),
        },
    ),
    Case(
        "restart, in order",
        {"kind": "restart", "stop": "leave", "for": "2s"},
        _alike("all", back=True, within=AT_ONCE, why="a leave and a join"),
    ),
)

SKEWED = Outcome(
    "all",
    (0.0, T + H),
    back=True,
    why="a beat is stamped more than T away from the reader's clock",
)
UNSKEWED = "no two machines' wall clocks are compared"

CLOCKS = tuple(
    Case(
        f"skew, {words}",
        {"kind": "skew", "offset": offset, "for": "8s"},
        {
            NOVA: SKEWED,
            TUNED: Outcome("none", back=True, why=UNSKEWED),
            ZK: Outcome("none", back=True, why=UNSKEWED),
        },
    )
    for words, offset in (("back by 10 s", "-10s"), ("ahead by 10 s", "10s"))
)

ON_LINKS = (
    Case(
        "cut, both ways",
        {"kind": "cut", "direction": "both", "for": "14s"},
        _alike("all", back=True, why="silence, as after a crash; healed, they beat or join again"),
    ),
    Case(
        "cut, on the way out",
        {"kind": "cut", "direction": "out", "for": "14s"},
        _alike("all", back=True, why="no beat and no ping arrives"),
    ),
    Case(
        "cut, on the way in",
        {"kind": "cut", "direction": "in", "for": "14s"},
        {
            NOVA: Outcome(
                "all",
                (T - H, T + H),
                back=True,
                why="a beat takes several round trips: only one that was committing arrives",
            ),
            TUNED: Outcome(
                "all",
                (T - H, T + H + 2 * Q),
                back=True,
                why="one more beat on each connection arrives; no other follows it unanswered",
            ),
            ZK: Outcome(
                "all",
                (S - P_MOST, S + P_MOST + 2 * TICK),
                back=True,
                why="one more ping arrives; it isn't answered, and no new connection can be opened",
            ),
        },
    ),
    Case(
        "cut, shorter than forgiven",
        {"kind": "cut", "direction": "both", "for": "700ms"},
        _alike("none", back=True, why="TCP sends again what was lost, in time"),
    ),
    Case(
        "loss of 80%",
        {"kind": "loss", "direction": "both", "rate": "80%", "for": "14s"},
        _alike(
            "some",
            back=True,
            why="one round trip in 25 gets through; TCP waits longer each time",
        ),
    ),
    Case(
        "loss of 2%",
        {"kind": "loss", "direction": "both", "rate": "2%", "for": "14s"},
        _alike("none", back=True, why="TCP sends again within a fifth of a second"),
    ),
    Case(
        "delay of 100 ms",
        {"kind": "delay", "direction": "both", "delay": "100ms", "jitter": "20ms", "for": "14s"},
        _alike(
            "none",
            back=True,
            why="every beat and ping is late by the same, if the pool of connections is large "
            "enough: a nova beat keeps one for four round trips",
        ),
    ),
)


@dataclass(frozen=True)
class ServerCase:
    """What is done to the servers of one backend, and what becomes of the live services."""

    name: str
    fault: Mapping[str, Any]
    backend: str
    servers: int
    others: Share
    why: str


SESSION, SHORT_TICK = 6.0, 0.5
"""S and tick in the cases of servers, so that there is time to find another one."""
OUTAGE = "12s"
"""Longer than T, and than S rounded up."""

ON_SERVERS = (
    ServerCase(
        "database killed",
        {"kind": "kill", "servers": "any", "for": OUTAGE},
        NOVA,
        1,
        "some",
        "when it answers again all rows are older than T, until each service has beaten",
    ),
    ServerCase(
        "database killed",
        {"kind": "kill", "servers": "any", "for": OUTAGE},
        TUNED,
        1,
        "none",
        "time counts for a reader only while the database answers it",
    ),
    ServerCase(
        "database paused",
        {"kind": "pause", "servers": "any", "for": OUTAGE},
        NOVA,
        1,
        "some",
        "as when it is killed",
    ),
    ServerCase(
        "database paused",
        {"kind": "pause", "servers": "any", "for": OUTAGE},
        TUNED,
        1,
        "none",
        "as when it is killed",
    ),
    ServerCase(
        "only server killed",
        {"kind": "kill", "servers": "leader", "for": OUTAGE},
        ZK,
        1,
        "few",
        "it gives each session its whole timeout again when it starts, but for a moment it neither "
        "answers nor refuses who asks (ZOOKEEPER-5051), and who has no other waits S for it",
    ),
    ServerCase(
        "only server paused",
        {"kind": "pause", "servers": "leader", "for": OUTAGE},
        ZK,
        1,
        "some",
        "its clock went on: it expires sessions before it reads what arrived meanwhile",
    ),
    ServerCase(
        "leader killed",
        {"kind": "kill", "servers": "leader", "for": OUTAGE},
        ZK,
        3,
        "none",
        "the new leader gives every session its whole timeout again",
    ),
    ServerCase(
        "leader paused",
        {"kind": "pause", "servers": "leader", "for": OUTAGE},
        ZK,
        3,
        "none",
        "the followers elect another when they have heard nothing for syncLimit ticks",
    ),
    ServerCase(
        "follower killed",
        {"kind": "kill", "servers": "follower", "for": OUTAGE},
        ZK,
        3,
        "none",
        "its clients' connections end at once, and another server takes their sessions",
    ),
    ServerCase(
        "follower paused",
        {"kind": "pause", "servers": "follower", "for": OUTAGE},
        ZK,
        3,
        "few",
        "a client gives up 2 P after its last answered ping; a paused server's kernel still "
        "takes connections, and who tries it once more loses the S/3 that were left",
    ),
    ServerCase(
        "majority killed",
        {"kind": "kill", "servers": "majority", "for": OUTAGE},
        ZK,
        3,
        "none",
        "without a quorum nobody can be declared dead; views are stale",
    ),
    ServerCase(
        "follower cut off from the others",
        {"kind": "cut", "servers": "follower", "for": OUTAGE},
        ZK,
        3,
        "none",
        "it serves its clients for syncLimit = 5 ticks more, less than S; then they go elsewhere",
    ),
)


def table() -> str:
    """Markdown."""
    lines = [
        "| fault | backend | called dead | from the onset | others called dead | because |",
        "|---|---|---|---|---|---|",
    ]
    for case in (*ON_SERVICES, *CLOCKS, *ON_LINKS):
        for backend, out in case.outcomes.items():
            within = f"{out.within[0]:.2g} to {out.within[1]:.2g} s" if out.within else ""
            back = (
                f"{out.noticed}, then back" if out.back and out.noticed != "none" else out.noticed
            )
            lines.append(
                f"| {case.name} | {backend} | {back} | {within} | {out.others} | {out.why} |"
            )
    for each in ON_SERVERS:
        where = f"{each.backend}, {each.servers} server{'s' * (each.servers > 1)}"
        lines.append(f"| {each.name} | {where} | | | {each.others} | {each.why} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")  # noqa: T201
