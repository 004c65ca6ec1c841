"""Takes a swarm through the ramp and the phases of a run."""

from __future__ import annotations

import time
from contextlib import ExitStack

from bench.engines.live.chronicle import Chronicle
from bench.engines.live.faults import Stage, inflict
from bench.engines.live.muster import Swarm
from bench.engines.live.provision import Deployment
from bench.engines.live.racks import Fabric
from bench.engines.live.swarm.shard import monotonic
from bench.errors import InvalidRun
from bench.plan import Run
from bench.progress import Listener, Moment, Pace

LEAD = 0.5
"""Between an order and its earliest instant, in s: time to reach every shard."""
TICK = 0.5
STRAGGLERS = 60.0
"""How long after the ramp's planned end the last service may join, in s."""


class Conductor:
    """Takes a swarm through the ramp and the phases, collecting and telling as it goes."""

    def __init__(
        self,
        run: Run,
        swarm: Swarm,
        fabric: Fabric,
        deployment: Deployment,
        chronicle: Chronicle,
        listen: Listener,
    ) -> None:
        self._run = run
        self._swarm = swarm
        self._fabric = fabric
        self._deployment = deployment
        self._chronicle = chronicle
        self._listen = listen
        self._phase = ("ramp", 0.0, run.ramp)
        self._pace = Pace()

    def conduct(self) -> None:
        epoch = monotonic() + LEAD
        self._chronicle.begin(epoch)
        self._phase = ("ramp", epoch, self._run.ramp)
        for shard in self._swarm.shards:
            shard.begin(epoch)
        self._ramp(epoch + self._run.ramp + STRAGGLERS)
        t0 = monotonic() + LEAD
        stage = Stage(
            run=self._run,
            t0=t0,
            shards=self._swarm.shards,
            fabric=self._fabric,
            deployment=self._deployment,
            tell=self._chronicle.tell,
        )
        with ExitStack() as guards:
            for phase in self._run.phases:
                name = f"{phase.kind} {phase.fault.kind}" if phase.fault else phase.kind
                self._phase = (name, t0 + phase.start, phase.end - phase.start)
                self._until(t0 + phase.start - LEAD)
                self._chronicle.phase(name, t0 + phase.start, phase.end - phase.start)
                if phase.fault is not None:
                    guards.enter_context(inflict(phase.fault, stage))
            self._until(t0 + self._run.phases[-1].end)
            self._chronicle.end(monotonic())
        self._chronicle.collect()

    def _ramp(self, deadline: float) -> None:
        while (joined := self._look()) < self._run.scenario.services.count:
            if monotonic() > deadline:
                raise InvalidRun(
                    f"only {joined} of {self._run.scenario.services.count} services had joined "
                    f"{STRAGGLERS:.0f} s after the ramp: {self._complaints()}"
                )
            time.sleep(TICK / 5)

    def _until(self, t: float) -> None:
        while (left := t - monotonic()) > 0:
            time.sleep(min(TICK, left))
            self._look()

    def _look(self) -> int:
        """Collect what the shards have to tell, tell the listener; how many have joined."""
        self._chronicle.collect()
        services = [shard.status() for shard in self._swarm.shards]
        observers = [shard.status() for shard in self._swarm.observers]
        failed = [words for status in observers for words in status.failed]
        if failed:
            raise InvalidRun(f"an observer has failed: {failed[0]}")
        name, start, length = self._phase
        joined = sum(status.joined for status in services)
        self._pace.add(monotonic(), sum(status.renewals for status in services))
        self._listen(
            Moment(
                self._run.backend_name,
                self._run.repeat,
                name,
                elapsed=max(0.0, monotonic() - start),
                length=length,
                joined=joined,
                live=sum(status.live for status in services),
                dead=sum(status.dead for status in services),
                seen=observers[0].live if observers else 0,
                rate=self._pace.rate,
            )
        )
        return joined

    def _complaints(self) -> str:
        failed = [words for shard in self._swarm.shards for words in shard.status().failed]
        return "; ".join(failed) or "none of them says why"
