"""Racks are namespaces of their own, joined to this machine through one in the middle.

    this machine ── fabric ─┬─ rack 0
                            └─ rack 3

Whatever happens to a packet happens in the middle. So this machine's own rules stay as they are
(and Docker's, which drop what is forwarded, don't matter), a sender isn't told of a loss, and to
delete the namespaces is all the healing there is.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Network

from bench.engines.live.racks.addresses import MOST_LINKS, PREFIX, candidates, ends, in_use
from bench.engines.live.racks.delays import Delayer, End, Netem, Relay, has_netem, relay
from bench.engines.live.racks.fabric import Fabric, Unconfirmed
from bench.engines.live.racks.lacks import missing
from bench.engines.live.racks.link import Link
from bench.engines.live.racks.namespaces import (
    UPLINK,
    CommandFailed,
    Family,
    delete,
    forward,
    run,
    within,
)
from bench.errors import MachineError
from bench.interruption import Cleanup

RACK_END = "fabric"
"""A rack's end of its link."""

_VETH = ("type", "veth", "peer", "name")
_LIKE_A_WIRE = ("gso_max_segs", "1", "txqueuelen", "10000")
"""Each segment is a packet of its own, lost one by one and not by 64 KiB; and nothing is lost for
want of room while a relay catches up."""


@contextmanager
def racks(numbers: Iterable[int], delayed: Collection[int] = ()) -> Iterator[Fabric]:
    """Each of these racks with a link of its own, for as long as the block runs; nothing for none.

    ``delayed``: those among them whose links will be delayed. Where the kernel can't do that, a
    relay of ours carries all their packets, which takes a fraction of a millisecond each.

    All of it is new, bears its owner's name, and is gone at the end with whatever was done to it.
    Enter from a thread that outlives the block; leave once the processes inside have ended.

    Raises: MachineError where there can't be racks here, with nothing left behind; HarnessError at
    the end if the relay broke down meanwhile.
    """
    wanted = sorted({*numbers})
    if not wanted:
        yield Fabric()
        return
    late = [rack for rack in wanted if rack in delayed]
    if lacks := missing(delayed=bool(late)):
        raise MachineError("\n".join(f"{it.what}: {it.why}; {it.command}" for it in lacks))
    if len(wanted) > MOST_LINKS:
        raise MachineError(f"{len(wanted)} racks with links, {MOST_LINKS} at most; impair fewer")
    with Cleanup() as stack:
        family = Family.mine()
        network = _middle(stack, family)
        links, carrier = _links(stack, family, network, wanted, late)
        pids = () if carrier is None else (carrier.pid,)
        fabric = Fabric(ends(network, 0)[1], links, pids)
        try:
            fabric.confirm()
        except Unconfirmed as error:
            raise MachineError(
                f"{error}; does this machine's own firewall drop what comes from {family.device}?"
            ) from error
        yield fabric
        if carrier is not None:
            carrier.expect_running()


def _middle(stack: ExitStack, family: Family) -> IPv4Network:
    """The namespace in the middle, joined to this machine; the network that all links share."""
    _namespace(stack, family.fabric)
    within(family.fabric, forward)
    run("ip", "link", "add", family.device, *_VETH, UPLINK, "netns", family.fabric)
    run("ip", "link", "set", family.device, "up", *_LIKE_A_WIRE)
    _set_up((family.fabric, UPLINK))
    used = in_use(
        json.loads(run("ip", "-json", "-4", "route", "show", "table", "all")),
        json.loads(run("ip", "-json", "-4", "address", "show")),
    )
    for network in candidates(used, start=family.pid + family.number):
        near, far = ends(network, 0)
        try:
            run("ip", "route", "add", str(network), "via", near, "dev", family.device, "onlink")
        except CommandFailed as error:
            if "exists" not in str(error):
                raise
            continue  # another harness has taken it since we looked
        run("ip", "address", "add", f"{far}/{PREFIX}", "dev", family.device)
        _set_up((family.fabric, UPLINK), near)
        return network
    raise MachineError("no private network is free here; see `ip route show table all`")


def _links(
    stack: ExitStack, family: Family, network: IPv4Network, wanted: list[int], late: list[int]
) -> tuple[list[Link], Relay | None]:
    """The racks and their links, and the relay that carries the late ones, where one has to."""
    near = {rack: (family.fabric, f"rack-{rack}") for rack in wanted}
    far = {rack: (family.rack(rack), RACK_END) for rack in wanted}
    delayers: dict[int, Delayer] = {rack: Netem(near[rack], far[rack]) for rack in late}
    for rack in wanted:
        _namespace(stack, family.rack(rack))
    carrier = None
    cabled = wanted
    if late and not has_netem():
        carrier = stack.enter_context(relay([(near[rack], far[rack]) for rack in late]))
        delayers = {rack: carrier.delayer(place) for place, rack in enumerate(late)}
        cabled = [rack for rack in wanted if rack not in late]
    for rack in cabled:
        (namespace, device), (other, end) = near[rack], far[rack]
        run("ip", "-n", namespace, "link", "add", device, *_VETH, end, "netns", other)
    links = []
    for place, rack in enumerate(wanted, start=1):
        gateway, address = ends(network, place)
        _set_up(near[rack], gateway)
        _set_up(far[rack], address)
        _set_up((family.rack(rack), "lo"))
        run("ip", "-n", family.rack(rack), "route", "add", "default", "via", gateway)
        links.append(Link(rack, near[rack], far[rack], address, delayers.get(rack)))
    return links, carrier


def _namespace(stack: ExitStack, name: str) -> None:
    stack.callback(delete, name)  # first, since a signal may come in between
    run("ip", "netns", "add", name)


def _set_up(end: End, address: str | None = None) -> None:
    namespace, device = end
    if address is not None:
        run("ip", "-n", namespace, "address", "add", f"{address}/{PREFIX}", "dev", device)
    run("ip", "-n", namespace, "link", "set", device, "up", *_LIKE_A_WIRE)
