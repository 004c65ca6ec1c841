"""The parts of a scenario: backends, services, faults and phases. Frozen; seconds as float.

The descriptions here are what an editor shows by way of `heartbench schema`, so each states the
unit and what the setting costs. What concerns several parts at once is in `rules.py`.
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
    Duration,
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
        default=1, description="Racks over which the services are spread, in blocks. Costs nothing."
    )
    group: Name = Field(
        default="compute",
        description="The group that they join, and the first part of their names.",
    )

    def population(self, client: Client) -> int:
        """How many services there are of a kind."""
        return {"wire": self.count - self.library, "library": self.library}.get(client, self.count)

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


class Select(Strict):
    """Which services a fault hits: exactly one of count, fraction or names.

    They are drawn from the seed, the same ones on every backend. A service meets at most one
    fault in a run, so that each detection has one cause.
    """

    count: Count | None = Field(default=None, description="So many services.")
    fraction: Fraction | None = Field(
        default=None,
        description="This share of the services of the chosen client, rounded to whole ones.",
    )
    names: tuple[Text, ...] | None = Field(
        default=None, description="These services, by name, such as compute-000017.", min_length=1
    )
    client: Client = Field(
        default="any", description="Only services of this kind: wire, library, or any of both."
    )

    def size(self, services: Services) -> int:
        """How many services it selects; 0 where a fraction rounds to none."""
        if self.names is not None:
            return len(self.names)
        if self.fraction is not None:
            return round(self.fraction * services.population(self.client))
        return self.count or 0

    def impossible(self) -> Iterator[Problem]:
        given = [key for key in ("count", "fraction", "names") if getattr(self, key) is not None]
        if not given:
            yield Problem((), "selects nobody (one of count, fraction or names)")
        elif len(given) > 1:
            yield Problem((given[1],), f"{' and '.join(given)} at once (one of them)")
        if self.names is not None:
            twice = {name for name in self.names if self.names.count(name) > 1}
            for name in sorted(twice):
                last = len(self.names) - 1 - self.names[::-1].index(name)
                yield Problem(("names", last), f"{shown(name)} is named twice (once)")


class Fault(Strict):
    """What happens to some services, at instants drawn from the seed."""

    kind: Literal["crash", "leave", "freeze"] = Field(
        description="crash: killed without a goodbye. leave: a clean shutdown. freeze: stopped for "
        "a while, then resumed."
    )
    select: Select = Field(description="Which services it hits.")
    over: Duration = Field(
        default=0.0,
        description="Seconds over which the instants are spread evenly; 0: all at once.",
    )
    duration: Positive | None = Field(
        default=None, alias="for", description="Seconds that a freeze lasts; for freeze only."
    )

    def impossible(self) -> Iterator[Problem]:
        if self.kind == "freeze" and self.duration is None:
            yield Problem((), "a freeze without an end (add for: a duration)")
        if self.kind != "freeze" and self.duration is not None:
            yield Problem(("for",), f"a {self.kind} does not end (for belongs to freeze)")


class Phase(Strict):
    """One step after the ramp: exactly one of settle, hold or fault."""

    settle: Duration | None = Field(
        default=None,
        description="Seconds to wait until the services beat steadily; excluded from loads.",
    )
    hold: Duration | None = Field(
        default=None,
        description="Seconds to watch. After a fault at least as long as the slowest detection.",
    )
    fault: Fault | None = Field(default=None, description="What happens, and to whom.")

    @property
    def kind(self) -> Literal["settle", "hold", "fault"]:
        if self.fault is not None:
            return "fault"
        return "settle" if self.settle is not None else "hold"

    @property
    def seconds(self) -> float:
        """How long the phase lasts. A freeze may outlast its phase."""
        if self.fault is not None:
            return self.fault.over
        return (self.settle or 0.0) + (self.hold or 0.0)

    def impossible(self) -> Iterator[Problem]:
        given = [key for key in ("settle", "hold", "fault") if getattr(self, key) is not None]
        if not given:
            yield Problem((), "an empty phase (settle, hold or fault)")
        elif len(given) > 1:
            yield Problem(
                (given[1],), f"{' and '.join(given)} in one phase (each in a line of its own)"
            )


class Audit(Strict):
    """Bounds on the harness itself. A run that breaks one is invalid, whatever its numbers."""

    lateness_p99: Positive = Field(
        default=0.05,
        description="Seconds; how late the harness's own beats may go out at the 99th percentile, "
        "outside the ramp.",
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
