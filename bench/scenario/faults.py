"""The faults of a scenario: of services, of the links of whole racks, of the backend's servers.

Which of the three a fault is shows by its keys: one with `servers` is of servers; else `cut`,
`loss` and `delay` are of links, and all others of services.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PlainValidator, Tag, WithJsonSchema

from bench.scenario.parts import Backend, Services
from bench.scenario.positions import closest, nearest
from bench.scenario.quantities import (
    LISTED,
    Duration,
    Few,
    Fraction,
    Offset,
    Positive,
    WrongValue,
    shown,
    whole,
)
from bench.scenario.select import RackSelect, Select
from bench.scenario.spread import Drawn
from bench.scenario.strict import Problem, Strict


class ServiceFault(Strict):
    """What happens to some services, at instants drawn from the seed."""

    kind: Literal["crash", "power-loss", "freeze", "leave", "restart", "flap", "skew"] = Field(
        description="crash: killed without a goodbye; its kernel closes the connections. "
        "power-loss: silent for good, and no server is told so by a FIN or RST; costs the socket "
        "to the end of the run. freeze: stopped for a while, then resumed. leave: a clean "
        "shutdown. restart: it ends, and a new process joins under its name, as a new "
        "incarnation. flap: frozen and resumed again and again. skew: its wall clock is off, which "
        "profile nova alone ever reads; clocks that count are not. For library services that takes "
        "libfaketime, and costs 10 us for each look at the clock."
    )
    select: Select = Field(description="Which services it hits.")
    over: Duration | None = Field(
        default=None,
        description="Seconds over which the instants are spread evenly. Without it, or every: all "
        "at once.",
    )
    every: Positive | None = Field(
        default=None,
        description="Seconds from one victim to the next, instead of over: a rolling fault. The "
        "phase lasts as long as the victims take.",
    )
    duration: Drawn | None = Field(
        default=None,
        alias="for",
        description="Seconds, or a distribution such as {exponential: 8s}, {uniform: [2s, 30s]} or "
        "{lognormal: {median: 4s, sigma: 1}}, drawn for each victim. freeze: how long it lasts. "
        "flap: how long each stop lasts. restart: how long until the new process starts; at once "
        "unless given. skew: how long the clock is off; to the end unless given.",
    )
    up: Positive | None = Field(
        default=None, description="Seconds that a victim runs between two stops; for flap only."
    )
    times: Few | None = Field(
        default=None, description="How often a victim is stopped; for flap only, 3 unless given."
    )
    stop: Literal["kill", "leave"] | None = Field(
        default=None,
        description="How the old process ends; for restart only. kill (unless given): without a "
        "goodbye. leave: an orderly shutdown, as in a rolling restart.",
    )
    offset: Offset | None = Field(
        default=None,
        description="Seconds by which the clock is off, such as 90s (ahead) or -90s (behind); for "
        "skew only.",
    )

    def size(self, services: Services) -> int:
        """How many services it hits; 0 where a fraction rounds to none."""
        select = self.select
        if select.racks is not None:
            blocks = [services.rack(rack) for rack in select.racks]
            return sum(services.population(select.client, block) for block in blocks)
        if select.names is not None:
            return len(select.names)
        if select.fraction is not None:
            return round(select.fraction * services.population(select.client))
        return select.count or 0

    def seconds(self, services: Services) -> float:
        """From the first victim to the end of the last one's turn."""
        if self.every is not None:
            return self.every * self.size(services)
        return self.over or 0.0

    def impossible(self) -> Iterator[Problem]:
        given = {"for": self.duration, "up": self.up, "times": self.times, "stop": self.stop}
        given["offset"] = self.offset
        for key, value in given.items():
            kinds = _TAKEN[key]
            if value is None and self.kind in kinds and (self.kind, key) not in _DEFAULTED:
                yield Problem((), f"a {self.kind} lacks {key} (add it: {_MEANT[key]})")
            elif value is not None and self.kind not in kinds:
                only = ", ".join(kinds)
                yield Problem((key,), f"a {self.kind} takes no {key} (it belongs to {only})")
        if self.duration == 0 and self.kind != "restart":
            yield Problem(("for",), "0 is too short (more than 0s)")
        if self.over is not None and self.every is not None:
            yield Problem(("every",), "over and every at once (one of them)")


_TAKEN: Mapping[str, tuple[str, ...]] = {
    "for": ("freeze", "flap", "restart", "skew"),
    "up": ("flap",),
    "times": ("flap",),
    "stop": ("restart",),
    "offset": ("skew",),
}
"""The kinds that take a key."""

_DEFAULTED = {("restart", "for"), ("skew", "for"), ("flap", "times"), ("restart", "stop")}

_MEANT = {
    "for": "how long it is stopped",
    "up": "how long it runs between two stops",
    "offset": "how far its clock is off, such as 90s or -90s",
}


