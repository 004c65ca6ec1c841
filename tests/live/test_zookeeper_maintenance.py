"""Forced down, and writes that depend on an absence, beyond what the contract checks."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from membership import Absent, Conflict, Fence, Registration, ZooKeeperConfig
from membership.backends.zookeeper import ZooKeeperMembership
from membership.backends.zookeeper.paths import parse
from membership.testing import eventually, quiet, take, told
from tests.live.sessions import cut, expire, outsider

GROUP = "compute"

modes = pytest.mark.parametrize("recent", [True, False], ids=["persistent", "child-watches"])


def join_url(url: str, *, recent: bool = True, timeout: float = 3.0) -> ZooKeeperMembership:
    config = ZooKeeperConfig(session_timeout=timeout)
    return ZooKeeperMembership(parse(url), config, lambda _name, _value: None, recent=recent)


@modes
def test_who_was_forced_down_while_an_observer_was_away_is_gone_when_it_is_back(
    zookeeper_url: str, recent: bool
) -> None:
    with (
        join_url(zookeeper_url) as ours,
        join_url(zookeeper_url, recent=recent) as theirs,
        theirs.watch(GROUP) as watch,
    ):
        down = ours.join(GROUP, "down")
        ours.join(GROUP, "up")
        take(watch, 2)
        ours.force_down(GROUP, "up")
        take(watch, 1)
        for away in (partial(expire, zookeeper_url), cut):
            away(theirs)
            ours.force_down(GROUP, "down")
            ours.lift(GROUP, "up")
            eventually(lambda: list(watch.view.members) == ["up"], 3.0)
            ours.force_down(GROUP, "up")
            ours.lift(GROUP, "down")
            eventually(lambda: list(watch.view.members) == ["down"], 3.0)
        assert watch.view.members["down"].token == down.token
        assert down.is_member


@modes
def test_what_a_hidden_member_does_is_seen_once_it_is_lifted(
    zookeeper_url: str, recent: bool
) -> None:
    with (
        join_url(zookeeper_url) as ours,
        join_url(zookeeper_url, recent=recent) as theirs,
        theirs.watch(GROUP) as watch,
    ):
        first = ours.join(GROUP, "host-1", metadata={"n": 1})
        take(watch, 1)
        theirs.force_down(GROUP, "host-1", "broken")
        theirs.force_down(GROUP, "host-1", "mended")
        assert theirs.forced_down(GROUP) == {"host-1": "mended"}
        assert told(take(watch, 1)) == [("left", "host-1")]
        first.update({"n": 2})
        first.leave()
        second = ours.join(GROUP, "host-1", metadata={"n": 3})
        second.update({"n": 4})
        quiet(watch, 0.3)
        theirs.lift(GROUP, "host-1")
        (event,) = take(watch, 1)
        assert told([event]) == [("joined", "host-1")]
        assert event.member == theirs.member(GROUP, "host-1")
        assert event.member is not None
        assert event.member.token == second.token
        assert event.member.metadata == {"n": 4}


def test_a_marker_outlives_every_session(zookeeper_url: str) -> None:
    with join_url(zookeeper_url) as ours:
        ours.force_down(GROUP, "host-1", "for good")
    with join_url(zookeeper_url) as ours:
        ours.join(GROUP, "host-1")
        assert len(ours.members(GROUP)) == 0
        assert ours.forced_down(GROUP) == {"host-1": "for good"}


def test_who_is_forced_down_counts_as_absent(zookeeper_url: str) -> None:
    with join_url(zookeeper_url) as ours:
        ours.join(GROUP, "down")
        ours.join(GROUP, "up")
        ours.force_down(GROUP, "down")
        cell = ours.cell("claim")
        down, nobody, up = (Absent(GROUP, name) for name in ("down", "nobody", "up"))
        unwritten = Fence("never-written", 0)
        assert cell.compare_and_set(b"1", 0, down, nobody, unwritten).version == 1
        assert cell.compare_and_set(b"2", 1, unwritten, nobody, down).version == 2
        for conditions in ((down, up), (up, down), (nobody, Fence("claim", 1)), (up,)):
            with pytest.raises(Conflict):
                cell.compare_and_set(b"no", 2, *conditions)
        ours.lift(GROUP, "down")
        with pytest.raises(Conflict, match="'down' is a live member"):
            cell.compare_and_set(b"no", 2, nobody, down)
        assert cell.get().value == b"2"


@modes
def test_a_condition_on_an_absence_shows_nowhere(zookeeper_url: str, recent: bool) -> None:
    with (
        join_url(zookeeper_url) as ours,
        join_url(zookeeper_url, recent=recent) as theirs,
        theirs.watch(GROUP) as watch,
    ):
        cell = ours.cell("claim")
        for version in range(20):
            cell.compare_and_set(b"", version, Absent(GROUP, "nobody"), Fence("unwritten", 0))
        me = ours.join(GROUP, "host-1")
        (event,) = take(watch, 1)
        assert event.member == theirs.member(GROUP, "host-1")
        assert me.is_member
        with outsider(zookeeper_url) as somebody:
            groups = f"/{ours.namespace}/groups"
            assert somebody.get_children(f"{groups}/{GROUP}") == ["host-1"]
            assert somebody.get_children(f"/{ours.namespace}/cells") == ["claim"]


def test_no_claim_falls_into_a_life(zookeeper_url: str) -> None:
    """Between a join and the leave after it no claim of an absence succeeds, however they race."""
    with join_url(zookeeper_url) as ours, join_url(zookeeper_url) as theirs:
        cell = theirs.cell("claim")
        done = threading.Event()
        claims: list[int] = []

        def claim() -> None:
            while not done.is_set():
                try:
                    state = cell.compare_and_set(b"", len(claims), Absent(GROUP, "host-1"))
                except Conflict:
                    continue
                claims.append(state.version)

        claiming = threading.Thread(target=claim)
        claiming.start()
        try:
            for _ in range(50):
                me = ours.join(GROUP, "host-1")
                before = ours.cell("claim").get().version
                assert ours.cell("claim").get().version == before
                me.leave()
                eventually(lambda: len(claims) > before)  # noqa: B023
        finally:
            done.set()
            claiming.join()


@pytest.mark.parametrize(("asked", "granted"), [(0.1, 1.0), (3.0, 3.0), (600.0, 10.0)])
def test_the_traits_are_those_of_the_timeout_that_was_granted(
    zookeeper_url: str, asked: float, granted: float
) -> None:
    with join_url(zookeeper_url, timeout=asked) as ours:
        assert ours.traits.lease == granted
        assert ours.traits.detection == 2 * granted
        me: Registration = ours.join(GROUP, "host-1")
        eventually(lambda: me.is_member)  # a second may be over before it can be asked
        first = ours.server
        cut(ours)
        ours.members(GROUP)
        assert (ours.traits.lease, ours.server) == (granted, first)
