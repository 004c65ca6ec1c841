"""Results written by hand, as a run would leave them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from bench.measure.summary import summarise
from bench.result import EVENTS, METRICS, Kind, Parameters, Record, frame
from bench.scenario.slo import parse
from bench.store import Store
from tests.unit.history import History

ZOOKEEPER = Parameters(kind="zookeeper", timeout=10.0, tick=2.0, epoch=0.0)
MACHINE = {"cpu": "made up", "cores": 2, "system": "Linux"}
SCENARIO: dict[str, Any] = {
    "version": 1,
    "name": "by-hand",
    "question": "How late is a crash noticed?",
    "services": {"count": 4},
}


def run(
    backend: str = "db",
    *,
    index: int = 0,
    repeat: int = 0,
    late: float = 55.0,
    cpu: float = 0.1,
    statements: float = 40.0,
    missed: bool = False,
    **rest: Any,
) -> Record:
    """Four services, two of which crash at 20 and 30 s and are noticed `late` s after; a server
    that uses `cpu` cores and is asked `statements` a second."""
    history = History(index=index, repeat=repeat, backend=backend, observers=("o1", "o2"), **rest)
    for number, name in enumerate("abcd"):
        history.alive(name, t=1.0 + number, token=number + 1)
    for number, (name, onset) in enumerate((("a", 20.0), ("b", 30.0))):
        history.truth(onset - 2.0, Kind.RENEWED, name)
        history.truth(onset, Kind.CRASHED, name)
        if not (missed and name == "b"):
            for observer, delay in (("o1", 0.0), ("o2", 0.5)):
                history.told(onset + late + delay, Kind.LEFT, name, observer, number + 1)
    for t in range(0, 101, 5):
        history.sample(t, "server", "cpu_seconds", cpu * t)
        history.sample(t, "server", "statements", statements * t)
        history.sample(t, "server", "rss_bytes", 5e7)
        history.sample(t, "machine", "network_bytes", 1000.0 * t)
        history.sample(t, "harness", "cpu_seconds", 0.05 * t)
    return history.audited().record()


def write(
    root: Path,
    *records: Record,
    scenario: dict[str, Any] | None = None,
    slo: Sequence[str] = (),
    **rest: Any,
) -> Path:
    """The records as a result, judged by these rules; `rest` goes into the manifest."""
    described = SCENARIO | (scenario or {})
    name = str(described["name"])
    manifest = {"scenario": "by-hand", "engine": "live", "seed": 7, "machine": MACHINE, **rest}
    manifest["scenario"] = name
    recording = Store(root).begin("by-hand", yaml.safe_dump(described, sort_keys=False), manifest)
    for record in records:
        recording.add(record)
    return recording.finish(summarise(records, slo=[parse(rule) for rule in slo]))


def large(backend: str, services: int, victims: int, observers: int, seed: int) -> Record:
    """A run of realistic size: everybody joins in 10 s, the victims crash one by one in the next
    60 s, and each observer is told about 10 s later."""
    random = np.random.default_rng(seed)
    names = np.array([f"compute-{number:06d}" for number in range(services)])
    tokens = np.arange(1, services + 1)
    joined = np.linspace(0.1, 10.0, services)
    struck = random.choice(services, victims, replace=False)
    onset = np.sort(random.uniform(12.0, 72.0, victims))
    watchers = [f"observer-{number}" for number in range(observers)]

    def rows(t: Any, kind: Kind, who: Any, observer: str | None = None) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "t": t,
                "kind": str(kind),
                "subject": names[who],
                "incarnation": tokens[who],
                "observer": observer,
                "client": "wire",
            }
        )

    everyone = np.arange(services)
    parts = [
        pd.DataFrame(
            {
                "t": [10.5, 12.0, 95.0],
                "kind": ["phase", "phase", "end"],
                "subject": ["settle", "fault crash", "run"],
            }
        ),
        rows(joined - 0.01, Kind.JOINING, everyone),
        rows(joined, Kind.JOINED, everyone),
        rows(onset - random.uniform(0, 3, victims), Kind.RENEWED, struck),
        rows(onset, Kind.CRASHED, struck),
    ]
    late = random.uniform(7.0, 12.0, victims)
    for number, name in enumerate(watchers):
        parts.append(rows(joined + 0.002, Kind.JOINED, everyone, name))
        parts.append(rows(onset + late + 0.01 * number, Kind.LEFT, struck, name))
    events = pd.concat(parts, ignore_index=True).sort_values("t").assign(backend=backend, repeat=0)
    seconds = np.arange(0.0, 96.0)
    sources = [f"{backend}-{number}" for number in range(3)]
    metrics = pd.concat(
        [
            pd.DataFrame(
                {"t": seconds, "source": source, "metric": metric, "value": rate * seconds}
            )
            for source in sources
            for metric, rate in (("cpu_seconds", 0.2), ("packets_received", 900.0))
        ]
        + [
            pd.DataFrame(
                {"t": [0.0], "source": "harness", "metric": "faults_planned", "value": victims}
            )
        ]
        + [pd.DataFrame({"t": seconds, "source": "wire-0", "metric": "lateness", "value": 0.001})]
    ).assign(backend=backend, repeat=0)
    return Record(
        index=0,
        backend=backend,
        repeat=0,
        services=services,
        observers=tuple(watchers),
        parameters=ZOOKEEPER,
        events=frame(EVENTS, events),
        metrics=frame(METRICS, metrics),
        environment={"servers": [{"name": source, "config": {}} for source in sources]},
    )