class LinkFault(Strict):
    """What happens to the packets between whole racks and everybody else, servers included.

    Each rack that it touches gets a network namespace of its own, which needs root. All services
    of a rack are victims at one instant.
    """

    kind: Literal["cut", "loss", "delay"] = Field(
        description="cut: every packet is lost. loss: a share of the packets is lost. delay: each "
        "packet takes longer, which costs the CPU of a relay where the kernel has no netem."
    )
    select: RackSelect = Field(description="Which racks it hits.")
    direction: Literal["in", "out", "both"] = Field(
        default="both",
        description="Which packets: in (towards the racks' services), out (from them), or both.",
    )
    rate: Fraction | None = Field(
        default=None, description="Share of packets that is lost, such as 80%; for loss only."
    )
    delay: Positive | None = Field(
        default=None,
        description="Seconds that each packet takes longer, in each direction; for delay only.",
    )
    jitter: Duration | None = Field(
        default=None,
        description="Seconds by which the delay varies to either side, at most the delay; for "
        "delay only.",
    )
    duration: Positive | None = Field(
        default=None, alias="for", description="Seconds; to the end of the run unless given."
    )

    def impossible(self) -> Iterator[Problem]:
        if self.kind == "loss" and self.rate is None:
            yield Problem((), "a loss lacks rate (add it: the share that is lost, such as 80%)")
        if self.kind == "delay" and self.delay is None:
            yield Problem((), "a delay lacks delay (add it: how much longer a packet takes)")
        for key, kind in (("rate", "loss"), ("delay", "delay"), ("jitter", "delay")):
            if getattr(self, key) is not None and self.kind != kind:
                yield Problem((key,), f"a {self.kind} takes no {key} (it belongs to {kind})")
        if self.delay is not None and self.jitter is not None and self.jitter > self.delay:
            yield Problem(
                ("jitter",),
                f"jitter {self.jitter:g}s is more than delay {self.delay:g}s (at most as much)",
            )


Role = Literal["leader", "follower", "any", "majority", "all"]
ROLES: tuple[Role, ...] = ("leader", "follower", "any", "majority", "all")
MOST_SERVERS = 1_000


def _servers(value: object) -> Role | tuple[int, ...]:
    if isinstance(value, list | tuple):
        if not value:
            raise WrongValue("nothing in it (at least one)")
        numbers = tuple(whole(each, 1, MOST_SERVERS) for each in value)
        if len(set(numbers)) < len(numbers):
            raise WrongValue(f"{shown(value)} names a server twice (each once)")
        return numbers
    for role in ROLES:
        if value == role:
            return role
    right = nearest(value, ROLES, "known")
    raise WrongValue(f"{shown(value)} is no choice of servers ({right}; or a list such as [1, 3])")


class ServerFault(Strict):
    """What happens to servers of the backend, in the roles that they have when it strikes.

    PostgreSQL runs as one server: leader, any and all are that one. On a backend where the fault
    makes no sense, such as a follower's on PostgreSQL, it is left out.
    """

    kind: Literal["kill", "pause", "restart", "cut"] = Field(
        description="kill: by SIGKILL, and started again on its data after a while. pause: stopped "
        "for a while, then resumed. restart: an orderly stop, then a start. cut: no packets "
        "between the chosen servers and all others, which clients still reach; for ensembles of 3 "
        "or more."
    )
    servers: Annotated[
        Role | tuple[int, ...],
        PlainValidator(_servers),
        LISTED,
        WithJsonSchema(
            {
                "anyOf": [
                    {"enum": list(ROLES)},
                    {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1},
                ]
            }
        ),
    ] = Field(
        description="leader, follower (one of them), any (one), majority (as few as cost the "
        "quorum), all, or a list of numbers from 1."
    )
    duration: Duration | None = Field(
        default=None,
        alias="for",
        description="Seconds until it is healed. kill, cut: at the end of the run unless given. "
        "pause: has to be given. restart: until it starts again; at once unless given.",
    )

    def hits(self, backend: Backend) -> int:
        """How many servers of a backend it hits; 0 where it makes no sense."""
        there_are = backend.servers if backend.kind == "zookeeper" else 1
        if self.kind == "cut" and there_are < 3:
            return 0
        match self.servers:
            case "leader" | "any":
                return 1
            case "follower":
                return 1 if there_are > 1 else 0
            case "majority":
                return there_are // 2 + 1 if backend.kind == "zookeeper" else 0
            case "all":
                return there_are
            case numbers:
                return len(numbers) if max(numbers) <= there_are else 0

    def impossible(self) -> Iterator[Problem]:
        if self.kind == "pause" and self.duration is None:
            yield Problem((), "a pause lacks for (add it: how long the servers are stopped)")
        if self.duration == 0 and self.kind != "restart":
            yield Problem(("for",), "0 is too short (more than 0s)")


_OF_SERVERS, _OF_LINKS = ("kill", "pause"), ("cut", "loss", "delay")
_OF_SERVICES = ("crash", "power-loss", "freeze", "leave", "restart", "flap", "skew")


def _family(value: Any) -> str:
    """By its keys, or by the kind that was meant where the kind is none."""
    if not isinstance(value, dict):
        of_links = "[links]" if isinstance(value, LinkFault) else "[services]"
        return "[servers]" if isinstance(value, ServerFault) else of_links
    meant = closest(value.get("kind"), (*_OF_SERVICES, *_OF_LINKS, *_OF_SERVERS))
    if "servers" in value or meant in _OF_SERVERS:
        return "[servers]"
    return "[links]" if meant in _OF_LINKS else "[services]"


Fault = Annotated[
    Annotated[ServiceFault, Tag("[services]")]
    | Annotated[LinkFault, Tag("[links]")]
    | Annotated[ServerFault, Tag("[servers]")],
    Discriminator(_family),
]
