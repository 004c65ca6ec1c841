"""Results on disk: whole at every instant, or refused with a word on what to do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.manifest import manifest, masked
from bench.measure.summary import summarise
from bench.result import Kind, Record
from bench.store import Loaded, ResultError, Store, load, resume
from tests.unit.history import History

MANIFEST = {"scenario": "crash", "engine": "live", "seed": 7}
YAML = "version: 1\nname: crash\n"
TOKEN = 2**60 + 1
"""No float64 holds it."""


def record(index: int = 0, **rest: Any) -> Record:
    run = History(index=index, repeat=index, **rest).alive("a", token=TOKEN)
    run.truth(18.0, Kind.RENEWED, "a").truth(20.0, Kind.CRASHED, "a")
    return run.told(78.0, Kind.LEFT, "a", token=TOKEN).audited().record()


def write(root: Path, *records: Record) -> Path:
    recording = Store(root).begin("crash", YAML, MANIFEST)
    for each in records:
        recording.add(each)
    return recording.finish(summarise(records))


def assert_same(found: Record, wanted: Record) -> None:
    assert {**vars(found), "events": None, "metrics": None} == {
        **vars(wanted),
        "events": None,
        "metrics": None,
    }
    pd.testing.assert_frame_equal(found.events, wanted.events)
    pd.testing.assert_frame_equal(found.metrics, wanted.metrics)


def test_what_was_written_comes_back_and_is_judged_the_same(tmp_path: Path) -> None:
    written = [record(0, point={"services.count": 1}), record(1, complete=False)]
    loaded = load(write(tmp_path, *written))
    for found, wanted in zip(loaded.records(), written, strict=True):
        assert_same(found, wanted)
    assert loaded.scenario == YAML
    assert loaded.manifest["seed"] == 7
    assert loaded.manifest["ended"]
    assert loaded.summary.items() >= summarise(list(loaded.records())).items()
    assert loaded.events["run"].value_counts().to_dict() == {0: 8, 1: 8}
    assert loaded.victims[["run", "detection"]].values.tolist() == [[0, 58.0], [1, 58.0]]
    assert str(loaded.events["incarnation"].dtype) == "Int64"
    assert loaded.events["incarnation"].max() == TOKEN


def test_each_file_states_its_schema_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = write(tmp_path, record())
    assert sorted(file.name for file in path.iterdir()) == [
        "events.parquet", "manifest.json", "metrics.parquet", "scenario.yaml", "summary.json",
    ]  # fmt: skip
    for name in ("events", "metrics"):
        file = pq.ParquetFile(path / f"{name}.parquet")
        assert file.schema_arrow.metadata[b"heartbench.schema"] == b"1"
        assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    for name in ("manifest", "summary"):
        assert json.loads((path / f"{name}.json").read_text())["schema"] == 1


def test_a_run_a_scenario_and_the_whole_folder_lead_to_the_latest(tmp_path: Path) -> None:
    older, newer = write(tmp_path, record()), write(tmp_path, record())
    assert older.name < newer.name
    assert load(older).path == older.resolve()
    for place in (newer, tmp_path / "crash", tmp_path / "crash" / "latest", tmp_path):
        assert load(place).path == newer.resolve()
    assert (tmp_path / "crash" / "latest").readlink() == Path(newer.name)


def test_a_result_may_be_moved(tmp_path: Path) -> None:
    moved = shutil.move(write(tmp_path, record()), tmp_path / "elsewhere")
    assert len(list(load(moved).records())) == 1


def test_a_result_without_a_run_loads_too(tmp_path: Path) -> None:
    loaded = load(write(tmp_path))
    assert (list(loaded.records()), len(loaded.events), len(loaded.victims)) == ([], 0, 0)


def test_an_index_is_recorded_once(tmp_path: Path) -> None:
    recording = Store(tmp_path).begin("crash", YAML, MANIFEST)
    recording.add(record())
    with pytest.raises(ValueError, match="run 0 has been recorded already"):
        recording.add(record())


class Killed(BaseException):
    """As a SIGKILL would: nothing after it is done."""


def killed_after(monkeypatch: pytest.MonkeyPatch, steps: int, body: Callable[[], object]) -> bool:
    """Run `body`, but no further than its `steps`-th fsync."""
    left = steps

    def fsync(_: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        try:
            body()
        except Killed:
            return True
    return False


def test_a_kill_at_any_step_leaves_what_had_been_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time one step further, until nothing is left to be killed."""
    records = [record(0), record(1)]
    summary = summarise(records)
    for steps in range(100):
        root, added = tmp_path / str(steps), 0

        def body(root: Path = root) -> None:
            nonlocal added
            recording = Store(root).begin("crash", YAML, MANIFEST)
            for each in records:
                recording.add(each)
                added += 1
            recording.finish(summary)

        killed = killed_after(monkeypatch, steps, body)
        runs = list((root / "crash").glob("[!.]*/manifest.json"))
        assert runs or not added
        if runs:
            loaded = load(root)
            found = list(loaded.records())
            assert added <= len(found) <= added + 1  # it may be there before `add` has returned
            for one, wanted in zip(found, records, strict=False):
                assert_same(one, wanted)
            assert loaded.summary["verdict"] in ("valid", "unknown")
        if not killed:
            assert loaded.summary["verdict"] == "valid"
            return
    pytest.fail("it never came to an end")


