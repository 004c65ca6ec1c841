"""Faults of links strike all services of their racks at one instant, and heal."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from bench.engines.live.faults.links import inflict
from bench.engines.live.faults.stage import Stage
from bench.engines.live.provision import Deployment
from bench.engines.live.racks import Fabric, Unconfirmed, missing, racks
from bench.engines.live.racks.namespaces import run as command
from bench.engines.live.racks.namespaces import within
from bench.engines.live.swarm.shard import Event, monotonic
from bench.kind import Kind
from bench.plan import OnLinks, Run, plan
from bench.scenario import find, load
from tests.lacking import none_lacking

RACKS = (1, 2)


@pytest.fixture(scope="module")
def fabric() -> Iterator[Fabric]:
    none_lacking(missing())
    with racks(RACKS, delayed=RACKS) as fabric:
        yield fabric


class Theatre:
    """A run of forty services in four racks, and what is told of it."""

    def __init__(self, fabric: Fabric, fault: str) -> None:
        self.run: Run = plan(
            load(
                find("quickstart"),
                [
                    "services.count=40",
                    "services.library=4",
                    "services.racks=4",
                    f"phases=[{{settle: 300ms}}, {{fault: {fault}}}, {{hold: 1s}}]",
                ],
            )
        )[0]
        [planned] = self.run.faults
        assert isinstance(planned, OnLinks)
        self.fault = planned
        self.told: list[Event] = []
        self.stage = Stage(
            run=self.run,
            t0=monotonic(),
            shards=(),
            fabric=fabric,
            deployment=Deployment(url="", servers=(), where="external"),
            tell=self.told.append,
        )

    @property
    def instant(self) -> float:
        return self.stage.t0 + float(self.fault.at[0])

    def of(self, *kinds: Kind) -> list[Event]:
        return [event for event in self.told if event.kind in kinds]

    def wait_for(self, kind: Kind, count: int) -> list[Event]:
        deadline = time.monotonic() + 20
        while len(self.of(kind)) < count:
            assert time.monotonic() < deadline, self.told
            time.sleep(0.01)
        return self.of(kind)


def passes(fabric: Fabric, rack: int) -> bool:
    """Whether a datagram from the rack arrives here within 2 s."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here,
        within(
            fabric.inside(rack)[-1], lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ) as there,
    ):
        here.bind((fabric.host, 0))
        here.settimeout(2.0)
        there.sendto(b"x", here.getsockname())
        try:
            return here.recv(1) == b"x"
        except TimeoutError:
            return False


@pytest.mark.parametrize(
    ("fault", "kind", "value", "detail"),
    [
        pytest.param("{kind: cut, direction: in}", Kind.CUT, None, "in", id="cut in"),
        pytest.param("{kind: cut}", Kind.CUT, None, "both", id="cut both"),
        pytest.param("{kind: loss, rate: 80%}", Kind.LOSSY, 0.8, "both", id="loss"),
        pytest.param(
            "{kind: delay, delay: 20ms, jitter: 5ms, direction: out}",
            Kind.DELAYED,
            0.02,
            "out",
            id="delay",
        ),
    ],
)
def test_every_victim_s_onset_and_healing_are_told(
    fabric: Fabric, fault: str, kind: Kind, value: float | None, detail: str
) -> None:
    theatre = Theatre(fabric, f"{fault[:-1]}, select: {{racks: [1, 2]}}, for: 500ms}}")
    with inflict(theatre.fault, theatre.stage):
        theatre.wait_for(Kind.HEALED, 20)
    onsets, healings = theatre.of(kind), theatre.of(Kind.HEALED)
    assert len(theatre.told) == len(onsets) + len(healings)
    assert len(onsets) == len(healings) == theatre.fault.onsets == 20
    names = [theatre.run.service_name(index) for index in range(10, 30)]
    assert sorted(event.subject for event in onsets) == names
    assert sorted(event.subject for event in healings) == names
    assert {(event.value, event.detail) for event in onsets} == {(value, detail)}
    assert {(event.value, event.detail) for event in healings} == {(None, detail)}
    assert [event.client for event in theatre.told].count("library") == 2 * 2
    assert len({event.t for event in onsets}) == len(RACKS), "a rack is struck at one instant"
    ended = {event.subject: event.t for event in healings}
    for event in onsets:
        assert event.t >= theatre.instant
        assert ended[event.subject] >= event.t + 0.5


def test_while_it_lasts_no_packet_passes(fabric: Fabric) -> None:
    theatre = Theatre(fabric, "{kind: cut, select: {racks: [2]}, direction: out}")
    with inflict(theatre.fault, theatre.stage):
        theatre.wait_for(Kind.CUT, 10)
        assert not passes(fabric, 2)
        assert passes(fabric, 1)
        assert theatre.of(Kind.HEALED) == [], "it lasts to the end"
    assert len(theatre.of(Kind.HEALED)) == 10
    assert passes(fabric, 2)


def test_what_ends_before_its_instant_never_was(fabric: Fabric) -> None:
    theatre = Theatre(fabric, "{kind: cut, select: {racks: 2}}")
    with inflict(theatre.fault, theatre.stage):
        assert passes(fabric, 1)
    assert theatre.told == []


def test_a_run_that_breaks_off_heals_its_links(fabric: Fabric) -> None:
    theatre = Theatre(fabric, "{kind: cut, select: {racks: [1]}}")
    with pytest.raises(AssertionError, match="broken off"), inflict(theatre.fault, theatre.stage):
        assert not theatre.wait_for(Kind.CUT, 10), "broken off"
    assert passes(fabric, 1)


def test_a_fault_that_does_not_take_hold_is_told_by_nobody(fabric: Fabric) -> None:
    """Here a rule that accepts everything stands before the cut's own."""
    rules = (*fabric.inside(1)[:-1], fabric.inside(1)[-1].replace("rack-1", "fabric"), "iptables")
    theatre = Theatre(fabric, "{kind: cut, select: {racks: [1]}}")
    command(*rules, "--wait", "-I", "FORWARD", "-j", "ACCEPT")
    try:
        with (
            pytest.raises(Unconfirmed, match="rack 1"),
            inflict(theatre.fault, theatre.stage),
        ):
            time.sleep(1)
    finally:
        command(*rules, "--wait", "-D", "FORWARD", "-j", "ACCEPT")
    assert theatre.told == []
