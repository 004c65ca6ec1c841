"""Who may read and write on ZooKeeper, over what, and where a password never appears."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import pytest
from kazoo.client import KazooClient

from membership import (
    Absent,
    CellState,
    Disconnected,
    Freshness,
    InvalidValue,
    MembershipError,
    ZooKeeperConfig,
    connect,
)
from membership.backends.zookeeper import ZooKeeperMembership
from membership.backends.zookeeper.paths import parse
from membership.testing import eventually, take, told
from tests.live.sessions import cut, expire, outsider

SECRET = "correct-horse"
WRONG = "battery-staple"
OWNER = ZooKeeperConfig(3.0, digest=f"nova:{SECRET}")
INTRUDER = ZooKeeperConfig(3.0, digest=f"nova:{WRONG}")
GROUP = "compute"
SOON = 20.0


def join(url: str, config: ZooKeeperConfig) -> ZooKeeperMembership:
    return ZooKeeperMembership(parse(url), config, lambda _name, _value: None)


def use_everything(membership: ZooKeeperMembership, group: str) -> None:
    """Have each kind of node made."""
    membership.join(group, "host-1")
    membership.force_down(group, "host-1", "maintenance")
    membership.cell("c").compare_and_set(b"1", 0, Absent(group, "host-1"))


def below(client: KazooClient, path: str) -> list[str]:
    paths = [path]
    for child in client.get_children(path):
        paths += below(client, f"{path}/{child}")
    return paths


def rights(url: str) -> set[tuple[int, str, str]]:
    """Of all nodes in the namespace, as somebody sees them who may read them."""
    with outsider(url) as client:
        client.add_auth("digest", f"nova:{SECRET}")
        return {
            (acl.perms, acl.id.scheme, acl.id.id.partition(":")[0])
            for path in below(client, f"/{parse(url).namespace}")
            for acl in client.get_acls(path)[0]
        }


def spelt_out(error: BaseException) -> str:
    """Everything that a log might show of it."""
    return "".join(traceback.format_exception(error)) + repr(error)


# --- identities


def test_with_a_digest_every_node_is_for_that_identity_only(zookeeper_url: str) -> None:
    with join(zookeeper_url, OWNER) as ours, join(zookeeper_url, OWNER) as theirs:
        use_everything(ours, GROUP)
        assert rights(zookeeper_url) == {(31, "digest", "nova")}
        assert theirs.forced_down(GROUP) == {"host-1": "maintenance"}
        theirs.lift(GROUP, "host-1")
        assert list(theirs.members(GROUP).members) == ["host-1"]


def test_without_a_digest_every_node_is_for_everybody(zookeeper_url: str) -> None:
    with join(zookeeper_url, ZooKeeperConfig(3.0)) as ours:
        use_everything(ours, GROUP)
        assert rights(zookeeper_url) == {(31, "world", "anyone")}


@pytest.mark.parametrize("config", [INTRUDER, ZooKeeperConfig(3.0)], ids=["wrong", "none"])
def test_another_identity_is_refused_everything_at_once(
    zookeeper_url: str, config: ZooKeeperConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """Each call fails with an error that says why; neither it nor a log shows a password."""
    caplog.set_level(1)
    with join(zookeeper_url, OWNER) as ours, join(zookeeper_url, config) as theirs:
        use_everything(ours, GROUP)
        me = ours.join(GROUP, "host-2")
        attempts: list[Callable[[], object]] = [
            lambda: theirs.join(GROUP, "host-3"),
            lambda: theirs.join("another", "host-1"),
            lambda: theirs.members(GROUP),
            lambda: theirs.member(GROUP, "host-2"),
            lambda: theirs.groups(),
            lambda: theirs.watch(GROUP),
            lambda: theirs.force_down(GROUP, "host-2"),
            lambda: theirs.lift(GROUP, "host-1"),
            lambda: theirs.cell("c").get(),
            lambda: theirs.cell("c").compare_and_set(b"", 1),
            lambda: theirs.cell("d").compare_and_set(b"", 0),
        ]
        for attempt in attempts:
            with pytest.raises(MembershipError, match=r"NoAuth.*no right") as refusal:
                attempt()
            assert not isinstance(refusal.value, Disconnected)
            shown = spelt_out(refusal.value)
            assert SECRET not in shown
            assert WRONG not in shown
        assert ours.member(GROUP, "host-2") is not None
        assert me.is_member
        assert WRONG not in repr(config)
    logged = "".join(record.getMessage() + str(record.exc_info) for record in caplog.records)
    assert "Connecting to" in logged, "kazoo's own messages have to be among them"
    assert SECRET not in logged
    assert WRONG not in logged
    assert "passwd" not in logged, "a session's password lets others take it over"


def test_what_is_world_readable_can_be_watched_and_not_changed(zookeeper_url: str) -> None:
    open_config = ZooKeeperConfig(3.0, digest=f"nova:{SECRET}", world_readable=True)
    with (
        join(zookeeper_url, open_config) as ours,
        join(zookeeper_url, ZooKeeperConfig(3.0)) as theirs,
    ):
        me = ours.join(GROUP, "host-1")
        with theirs.watch(GROUP) as watch:
            assert told(take(watch, 1)) == [("joined", "host-1")]
            me.leave()
            assert told(take(watch, 1)) == [("left", "host-1")]
            for attempt in (
                lambda: theirs.join(GROUP, "host-2"),
                lambda: theirs.force_down(GROUP, "host-2"),
            ):
                with pytest.raises(MembershipError, match="NoAuth"):
                    attempt()


def test_the_identity_is_told_on_each_new_connection_and_session(zookeeper_url: str) -> None:
    with join(zookeeper_url, OWNER) as ours, ours.watch(GROUP) as watch:
        me = ours.join(GROUP, "host-1")
        first = me.token
        take(watch, 1)
        cut(ours)
        assert told(take(watch, 1)) == [("resynced", None)]
        me.update({"n": 1})
        assert told(take(watch, 1)) == [("updated", "host-1")]
        expire(zookeeper_url, ours)
        eventually(lambda: me.token > first and me.is_member)
        eventually(lambda: [member.token for member in watch.view] == [me.token])
        assert rights(zookeeper_url) == {(31, "digest", "nova")}


def test_rights_that_were_taken_away_and_given_back_cost_no_registration_and_no_watch(
    zookeeper_url: str,
) -> None:
    with join(zookeeper_url, OWNER) as ours, ours.watch(GROUP) as watch:
        me = ours.join(GROUP, "host-1")
        first = me.token
        cell = ours.cell("c")
        cell.compare_and_set(b"1", 0)
        with cell.watch() as cell_watch, outsider(zookeeper_url) as admin:
            assert cell_watch.next(SOON) == CellState(b"1", 1)
            admin.add_auth("digest", f"nova:{SECRET}")
            group, kept = (f"/{ours.namespace}/{path}" for path in (f"groups/{GROUP}", "cells/c"))
            before, _ = admin.get_acls(group)
            admin.set_acls(group, [acl._replace(perms=8 | 16) for acl in before])  # delete, admin
            admin.set_acls(kept, [acl._replace(perms=2 | 16) for acl in before])  # write, admin
            admin.delete(f"{group}/host-1")
            cut(ours)  # what a reader may not see isn't told to it: it has to look again
            eventually(lambda: watch.view.freshness is Freshness.STALE)
            eventually(lambda: not me.is_member)
            cell.compare_and_set(b"2", 1)
            assert cell_watch.next(0.5) is None
            admin.set_acls(group, before)
            admin.set_acls(kept, before)
            assert cell_watch.next(SOON) == CellState(b"2", 2)
            eventually(lambda: me.is_member and me.token > first)
            eventually(lambda: [member.token for member in watch.view] == [me.token])


def test_a_namespace_made_by_an_administrator_needs_no_right_above_it(zookeeper_url: str) -> None:
    """Where the root is closed to us, as it should be, what stands below it is enough."""
    outer = f"/{parse(zookeeper_url).namespace}"
    url = f"{zookeeper_url}/nova"
    with outsider(zookeeper_url) as admin:
        admin.create(f"{outer}/nova", makepath=True)
        world, _ = admin.get_acls(outer)
        admin.set_acls(outer, [acl._replace(perms=1 | 16) for acl in world])
        with join(url, OWNER) as ours:
            ours.join(GROUP, "host-1")
            assert list(ours.members(GROUP).members) == ["host-1"]
        with (
            join(f"{zookeeper_url}/other", OWNER) as ours,
            pytest.raises(MembershipError, match=f"{outer}/other.*NoAuth"),
        ):
            ours.join(GROUP, "host-1")


@pytest.mark.parametrize("digest", ["", "nova", ":correct-horse", "nova:"])
def test_a_digest_that_is_none_is_refused_without_repeating_it(digest: str) -> None:
    with pytest.raises(InvalidValue, match="user:password") as refusal:
        ZooKeeperConfig(digest=digest)
    assert SECRET not in str(refusal.value)


def test_a_url_with_credentials_is_refused_without_repeating_them() -> None:
    with pytest.raises(InvalidValue, match="digest=") as refusal:
        connect(f"zookeeper://nova:{SECRET}@127.0.0.1:1/n")
    assert SECRET not in spelt_out(refusal.value)
