"""What becomes of everybody's sessions when servers are hit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.engines.sim.ledger import Numbers
from bench.engines.sim.zookeeper.ensemble import Blow, Break
from bench.engines.sim.zookeeper.sessions import Move, Sessions, Steps
from bench.plan import Floats
from bench.result import Kind

TOLD = {
    "kill": Kind.SERVER_KILLED,
    "pause": Kind.SERVER_PAUSED,
    "restart": Kind.SERVER_STOPPED,
    "cut": Kind.SERVER_CUT,
}


@dataclass
class Failover:
    """The faults of servers."""

    of: Sessions

    def begin(self) -> None:
        """Let each take place when it is time."""
        of = self.of
        for number, each in enumerate(of.ensemble.breaks):
            of.environment.process(self._break(each, number))
        for blow in of.ensemble.blows:
            self._tell(blow)
            if blow.kind in ("pause", "cut"):
                of.environment.process(self._unheard(blow))

    def _tell(self, blow: Blow) -> None:
        of, name = self.of, server_name(blow.server)
        of.ledger.tell_of(blow.start, TOLD[blow.kind], name, value=0.0, detail=blow.role)
        back = max(blow.end, of.ensemble.opens(blow.end))
        if back < of.end:
            role = of.ensemble.role(blow.server, back)
            of.ledger.tell_of(back, Kind.SERVER_BACK, name, value=back - blow.start, detail=role)

    def _connected_to(self, servers: tuple[int, ...]) -> Numbers:
        """The sessions that ping one of these servers."""
        of = self.of
        return np.flatnonzero(np.isfinite(of.pings.base) & np.isin(of.server, np.array(servers)))

    def _break(self, each: Break, number: int) -> Steps:
        """Connections end, and everybody looks for another server."""
        of = self.of
        yield of.until(each.t)
        hit = self._connected_to(each.servers)
        of.connected[np.isin(of.server, np.array(each.servers))] = False
        if not len(hit):
            return
        dropped = of.now + each.spread * of.own.of(hit, 2 + number)
        back, servers = of.admission.admit_all(hit, dropped)
        of.moves.append(Move(np.full(len(hit), of.now), of.server[hit], back, servers))
        deadline = self._deadlines(hit, back)
        in_time = back < deadline
        here = hit[in_time]
        of.pings.begin_all(here, back[in_time])
        of.server[here] = servers[in_time]
        of.heard[here] += 1
        of.connected[here] = True
        self._lose(hit[~in_time], deadline[~in_time], back[~in_time], servers[~in_time])

    def _deadlines(self, services: Numbers, back: Floats) -> Floats:
        """When these sessions are expired unless they come back; their last words count only
        where that is in doubt."""
        of = self.of
        renewed = of.ensemble.rearmed(of.now)
        safe = max(renewed, of.now + of.ensemble.timeout / 2)
        deadlines = np.full(len(services), safe)
        for place in np.flatnonzero(back >= safe).tolist():
            service = int(services[place])
            sent = of.pings.sent(service, of.now).last
            touched = of.ensemble.touched(int(of.server[service]), sent)
            own = max(of.ensemble.expiry(touched), float(of.armed[service]))
            deadlines[place] = max(own, renewed)
        deadlines[~of.stands[services]] = -np.inf  # it was cut off, and doesn't know yet
        return deadlines

    def _lose(
        self,
        services: Numbers,
        deadlines: Floats,
        back: Floats,
        servers: np.ndarray[tuple[int], np.dtype[np.int16]],
    ) -> None:
        """These come back too late: they are expired, learn of it, and join again."""
        of = self.of
        of.pings.stop_all(services)
        standing = np.flatnonzero(of.stands[services])
        order = standing[np.argsort(deadlines[standing], kind="stable")]
        expired = services[order]
        gone = of.ensemble.close_all(deadlines[order])
        within = gone < of.end
        of.died.append((gone[within], expired[within], of.token[expired[within]]))
        of.stands[services] = False
        of.heard[services] += 1
        returning = back < of.end
        services, back, servers = services[returning], back[returning], servers[returning]
        of.server[services] = servers
        of.ledger.tell_all(back, Kind.LOST, services, tokens=of.token[services], servers=servers)
        order = np.argsort(back, kind="stable")
        of.rejoin(services[order], of.joins(back[order], services[order]))

    def _unheard(self, blow: Blow) -> Steps:
        """A server that no longer answers, or whom its leader no longer hears."""
        of = self.of
        yield of.until(blow.start)
        for service in self._connected_to((blow.server,)).tolist():
            sent = of.pings.sent(service, of.now)
            touched = of.ensemble.touched(blow.server, sent.last)
            of.armed[service] = of.ensemble.expiry(touched)
            if blow.kind == "cut":
                of.arm(service, float(of.armed[service]))
            elif sent.then < blow.end:
                of.environment.process(self._give_up(service, sent.then))

    def _give_up(self, service: int, unanswered: float) -> Steps:
        """A ping is unanswered when the next is due: it leaves that server."""
        of = self.of
        stretch = int(of.pings.stretch[service])
        yield of.until(unanswered)
        if of.pings.stretch[service] == stretch and service not in of.ended:
            of.silence(service)
            yield from of.come_back(service, of.now)


def server_name(number: int) -> str:
    """As the live engine calls them."""
    return f"zk-{number + 1}"
