"""Racks take a private network that nothing on the machine uses."""

from __future__ import annotations

from ipaddress import IPv4Network
from itertools import islice

import pytest

from bench.engines.live.racks.addresses import MOST_LINKS, candidates, ends, in_use


def test_what_a_machine_uses_is_read_from_its_routes_and_addresses() -> None:
    routes = [
        {"dst": "default", "gateway": "192.0.2.1"},
        {"dst": "172.17.0.0/16", "dev": "docker0"},
        {"type": "local", "dst": "192.0.2.2"},
        {"type": "unreachable", "dst": "fe80::/64"},
    ]
    down = {"inet": "10.9.8.7", "inet6": "fd00::2"}
    interfaces = [
        {"ifname": "lo", "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8}]},
        {
            "ifname": "eth1",
            "addr_info": [
                {"family": family, "local": local, "prefixlen": 24}
                for family, local in down.items()
            ],
        },
    ]
    assert in_use(routes, interfaces) == {
        IPv4Network("172.17.0.0/16"),
        IPv4Network("192.0.2.2/32"),
        IPv4Network("127.0.0.0/8"),
        IPv4Network("10.9.8.0/24"),
    }


def test_no_candidate_overlaps_what_is_in_use() -> None:
    used = {IPv4Network("10.7.3.0/24"), IPv4Network("172.16.0.0/12"), IPv4Network("198.18.0.1")}
    found = list(candidates(used, start=5))
    assert found
    assert not [network for network in found for other in used if network.overlaps(other)]


def test_where_all_of_one_range_is_in_use_another_is_taken() -> None:
    assert next(candidates({IPv4Network("10.0.0.0/8")}, start=3)).subnet_of(
        IPv4Network("172.16.0.0/12")
    )


def test_everything_in_use_leaves_no_candidate() -> None:
    assert list(candidates({IPv4Network("0.0.0.0/0")}, start=0)) == []


def test_neighbours_in_time_begin_with_different_networks() -> None:
    first = [next(candidates(set(), start)) for start in range(4_000, 4_050)]
    assert len(set(first)) == len(first)
    assert list(islice(candidates(set(), 7), 3)) == list(islice(candidates(set(), 7), 3))


@pytest.mark.parametrize("link", [0, 1, 64, MOST_LINKS])
def test_the_ends_of_a_link_share_a_network_with_nobody(link: int) -> None:
    network = IPv4Network("10.7.0.0/16")
    near, far = (IPv4Network(f"{end}/30", strict=False) for end in ends(network, link))
    assert near == far
    assert near.subnet_of(network)
    if link:
        assert near != IPv4Network(f"{ends(network, link - 1)[0]}/30", strict=False)
