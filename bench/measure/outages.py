"""When servers were failing, so that what happened then can be told apart."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench.measure.delays import failover
from bench.measure.lives import truth
from bench.measure.once import once
from bench.measure.spans import spans
from bench.result import Kind, Record

HITS = (Kind.SERVER_KILLED, Kind.SERVER_PAUSED, Kind.SERVER_STOPPED, Kind.SERVER_CUT)


@once
def outages(record: Record) -> pd.DataFrame:
    """One row an outage, with since and until; they don't overlap.

    An outage lasts from a blow to a server, or its return, for as long as that is felt
    (`delays.failover`); and all the while that no majority of the servers is up. Where a majority
    goes on without the one that was hit, the others take over and the outage ends although it
    is still down.

    A blow begins with its order: a server that is told to stop turns its clients away at once,
    and is confirmed to be gone seconds later.
    """
    felt = failover(record.parameters)
    majority = record.parameters.servers // 2 + 1
    pairs = []
    down: set[str] = set()
    lost: float | None = None
    """Since when there is no majority."""
    happened = truth(record, *HITS, Kind.SERVER_BACK)
    ordered = happened["value"].where(happened["kind"].isin(HITS), 0.0).fillna(0.0)
    happened["began"] = happened["t"] - ordered
    for began, t, kind, server in (
        happened[["began", "t", "kind", "subject"]]
        .sort_values("began", kind="stable")
        .itertuples(index=False, name=None)
    ):
        pairs.append((began, t + felt))
        (down.discard if kind == Kind.SERVER_BACK else down.add)(server)
        if record.parameters.servers - len(down) >= majority:
            if lost is not None:
                pairs.append((lost, t + felt))
            lost = None
        elif lost is None:
            lost = began
    if lost is not None:
        pairs.append((lost, np.inf))
    return spans(pairs)
