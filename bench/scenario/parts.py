"""The parts of a scenario: backends, services and bounds. Frozen; seconds as float.

The descriptions here are what an editor shows by way of `heartbench schema`, so each states the
unit and what the setting costs. What is done to the services is in `faults.py` and `phases.py`,
what concerns several parts at once in `rules.py`.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, PlainValidator, WithJsonSchema

from bench.scenario.quantities import (
    LONGEST,
    SECONDS,
    Count,
    CountOrNone,
    Few,
    Fraction,
    Name,
    Number,
    Positive,
    Rate,
    Switch,
    Text,
    WrongValue,
    duration,
    pattern,
    positive,
    shown,
)
from bench.scenario.strict import Problem, Strict

Client = Literal["wire", "library", "any"]
MOST_WARM_UP = 100_000


def _poll(value: object) -> float | Literal["read"]:
    if value == "read":
        return "read"
    if isinstance(value, str) and value.isalpha():
        raise WrongValue(f"{shown(value)} is not a way to poll (a duration such as 1s, or read)")
    return positive(duration(value))


Poll = Annotated[
    float | Literal["read"],
    PlainValidator(_poll),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": "read"},
                {"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST},
                {"type": "string", "pattern": pattern(SECONDS)},
            ]
        }
    ),
]


class SqlBackend(Strict):
    """Heartbeat rows in PostgreSQL: each service updates its own row, readers look at its age."""

    kind: Literal["sql"] = Field(description="Heartbeat rows in a SQL database.")
    profile: Literal["nova", "tuned"] = Field(
        description="nova: select then update in one transaction, stamped by a Python clock, as "
        "OpenStack Nova does it. tuned: one statement a beat on the database's clock."
    )
    interval: Positive = Field(
        description="Seconds between two beats of one service. Half of it costs twice the updates."
    )
    timeout: Positive = Field(
        description="Seconds without a beat until a service counts as down; longer than interval. "
        "Longer ones detect later and forgive longer stalls (timeout - interval is forgiven)."
    )
    poll: Poll = Field(
        description="Seconds between two reads of all rows by an observer, or `read`: each row is "
        "read again at its own expiry. Shorter polls detect sooner and cost one full read each."
    )
    stamp: Literal["service", "conductor"] = Field(
        default="service",
        description="Whose Python clock stamps a beat (nova only): the service's own, or that of "
        "the conductor that runs the database calls for all of them.",
    )
    synchronous_commit: Switch = Field(
        default=True,
        description="Whether a beat waits until it is durable on disk. false costs far less and "
        "may lose the last beats when the server crashes. Joins are durable always.",
    )
    connections: Few = Field(
        default=16,
        description="Database connections that the wire services share. Each costs a server "
        "process of about 10 MB; too few make beats late.",
    )
    image: Text | None = Field(
        default=None, description="Container image of the server, where containers are used."
    )

    def impossible(self) -> Iterator[Problem]:
        if self.timeout <= self.interval:
            yield Problem(
                ("timeout",),
                f"timeout {self.timeout:g}s is no longer than interval {self.interval:g}s "
                f"(every live service would be called down; more than {self.interval:g}s)",
            )
        if self.profile == "tuned" and self.stamp == "conductor":
            yield Problem(
                ("stamp",),
                "profile tuned takes the database's clock (stamp belongs to profile nova)",
            )


class ZooKeeperBackend(Strict):
    """Ephemeral znodes in ZooKeeper: a service is down when its session has expired."""

    kind: Literal["zookeeper"] = Field(description="Ephemeral znodes in ZooKeeper.")
    servers: Few = Field(
        default=1,
        description="Servers in the ensemble, an odd number. Three survive the loss of one and "
        "cost about 1 GB each and a round trip a join.",
    )
    session_timeout: Positive = Field(
        description="Seconds without a ping until a session expires, from 2 to 20 ticks. Shorter "
        "ones detect sooner, cost more pings (three a timeout) and forgive shorter stalls."
    )
    tick: Positive = Field(
        default=2.0,
        description="Seconds of a server tick. Expiry is rounded up to whole ticks, so a longer "
        "tick detects up to one tick later.",
    )
    min_session_timeout: Positive | None = Field(
        default=None, description="Seconds; the least that the server grants. 2 ticks unless given."
    )
    max_session_timeout: Positive | None = Field(
        default=None, description="Seconds; the most that the server grants. 20 ticks unless given."
    )
    warm_up: CountOrNone = Field(
        default=0,
        description="Sessions that join and leave before the run, so that its servers have "
        "compiled what they are measured at; at most 1,000 a second come, and go. Servers that "
        "already run aren't warmed up.",
    )
    image: Text | None = Field(
        default=None, description="Container image of the server, where containers are used."
    )

    def impossible(self) -> Iterator[Problem]:
        if self.servers % 2 == 0:
            yield Problem(
                ("servers",),
                f"{self.servers} servers survive no more losses than {self.servers - 1} "
                f"(an odd number: {self.servers - 1} or {self.servers + 1})",
            )
        least = 2 * self.tick if self.min_session_timeout is None else self.min_session_timeout
        most = 20 * self.tick if self.max_session_timeout is None else self.max_session_timeout
        if least > most:
            yield Problem(
                ("min_session_timeout" if self.min_session_timeout else "max_session_timeout",),
                f"the least session timeout {least:g}s exceeds the most {most:g}s "
                "(min_session_timeout is at most max_session_timeout)",
            )
        elif not least <= self.session_timeout <= most:
            given = self.min_session_timeout or self.max_session_timeout
            bounds = "the server grants" if given else f"2 to 20 ticks of {self.tick:g}s are"
            yield Problem(
                ("session_timeout",),
                f"session_timeout {self.session_timeout:g}s would not be granted "
                f"({bounds} {least:g}s to {most:g}s)",
            )
        if self.warm_up > MOST_WARM_UP:
            yield Problem(
                ("warm_up",),
                f"{self.warm_up:,} sessions would warm servers up for longer than a run takes "
                f"(at most {MOST_WARM_UP:,}; 20,000 leave three servers little to compile)",
            )


Backend = Annotated[SqlBackend | ZooKeeperBackend, Field(discriminator="kind")]


class Services(Strict):
    """The simulated services, all live for the length of the run unless a fault hits them."""

    count: Count = Field(
        description="Services in all. Wire services cost about 5 KB and one socket each on "
        "ZooKeeper, and one row each on SQL."
    )
    library: CountOrNone = Field(
        default=0,
        description="How many of them are the membership library in an OS process of its own, "
        "spread evenly over the rest. Each costs a process.",
    )
    ramp: Rate = Field(
        default=1000.0,
        description="Joins a second while starting. Faster ramps make beats late while they last.",
    )
    racks: Count = Field(
        default=1,
        description="Racks over which the services are spread, in blocks. Costs nothing, but for "
        "those whose links a fault hits: each is a network namespace, which needs root.",
    )
    group: Name = Field(
        default="compute",
        description="The group that they join, and the first part of their names.",
    )

    def population(self, client: Client, among: range | None = None) -> int:
        """How many services there are of a kind, in all or in a block of them."""
        block = range(self.count) if among is None else among
        below = [end * self.library // self.count for end in (block.start, block.stop)]
        library = below[1] - below[0]
        return {"wire": len(block) - library, "library": library}.get(client, len(block))

    def rack(self, number: int) -> range:
        """The services of a rack."""
        first, end = (-(-each * self.count // self.racks) for each in (number, number + 1))
        return range(first, end)

    def rack_of(self, index: int) -> int:
        """The rack of a service."""
        return index * self.racks // self.count

    def service_name(self, index: int) -> str:
        """The name of a service: compute-000017."""
        return f"{self.group}-{index:06d}"

    def index_of(self, name: str) -> int | None:
        """The service of a name, or None where there is none."""
        number = name.removeprefix(f"{self.group}-")
        known = re.fullmatch("[0-9]{6}", number) and int(number) < self.count
        return int(number) if known and name == self.service_name(int(number)) else None

    def is_library(self, index: int) -> bool:
        """Whether a service is a `library` one; they are spread evenly over the indexes."""
        return (index + 1) * self.library // self.count > index * self.library // self.count

    def impossible(self) -> Iterator[Problem]:
        if self.library > self.count:
            yield Problem(
                ("library",),
                f"{self.library} of {self.count} services cannot be library ones "
                f"(at most {self.count})",
            )
        if self.racks > self.count:
            yield Problem(
                ("racks",), f"{self.racks} racks for {self.count} services (at most {self.count})"
            )


class Audit(Strict):
    """Bounds on the harness itself. A run that breaks one is invalid, whatever its numbers."""

    lateness_p99: Positive = Field(
        default=0.05,
        description="Seconds; how late the harness's own beats may go out at the 99th percentile, "
        "outside the ramp, outages of servers, and racks with bad links.",
    )
    stall: Positive = Field(
        default=1.0,
        description="Seconds; how long an event loop or a thread of the harness may stand still at "
        "the worst, under the same circumstances.",
    )
    rate_reached: Fraction = Field(
        default=0.98,
        description="The least share of the beats that live services owe which has to go out, "
        "under the same circumstances. Less where a server is driven past what it can take.",
    )
    harness_cpu: Number | None = Field(
        default=None,
        description="Cores that the harness may use on average. Not bounded unless given.",
    )
    model_error_p99: Positive | None = Field(
        default=None,
        description="Seconds; how far a detection may lie from the closed form for that victim at "
        "the 99th percentile. For unloaded crashes only; not bounded unless given.",
    )