def test_a_killed_process_leaves_a_readable_result(tmp_path: Path) -> None:
    program = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from bench.store import Store\n"
        "from tests.unit.test_store import MANIFEST, YAML, record\n"
        f"recording = Store(Path({str(tmp_path)!r})).begin('crash', YAML, MANIFEST)\n"
        "recording.add(record())\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", program], cwd=root, timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    loaded = load(tmp_path)
    (found,) = loaded.records()
    assert_same(found, record())
    assert loaded.summary["verdict"] == "unknown"
    assert len(loaded.victims) == 1


def test_a_run_that_broke_off_keeps_its_figures_and_is_unknown(tmp_path: Path) -> None:
    recording = Store(tmp_path).begin("crash", YAML, MANIFEST)
    recording.add(record())
    recording.finish(summarise([record()]), broken_off="SIGINT")
    summary = load(tmp_path).summary
    assert (summary["verdict"], summary["reasons"]) == ("unknown", ["broke off: SIGINT"])
    assert summary["backends"]["db"]["detection"]["count"] == 1


def test_leaving_the_recording_by_an_exception_finishes_it(tmp_path: Path) -> None:
    def body() -> None:
        with Store(tmp_path).begin("crash", YAML, MANIFEST) as recording:
            recording.add(record())
            raise KeyError("zk")

    with pytest.raises(KeyError, match="zk"):
        body()
    loaded = load(tmp_path)
    assert loaded.summary["verdict"] == "unknown"
    assert "broke off: KeyError: 'zk'" in loaded.summary["reasons"]
    assert len(list(loaded.records())) == 1


def begun(root: Path, *records: Record) -> Path:
    """The directory of a harness that was killed after these records, in the midst of another."""
    recording = Store(root).begin("crash", YAML, MANIFEST)
    for each in records:
        recording.add(each)
    half = recording.path / "parts" / f".{len(records):05d}"
    half.mkdir()
    (half / "events.parquet").write_bytes(b"PAR1")
    return recording.path


def test_a_result_of_a_killed_harness_is_taken_up_without_what_was_half_written(
    tmp_path: Path,
) -> None:
    path = begun(tmp_path, record(0), record(1, complete=False))
    recording = resume(load(path), keep={0})
    assert sorted(part.name for part in (path / "parts").iterdir()) == ["00000"]
    recording.add(record(1))
    recording.finish(summarise([record(0), record(1)]))
    loaded = load(path)
    for found, wanted in zip(loaded.records(), [record(0), record(1)], strict=True):
        assert_same(found, wanted)
    assert loaded.finished
    assert len(loaded.manifest["resumed"]) == 1
    assert loaded.manifest["seed"] == 7


