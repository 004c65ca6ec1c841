"""The racks of a run, and impairments of their links."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench.engines.live.provision.spec import LOOPBACK
from bench.engines.live.racks.link import UNIMPAIRED, Link
from bench.engines.live.racks.namespaces import inside
from bench.engines.live.racks.passage import (
    CLEAR,
    WAYS,
    Direction,
    Kind,
    Passage,
    Way,
    contradiction,
    passages,
)
from bench.engines.live.racks.probe import probe
from bench.engines.live.swarm.shard import monotonic
from bench.errors import HarnessError

PATIENCE = 2.0
"""How long a probe that contradicts is repeated, in s."""


class Unconfirmed(HarnessError):
    """The packets sent over a link contradict what was done to it."""


@dataclass
class Episode:
    """One impairment of one rack's link. Its instants, on `monotonic`, are the sending of the first
    packet that met it, and of the first that no longer did."""

    began: float
    ended: float | None = None
    """None until it is healed."""


class Fabric:
    """Made by `racks`. Without racks, services and servers meet on the loopback interface."""

    def __init__(
        self,
        host: str = LOOPBACK,
        links: Iterable[Link] = (),
        pids: tuple[int, ...] = (),
    ) -> None:
        self.host = host
        """Where servers must listen, so that racks and this machine's processes reach them."""
        self.pids = pids
        """Processes of the harness that carry the racks' packets."""
        self._links = {link.rack: link for link in links}
        self._impaired: set[int] = set()

    def inside(self, rack: int) -> tuple[str, ...]:
        """The prefix of a command that is to run in that rack; none for a rack that has no link of
        its own: its services live on this machine itself."""
        link = self._links.get(rack)
        return () if link is None else inside(link.far[0])

    @contextmanager
    def impair(
        self,
        rack: int,
        kind: Kind,
        direction: Direction = "both",
        *,
        rate: float = 0.0,
        delay: float = 0.0,
        jitter: float = 0.0,
    ) -> Iterator[Episode]:
        """Cut the rack's link, or have it lose or delay packets, for as long as the block runs.

        The block is entered once a probe has met the impairment in its direction and none in the
        other; at its end the link is healed, and probed again unless the block raised. Racks may be
        impaired at the same time, from several threads; one rack once at a time.

        ``rate``: the share lost, each packet on its own. ``delay``, ``jitter``: s; packets keep
        their order, so of those close together the later ones tend to the upper end of the jitter.

        Raises: Unconfirmed; ValueError for a rack that has no link, for a delay where the link was
        not made for it, and for figures that can't be.
        """
        wanted = passages(kind, direction, rate=rate, delay=delay, jitter=jitter)
        link = self._links.get(rack)
        if link is None:
            raise ValueError(f"rack {rack} has no link of its own; name it when the racks are made")
        if kind == "delay" and link.delayer is None:
            raise ValueError(f"rack {rack} can't be delayed; say so when the racks are made")
        if rack in self._impaired:
            raise ValueError(f"the link of rack {rack} is impaired already")
        self._impaired.add(rack)
        try:
            with ExitStack() as healing:
                link.impose(wanted, UNIMPAIRED)
                healing.callback(link.impose, UNIMPAIRED, wanted)
                impaired = max(wanted.values(), key=lambda passage: passage.delay)
                episode = Episode(_confirm(link, wanted, self.host, impaired))
                yield episode
            episode.ended = _confirm(link, UNIMPAIRED, self.host, impaired)
        finally:
            self._impaired.discard(rack)

    def confirm(self) -> None:
        """See that packets pass freely between this machine and every rack.

        Raises: Unconfirmed.
        """
        for link in self._links.values():
            _confirm(link, UNIMPAIRED, self.host)


def _confirm(
    link: Link, passing: Mapping[Way, Passage], host: str, unlike: Passage = CLEAR
) -> float:
    """When the first packet was sent that passed, or didn't, as it should, and unlike others.

    Tried again for a while, since a busy machine may hold up all packets of a probe.
    """
    deadline = monotonic() + PATIENCE
    while True:
        began = monotonic()
        samples = probe(link.far[0], link.address, host, passing)
        against = {way: contradiction(passing[way], samples[way], unlike) for way in WAYS}
        said = [f"packets on their way {way}: {words}" for way, words in against.items() if words]
        if not said:
            return began
        if monotonic() > deadline:
            raise Unconfirmed(f"rack {link.rack}, {'; '.join(said)}")
