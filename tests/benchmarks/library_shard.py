"""The yardstick for beats: a shard whose services are members of one library connection."""

from __future__ import annotations

import threading
import time

from bench.engines.live.swarm.shard import Log, Order, ShardPlan, Status, monotonic
from membership import MembershipError, Registration, connect


class LibraryShard:
    """A `shard.Shard`: the library as an application uses it that hosts many members."""

    def __init__(self, plan: ShardPlan) -> None:
        self._plan = plan
        self._members: list[Registration] = []
        self._failed: tuple[str, ...] = ()
        self._membership = connect(plan.url, plan.config)

    def begin(self, epoch: float) -> None:
        threading.Thread(target=self._ramp, args=(epoch,), daemon=True).start()

    def _ramp(self, epoch: float) -> None:
        try:
            for name, at in zip(self._plan.services, self._plan.join_at, strict=True):
                time.sleep(max(0.0, epoch + at - monotonic()))
                self._members.append(self._membership.join(self._plan.group, name))
        except MembershipError as error:
            self._failed = (f"{type(error).__name__}: {error}",)

    def carry_out(self, order: Order) -> None:
        raise ValueError(f"these services only stay: {order.action}")

    def status(self) -> Status:
        members = tuple(self._members)
        live = sum(member.is_member for member in members)
        return Status(joined=len(members), live=live, failed=self._failed)

    def drain(self) -> Log:
        return Log()

    def clock(self) -> float:
        return monotonic()

    def close(self, *, goodbye: bool) -> None:  # noqa: ARG002  the group ends with its server
        self._membership.close()