def test_a_result_that_broke_off_is_taken_up_too(tmp_path: Path) -> None:
    recording = Store(tmp_path).begin("crash", YAML, MANIFEST)
    recording.add(record(0))
    recording.add(record(1, complete=False))
    path = recording.finish(summarise([record(0)]), broken_off="SIGINT")
    assert not load(path).finished
    again = resume(load(path), keep={0})
    assert [found.index for found in load(path).records()] == [0]
    again.add(record(1))
    again.finish(summarise([record(0), record(1)]))
    assert [found.complete for found in load(path).records()] == [True, True]
    assert load(path).finished


def test_what_somebody_is_still_writing_is_not_taken_up(tmp_path: Path) -> None:
    recording = Store(tmp_path).begin("crash", YAML, MANIFEST)
    with pytest.raises(ResultError, match="another heartbench is still writing it"):
        resume(load(recording.path), keep=())
    recording.finish(summarise([]))
    resume(load(recording.path), keep=()).finish(summarise([]))


def test_a_kill_at_any_step_of_taking_up_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a merged result, whose records are taken apart again. Each time one step further."""
    kept = record(0)
    summary = summarise([kept])
    for steps in range(100):
        recording = Store(tmp_path / str(steps)).begin("crash", YAML, MANIFEST)
        recording.add(kept)
        path = recording.finish(summary, broken_off="SIGINT")
        merged = load(path)

        def body(merged: Loaded = merged) -> None:
            resume(merged, keep={0})

        killed = killed_after(monkeypatch, steps, body)
        (found,) = load(path).records()
        assert_same(found, kept)
        if not killed:
            return
    pytest.fail("it never came to an end")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("whole"), record())


def truncate(name: str) -> Callable[[Path], object]:
    def spoil(path: Path) -> None:
        content = (path / name).read_bytes()
        (path / name).write_bytes(content[: len(content) * 2 // 3])

    return spoil


def edit(name: str, **changes: object) -> Callable[[Path], object]:
    def spoil(path: Path) -> None:
        content = json.loads((path / name).read_text())
        (path / name).write_text(json.dumps({**content, **changes}))

    return spoil


def restamp(key: bytes, value: bytes) -> Callable[[Path], object]:
    def spoil(path: Path) -> None:
        table = pq.read_table(path / "events.parquet")
        metadata = {**(table.schema.metadata or {}), key: value}
        pq.write_table(table.replace_schema_metadata(metadata), path / "events.parquet")

    return spoil


def foreign(path: Path) -> None:
    pq.write_table(pa.table({"t": [1.0]}), path / "metrics.parquet")


def narrowed(path: Path) -> None:
    table = pq.read_table(path / "events.parquet")
    pq.write_table(table.drop_columns(["clock"]), path / "events.parquet")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (truncate("events.parquet"), "events.parquet: damaged or cut off .*; restore it"),
        (truncate("metrics.parquet"), "metrics.parquet: damaged or cut off .*; restore it"),
        (truncate("summary.json"), "summary.json: damaged or cut off .*; restore it"),
        (truncate("manifest.json"), "manifest.json: damaged or cut off .*; restore it"),
        (lambda path: (path / "events.parquet").unlink(), "events.parquet: missing; restore it"),
        (lambda path: (path / "manifest.json").unlink(), "manifest.json: missing; restore it"),
        (lambda path: (path / "scenario.yaml").unlink(), "scenario.yaml: missing; restore it"),
        (lambda path: (path / "summary.json").unlink(), "summary.json: missing; restore it"),
        (lambda path: (path / "summary.json").write_text("[]"), "summary.json: not a JSON object"),
        (edit("manifest.json", schema=2), "manifest.json: newer schema 2, .* update heartbench"),
        (edit("summary.json", schema=0), "summary.json: older schema 0, .* that wrote it"),
        (edit("summary.json", schema=None), "summary.json: states no schema version"),
        (restamp(b"heartbench.schema", b"2"), "events.parquet: newer schema 2"),
        (restamp(b"heartbench.run", b"other"), "events.parquet: belongs to run other, .* own"),
        (edit("summary.json", run="other"), "summary.json: belongs to run other"),
        (edit("manifest.json", runs=[{"index": 0}]), "manifest.json: not a run's description"),
        (edit("manifest.json", runs=[None]), "manifest.json: not a run's description"),
        (edit("manifest.json", runs=None), "manifest.json: lists no runs"),
        (foreign, "metrics.parquet: states no schema version"),
        (narrowed, "events.parquet: its columns aren't those of schema 1"),
    ],
)
def test_what_is_not_whole_is_refused_with_the_file_and_the_mend(
    whole: Path, tmp_path: Path, spoil: Callable[[Path], object], says: str
) -> None:
    path = shutil.copytree(whole, tmp_path / "result")
    spoil(path)
    with pytest.raises(ResultError, match=says) as refused:
        load(path)
    assert str(path) in str(refused.value)
    assert refused.value.exit_code == 2


def test_a_link_to_a_run_that_is_gone_is_refused(tmp_path: Path) -> None:
    shutil.rmtree(write(tmp_path, record()))
    with pytest.raises(ResultError, match=r"latest: points to .*, which is gone; name a run's"):
        load(tmp_path / "crash")


@pytest.mark.parametrize(("name", "says"), [("empty", "no result in it"), ("none", "not there")])
def test_a_place_without_results_is_refused(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResultError, match=says):
        load(tmp_path / name)


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match=r"cannot be made .* --out"):
        Store(tmp_path / "file").begin("crash", YAML, MANIFEST)


def test_no_secret_is_written(tmp_path: Path) -> None:
    url = "postgresql+psycopg://bench:s3cret@db/x?password=s3cret"
    environment = {"servers": [{"name": "server", "url": url, "password": "s3cret"}]}
    described = manifest(scenario="crash", seed=1, engine="live", argv=["run", "--servers", url])
    recording = Store(tmp_path).begin("crash", YAML, {**described, "url": url})
    recording.add(record(environment=environment))
    parts = [path.read_bytes() for path in recording.path.rglob("*") if path.is_file()]
    recording.finish({"verdict": "valid"})
    parts += [path.read_bytes() for path in recording.path.rglob("*") if path.is_file()]
    assert not [part for part in parts if b"s3cret" in part]


@pytest.mark.parametrize(
    ("plain", "hidden"),
    [
        ("postgresql://u:p@ss:w@host:5432/db", "postgresql://u:***@host:5432/db"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("zookeeper://127.0.0.1:2181/nova", "zookeeper://127.0.0.1:2181/nova"),
        ("x://h/?token=abc&a=b", "x://h/?token=***&a=b"),
        ({"password": "x", "n": [1, "PWD=y z"]}, {"password": "***", "n": [1, "PWD=*** z"]}),
        ({"password_encryption": "scram"}, {"password_encryption": "scram"}),
    ],
)
def test_passwords_are_masked_and_nothing_else(plain: object, hidden: object) -> None:
    assert masked(plain) == hidden


def test_a_manifest_tells_versions_machine_and_sources(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    told = manifest(scenario="crash", seed=1, engine="sim", argv=["run"], directory=tmp_path)
    assert told["git"] is None
    assert told["versions"]["python"].startswith("3.")
    assert told["versions"]["pyarrow"] == pa.__version__
    assert told["machine"]["cores"] >= 1
    assert told["machine"]["memory_bytes"] > 0

    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "one"], check=True)
    clean = manifest(scenario="crash", seed=1, engine="sim", argv=[], directory=tmp_path)["git"]
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is False
    (tmp_path / "new").write_text("")
    assert manifest(scenario="c", seed=1, engine="sim", argv=[], directory=tmp_path)["git"]["dirty"]
