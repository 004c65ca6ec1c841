"""A small run on real servers of each kind, with every fault: what it leaves and what it says."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.engines.live.provision import ServerSpec
from bench.store import Loaded, load
from tests.live.runs import BACKENDS, harness, require, scenario

pytestmark = pytest.mark.alone

PHASES: list[dict[str, Any]] = [
    {"settle": "1500ms"},
    {"fault": {"kind": "crash", "select": {"fraction": "10%"}, "over": "1s"}},
    {"fault": {"kind": "leave", "select": {"fraction": "10%"}, "over": "1s"}},
    # Shorter than what each backend forgives without fail (timeout - interval, S - P).
    {"fault": {"kind": "freeze", "select": {"fraction": "10%"}, "over": "1s", "for": "1s"}},
    # Longer than the slowest detection.
    {"fault": {"kind": "freeze", "select": {"fraction": "10%"}, "over": "1s", "for": "6s"}},
    {"hold": "9s"},
]
SHORT, LONG = 1.0, 6.0

AGAIN = "again"

backends = pytest.mark.parametrize("backend", list(BACKENDS))


@dataclass(frozen=True)
class Done:
    """A run that came to its end."""

    code: int
    output: dict[str, Any]
    out: Path
    result: Loaded


def carry_out(folder: Path, backend: str, phases: list[dict[str, Any]], **changes: object) -> Done:
    folder.mkdir()
    text = scenario(backend, phases=phases, **changes)
    with harness(folder, text, "--servers", "local") as run:
        run.until(f"{backend}: ramp")
        code, output = run.end()
    run.assert_nothing_left()
    assert code in (0, 1, 3), run.said
    return Done(code, json.loads(output), run.out, load(run.out))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """One that everybody may enter: PostgreSQL runs as a user of its own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def runs(folder: Path) -> Mapping[str, Done]:
    """One on each backend side by side, as most of their time is waiting; then another one."""
    require("local", ServerSpec("sql"), ServerSpec("zookeeper"))
    slo = ["mistakes.count == 0", "detection.missed == 0"]
    short = [*PHASES[:2], {"hold": "500ms"}]
    with ThreadPoolExecutor(len(BACKENDS)) as pool:
        runs = {
            backend: pool.submit(carry_out, folder / backend, backend, PHASES, slo=slo)
            for backend in BACKENDS
        }
        runs[AGAIN] = pool.submit(carry_out, folder / AGAIN, "tuned", short)
        return {name: run.result() for name, run in runs.items()}


@pytest.fixture
def done(runs: Mapping[str, Done], backend: str) -> Done:
    return runs[backend]


@backends
def test_it_ends_valid_and_leaves_a_whole_result(done: Done, backend: str) -> None:
    """That nothing else is left is asserted wherever it is run."""
    assert done.output["summary"]["reasons"] == []
    assert done.code == 0
    path = Path(done.output["path"])
    assert sorted(each.name for each in path.iterdir()) == [
        "events.parquet",
        "manifest.json",
        "metrics.parquet",
        "scenario.yaml",
        "summary.json",
    ]
    latest = done.out / "small" / "latest"
    assert latest.is_symlink()
    assert latest.resolve() == path.resolve() == done.result.path.resolve()
    # Stamped with the run that it belongs to, the summary on disk is the one that was printed.
    summary = dict(done.result.summary)
    assert summary.pop("run") == path.name
    assert summary == done.output["summary"]
    [run] = done.result.manifest["runs"]
    assert run["backend"] == backend
    assert run["complete"]


@backends
def test_the_manifest_tells_what_each_server_ran_with(done: Done, backend: str) -> None:
    [run] = done.result.manifest["runs"]
    environment = run["environment"]
    assert environment["where"] == "local"
    assert environment["meters_failed"] == {}
    roles = sorted(each["role"] for each in environment["servers"])
    if backend == "zk":
        assert roles == ["follower", "follower", "leader"]
        assert {each["config"]["tickTime"] for each in environment["servers"]} == {"500"}
    else:
        assert roles == ["primary"]


@backends
def test_the_summary_has_the_figures_of_each_backend(done: Done, backend: str) -> None:
    summary = done.output["summary"]
    assert {"schema", "engine", "verdict", "reasons", "slo", "backends"} <= summary.keys()
    assert (summary["schema"], summary["engine"], summary["verdict"]) == (1, "live", "valid")
    assert len(summary["slo"]) == 2
    assert all(rule.keys() >= {"rule", "value", "ok"} for rule in summary["slo"])
    figures = summary["backends"][backend]
    assert figures["services"] == 100
    distribution = {"count", "missed", "mean", "sd", "p50", "p90", "p99", "max"}
    assert figures["detection"].keys() >= distribution | {"every"}
    assert figures["detection"]["every"].keys() >= distribution
    assert (figures["detection"]["count"], figures["detection"]["missed"]) == (10, 0)
    assert figures["mistakes"]["count"] == 0
    mistakes = {"count", "rate", "rate_upper95", "duration_mean", "query_accuracy"}
    assert figures["mistakes"].keys() >= mistakes
    assert figures["join"]["ramp_seconds"] > 0
    counted = "packets" if backend == "zk" else "statements"
    for name in ("server_cpu_cores", "server_rss_max_bytes", "network_bytes", counted):
        assert figures["load"][name] > 0, name
        assert figures["load"][f"{name}_per_service_second"] > 0, name
    assert figures["load"]["disk_write_bytes"] >= 0
    assert figures["load"]["yardstick_seconds"] > 0
    audit = {"lateness_p99", "lateness_p99_ramp", "harness_cpu_cores", "model_error_p99"}
    assert audit <= figures["audit"].keys()
    assert figures["audit"]["faults_confirmed"] == figures["audit"]["faults_planned"] == 40


