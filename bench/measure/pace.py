"""Whether the harness kept the pace that it stands for: renewals sent, and nothing stalled."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.measure.delays import period
from bench.measure.figures import Figure, ratio
from bench.measure.impairments import LINKS, impairments, states
from bench.measure.lives import lives, nearest, truth
from bench.measure.outages import outages
from bench.measure.spans import Instants, spans, within
from bench.measure.window import observed
from bench.result import Kind, Record

RAMP, FAILOVER, IMPAIRED, STEADY = "ramp", "failover", "impaired", "steady"

EDGES = 3 / math.sqrt(6)
"""Services beat by their own phases, so what falls into a span of time differs from its mean:
by a standard deviation of sqrt(1/6) renewals a service. Three of them are no shortfall. Nor is one
renewal of each service of those that joined in step: they are on one side of an edge together."""


def circumstances(record: Record, samples: pd.DataFrame) -> pd.Series[str]:
    """For each sample (columns t and source): `ramp`; `failover`, in an outage of servers;
    `impaired`, of a shard some of whose services had bad links then; or `steady`."""
    window = observed(record)
    times = samples["t"].to_numpy(np.float64)
    found = pd.Series(STEADY, index=samples.index, dtype="object")
    for shard, bad in _bad_links(record).items():
        found[(samples["source"] == shard) & within(times, bad)] = IMPAIRED
    found[within(times, outages(record))] = FAILOVER
    found[times < (window.start if window else np.inf)] = RAMP
    return found


def rate_reached(records: Sequence[Record]) -> tuple[Figure, Figure]:
    """The share of the renewals that its live services had to send which the harness did send,
    outside ramps, failovers and bad links; and what that may fall short by chance.

    None where shards don't count what they send.
    """
    sent = wanted = services = in_step = 0.0
    for record in records:
        every = period(record.parameters)
        counts = record.metrics[record.metrics["metric"] == "renewals"]
        if every is None or counts.empty:
            continue
        for _, source in counts.groupby("source"):
            ours, theirs = _seconds(record, source.sort_values("t"))
            sent += ours
            wanted += theirs / every
        services += record.services
        in_step += record.services * _step(record, every)
    allowance = ratio(EDGES * math.sqrt(services) + in_step, wanted)
    return ratio(sent, wanted), allowance


def _step(record: Record, every: float) -> float:
    """How much in step services renew that joined when these did: from 0, evenly spread over the
    interval (s), to 1, all at once. The length of their phases' mean resultant vector."""
    phases = 2j * np.pi / every * truth(record, Kind.JOINED)["t"].to_numpy(np.float64)
    return float(abs(np.exp(phases).mean())) if len(phases) else 0.0


def worst(records: Sequence[Record], metric: str) -> Figure:
    """The highest value of a metric outside ramps, failovers and bad links."""
    values = []
    for record in records:
        rows = record.metrics[record.metrics["metric"] == metric]
        values += rows.loc[circumstances(record, rows) == STEADY, "value"].tolist()
    return max(values, default=None)


def _seconds(record: Record, counts: pd.DataFrame) -> tuple[float, float]:
    """Of one shard's samples in the steady state: renewals counted, and service-seconds lived.

    Each sample counts since the one before; the first one is left out.
    """
    window = observed(record)
    steady = circumstances(record, counts) == STEADY
    until = counts["t"].to_numpy(np.float64)
    since = np.concatenate([[np.inf], until[:-1]])
    inside = steady.to_numpy() & steady.shift(fill_value=False).to_numpy()
    inside &= (since < until) & (until <= (window.end if window else -np.inf))
    lived = _alive(record, str(counts["source"].iloc[0]), (since + until)[inside] / 2)
    return (
        float(counts["value"].to_numpy(np.float64)[inside].sum()),
        float((lived * (until - since)[inside]).sum()),
    )


def _alive(record: Record, shard: str, times: Instants) -> Instants:
    """How many services of a shard lived and were able to renew, at each of these instants."""
    joined = truth(record, Kind.JOINED)
    mine = joined.loc[joined["clock"] == shard, "subject"].unique()
    lived = lives(record)
    lived = lived[lived["subject"].isin(mine)].sort_values("start")
    later = lived.groupby("subject")["start"].shift(-1).fillna(np.inf)
    stops = impairments(record)
    stops = stops[(stops["state"] == Kind.FROZEN) & stops["subject"].isin(mine)]
    lost = truth(record, Kind.LOST)
    lost = lost[lost["subject"].isin(mine) & states(lost, stops).isna()]
    back = nearest(lost, joined, "t", "forward").fillna(np.inf)
    silent = [(lost["t"], back), (stops["since"], stops["recovered"])]
    alive = _since(lived["start"], times) - _since(lived["end"].clip(upper=later), times)
    for begin, end in silent:
        alive -= _since(begin, times) - _since(end, times)
    return alive


def _since(instants: pd.Series[float], times: Instants) -> Instants:
    """How many of the instants have come by each of the times."""
    return np.searchsorted(np.sort(np.asarray(instants, dtype=np.float64)), times).astype(float)


def _bad_links(record: Record) -> dict[str, pd.DataFrame]:
    """The spans in which services of a shard had bad links, by the shard's name."""
    rows = impairments(record)
    rows = rows[rows["state"].isin(LINKS)]
    joined = truth(record, Kind.JOINED).drop_duplicates("subject").set_index("subject")["clock"]
    pairs = rows.assign(shard=rows["subject"].map(joined)).drop_duplicates(["shard", "since"])
    return {
        str(shard): spans(group[["since", "until"]].itertuples(index=False, name=None))
        for shard, group in pairs.groupby("shard")
    }
