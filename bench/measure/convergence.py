"""How long the observers took to agree after the faults of a phase, and over how many views."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench.measure.detection import ONSET
from bench.measure.figures import Figure
from bench.measure.lives import observations, truth
from bench.result import Kind, Record

COLUMNS = ["run", "backend", "repeat", "phase", "victims", "onset", "agreed", "seconds", "views"]


def convergence(record: Record, victims: pd.DataFrame) -> pd.DataFrame:
    """One row per phase in which something befell services that all had to notice, or that any
    observer noticed, with `COLUMNS`.

    `onset`: the phase's last such fault; `agreed`: when the last observer had learnt of its last
    victim (NaN: never); `seconds` between them. `views`: how many different memberships any
    observer held from the first fault until then, the one before it included.
    """
    noticed = victims.groupby(ONSET)["detected"].transform("count") > 0
    struck = victims.loc[noticed | victims["due"].fillna(False), ["subject", "onset", "detected"]]
    struck = struck.sort_values("onset")
    phases = truth(record, Kind.PHASE)[["subject", "t"]].rename(columns={"subject": "phase"})
    struck = pd.merge_asof(struck, phases, left_on="onset", right_on="t")
    changes = observations(record, Kind.JOINED, Kind.LEFT)
    return pd.DataFrame(
        [
            _row(record, str(phase), members, changes)
            for (phase, _), members in struck.groupby(["phase", "t"], sort=False)
        ],
        columns=COLUMNS,
    )


def agreement(phases: pd.DataFrame) -> dict[str, Figure]:
    """The summary's figures: of the slowest phase, and of the one with the most views."""
    if phases.empty:
        return {"seconds": None, "views": None}
    slowest = phases["seconds"].max(skipna=False)
    return {
        "seconds": None if np.isnan(slowest) else float(slowest),
        "views": int(phases["views"].max()),
    }


def _row(
    record: Record, phase: str, members: pd.DataFrame, changes: pd.DataFrame
) -> dict[str, object]:
    onset = members["onset"].max()
    agreed = members["detected"].max(skipna=False)
    until = np.inf if np.isnan(agreed) else agreed
    return {
        "run": record.index,
        "backend": record.backend,
        "repeat": record.repeat,
        "phase": phase,
        "victims": members["subject"].nunique(),
        "onset": onset,
        "agreed": agreed,
        "seconds": max(agreed - onset, 0.0) if np.isfinite(until) else np.nan,
        "views": views(changes[changes["t"].between(members["onset"].min(), until)]),
    }


def views(changes: pd.DataFrame) -> int:
    """Different memberships that observers held, the one before the changes included: each is told
    apart by the lives in which it differs from the first one."""
    seen = {0}
    for _, told in changes.groupby("observer", sort=False):
        toggled = pd.util.hash_pandas_object(told[["subject", "incarnation"]], index=False)
        seen.update(np.bitwise_xor.accumulate(toggled.to_numpy()).tolist())
    return len(seen)