class Story:
    """The events of a run, by service."""

    def __init__(self, done: Done) -> None:
        self.events = done.result.events
        truth = self.events[self.events["observer"].isna()]
        self.truth = truth.set_index("kind")
        seen = self.events[self.events["observer"].notna() & (self.events["kind"] != "fresh")]
        self._told = {
            key: list(rows[["kind", "incarnation", "t"]].itertuples(index=False, name=None))
            for key, rows in seen.sort_values("t", kind="stable").groupby(["observer", "subject"])
        }
        self.observers = sorted(seen["observer"].unique())

    def told(self, subject: str) -> list[list[tuple[str, int, float]]]:
        """What each observer was told of a service: kind, token and time of each event."""
        return [self._told.get((observer, subject), []) for observer in self.observers]

    def rows(self, kind: str) -> Iterator[tuple[str, int, float]]:
        """Subject, token and time of each true event of a kind, in order."""
        found = self.truth.loc[[kind]] if kind in self.truth.index else self.truth.iloc[:0]
        yield from found[["subject", "incarnation", "t"]].itertuples(index=False, name=None)

    def freezes(self) -> Iterator[tuple[str, int, float, float]]:
        """Subject, token, start and end of each."""
        until = {subject: t for subject, _, t in self.rows("resumed")}
        for subject, token, since in self.rows("frozen"):
            yield subject, token, since, until[subject]


@pytest.fixture(scope="module")
def stories(runs: Mapping[str, Done]) -> Mapping[str, Story]:
    return {backend: Story(runs[backend]) for backend in BACKENDS}


@pytest.fixture
def story(stories: Mapping[str, Story], backend: str) -> Story:
    return stories[backend]


@backends
def test_each_observer_sees_everybody_join_once_and_bystanders_do_nothing_else(
    story: Story,
) -> None:
    assert story.observers == ["observer-0", "observer-1"]
    tokens = {subject: token for subject, token, _ in reversed(list(story.rows("joined")))}
    assert len(tokens) == 100
    hit = {subject for kind in ("crashed", "left", "frozen") for subject, _, _ in story.rows(kind)}
    assert len(hit) == 40
    for subject, token in tokens.items():
        for told in story.told(subject):
            assert told[0][:2] == ("joined", token)
            assert len(told) == 1 or subject in hit


@backends
@pytest.mark.parametrize("fault", ["crashed", "left"])
def test_a_death_is_seen_once_by_each_observer_after_it_happened(story: Story, fault: str) -> None:
    victims = list(story.rows(fault))
    assert len(victims) == 10
    for subject, token, t in victims:
        for told in story.told(subject):
            _, (kind, seen, at) = told
            assert (kind, seen) == ("left", token)
            assert at >= t


@backends
def test_a_freeze_shorter_than_the_timeout_goes_unnoticed(story: Story) -> None:
    short = [freeze for freeze in story.freezes() if freeze[3] - freeze[2] < (SHORT + LONG) / 2]
    assert len(short) == 10
    for subject, token, _, _ in short:
        assert [[event[:2] for event in told] for told in story.told(subject)] == [
            [("joined", token)]
        ] * 2


@backends
def test_a_longer_freeze_is_noticed_and_taken_back_when_the_service_goes_on(
    story: Story, backend: str
) -> None:
    """On ZooKeeper the session is over: the service joins again, as another life. On SQL its row
    still stands, and the next beat makes it the same life's."""
    long = [freeze for freeze in story.freezes() if freeze[3] - freeze[2] > (SHORT + LONG) / 2]
    assert len(long) == 10
    for subject, token, since, until in long:
        for told in story.told(subject):
            _, gone, back = told
            assert gone[:2] == ("left", token)
            assert since < gone[2] < until < back[2]
            assert back[0] == "joined"
            assert back[1] > token if backend == "zk" else back[1] == token


@backends
def test_both_kinds_of_services_live_and_are_hit(done: Done, story: Story) -> None:
    joined = story.truth.loc[["joined"]].drop_duplicates("subject")
    assert joined["client"].value_counts().to_dict() == {"wire": 90, "library": 10}
    beats = done.result.metrics[done.result.metrics["metric"] == "lateness"]
    assert set(beats["source"].unique()) == {"wire-0", "library-0"}


def victims(result: Loaded) -> pd.DataFrame:
    """Who was hit by what, in the order in which it was due."""
    events = result.events
    struck = events["kind"].isin(["crashed", "left", "frozen"]) & events["observer"].isna()
    hit = events[struck].assign(due=events["t"] - events["value"]).sort_values("due")
    return hit[["kind", "subject"]].reset_index(drop=True)


def test_one_seed_chooses_the_same_victims_in_the_same_order(runs: Mapping[str, Done]) -> None:
    """On every backend, and in a run of another length."""
    crashed = victims(runs[AGAIN].result)
    assert len(crashed) == 10
    for backend in BACKENDS:
        first = victims(runs[backend].result)
        assert first.equals(victims(runs["tuned"].result))
        pd.testing.assert_frame_equal(first.head(10), crashed)
