"""Names and URLs as ZooKeeper paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from membership import InvalidValue
from membership.backends.zookeeper.paths import (
    ACL,
    Acl,
    Address,
    ancestors,
    cell_path,
    escape,
    marker_path,
    member_path,
    parent,
    parse,
    rights,
    split_marked,
    unescape,
)

names = st.text(min_size=1).filter(str.isprintable) | st.sampled_from([".", "..", "%2E", "%", "/"])


@given(names)
def test_each_name_has_a_path_segment_and_comes_back_from_it(name: str) -> None:
    segment = escape(name)
    assert unescape(segment) == name
    assert segment.isascii()
    assert segment not in ("", ".", "..")
    assert "/" not in segment


@given(names, names)
def test_no_two_names_share_a_segment(one: str, other: str) -> None:
    assert (escape(one) == escape(other)) == (one == other)


@given(st.sets(names), st.sets(names))
def test_markers_stand_beside_members_and_are_never_mistaken_for_one(
    members: set[str], forced: set[str]
) -> None:
    segments = [member_path("n", "g", name).rpartition("/")[2] for name in members]
    markers = [marker_path("n", "g", name).rpartition("/")[2] for name in forced]
    assert not any(map(unescape, markers))
    assert split_marked([*segments, *markers]) == (
        {escape(name) for name in members},
        {escape(name) for name in forced},
    )


def test_rights_hold_the_hash_that_zookeeper_compares_and_no_password() -> None:
    owner = Acl(31, "digest", "super:xQJmxLMiHGwaqBvst5y6rkB6HQs=")  # from ZooKeeper's own manual
    assert rights("super:admin", world_readable=False) == (owner,)
    assert rights("super:admin", world_readable=True) == (owner, Acl(1, "world", "anyone"))
    assert rights(None, world_readable=False) == (ACL,)


@pytest.mark.parametrize("segment", ["a b", "%2e", "%zz", "%41", "%", "ü", "!a"])
def test_a_segment_that_is_no_escaped_name_is_nobodys(segment: str) -> None:
    assert unescape(segment) is None


def test_the_layout() -> None:
    assert member_path("nova", "compute", "a/b") == "/nova/groups/compute/a%2Fb"
    assert marker_path("nova", "compute", "a/b") == "/nova/groups/compute/!a%2Fb"
    assert cell_path("team/nova", "..") == "/team/nova/cells/%2E%2E"
    assert parent("/nova/groups/compute") == "/nova/groups"
    assert parent("/nova") == "/"
    assert ancestors("/nova/groups/g/m") == ("/nova", "/nova/groups", "/nova/groups/g")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("zookeeper://zk/nova", Address((("zk", 2181),), "nova")),
        ("zookeeper://a:1,b:2/x/y/", Address((("a", 1), ("b", 2)), "x/y")),
        ("zookeeper://[::1]:7/n", Address((("::1", 7),), "n")),
    ],
)
def test_a_url_names_servers_and_a_namespace(url: str, address: Address) -> None:
    assert parse(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "zookeeper://zk",
        "zookeeper://zk/",
        "zookeeper:///nova",
        "zookeeper://zk,/nova",
        "zookeeper://zk:port/nova",
        "zookeeper://zk/../nova",
        "zookeeper://zk/a//b",
        "zookeeper://zk/zookeeper",
        "zookeeper://zk/a b",
        "zookeeper://zk/nova?timeout=3",
        "memory://zk/nova",
    ],
)
def test_a_url_that_does_not_is_refused(url: str) -> None:
    with pytest.raises(InvalidValue, match="host:port"):
        parse(url)


def test_a_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(InvalidValue) as refusal:
        parse("zookeeper://user:secret@zk/nova")
    assert "secret" not in str(refusal.value)
