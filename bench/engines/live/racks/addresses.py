"""Which addresses a fabric takes: a private network that nothing here uses yet. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, ip_network
from typing import Any

_PRIVATE = (
    [IPv4Network(f"10.{n}.0.0/16") for n in range(1, 255)],
    [IPv4Network(f"172.{n}.0.0/16") for n in range(16, 32)],
    [IPv4Network(f"198.{n}.0.0/16") for n in (18, 19)],  # RFC 2544: for benchmarks
)
_LINK = 4
"""Addresses of one link: its network's own, two ends, its broadcast address."""
PREFIX = 30

MOST_LINKS = 2**16 // _LINK - 1
"""As many links as a fabric's network has addresses for, the host's own apart."""


def in_use(routes: Iterable[Any], interfaces: Iterable[Any]) -> set[IPv4Network]:
    """The networks that a machine knows, from what `ip -json route` and `ip -json address` say.
    The default route is none of them."""
    known = {
        IPv4Network(route["dst"])
        for route in routes
        if route["dst"] != "default" and "." in route["dst"]
    }
    for interface in interfaces:
        for address in interface.get("addr_info", ()):
            if address.get("family") == "inet":
                network = ip_network(f"{address['local']}/{address['prefixlen']}", strict=False)
                known.add(IPv4Network(network))
    return known


def candidates(used: set[IPv4Network], start: int) -> Iterator[IPv4Network]:
    """Networks that overlap none in use, in an order that differs with ``start``: two harnesses
    that look at the same moment try different ones first."""
    for group in _PRIVATE:
        shift = start % len(group)
        for network in (*group[shift:], *group[:shift]):
            if not any(network.overlaps(other) for other in used):
                yield network


def ends(network: IPv4Network, link: int) -> tuple[str, str]:
    """The addresses of one link: the fabric's end, the far end. Link 0 is the host's."""
    return str(network[_LINK * link + 1]), str(network[_LINK * link + 2])
