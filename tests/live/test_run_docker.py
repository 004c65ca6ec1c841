"""A small run on containers: the same figures, and nothing of it left in the Docker engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import docker
import pytest
from docker import DockerClient

from bench.engines.live.provision import ServerSpec
from bench.engines.live.provision.containers import OWNER_LABEL
from bench.engines.live.provision.images import prepare
from bench.store import load
from tests.live.runs import BACKENDS, harness, require, scenario

pytestmark = pytest.mark.alone

PHASES: list[dict[str, Any]] = [
    {"settle": "1s"},
    {"fault": {"kind": "crash", "select": {"fraction": "10%"}, "over": "1s"}},
    {"hold": "6s"},
]


@pytest.fixture
def engine() -> Iterator[DockerClient]:
    """With our images in it, which stay."""
    specs = ServerSpec("sql"), ServerSpec("zookeeper")
    require("docker", *specs)
    for spec in specs:
        prepare(spec, print)
    with closing(docker.from_env()) as client:
        yield client


def images(engine: DockerClient) -> set[str]:
    """Ours, those without a name and those in between included."""
    found = engine.images.list(all=True, filters={"label": "heartbench.image"})
    return {str(image.id) for image in found}


def test_a_run_on_containers_leaves_none_of_them(engine: DockerClient, tmp_path: Path) -> None:
    before = images(engine)
    text = scenario("tuned", "zk", phases=PHASES, slo=["detection.missed == 0"])
    seen: dict[str, str] = {}
    volumes: set[str] = set()
    with harness(tmp_path, text, "--servers", "docker", "--set", "backends.zk.servers=1") as run:
        mine: dict[str, str | list[str] | bool] = {"label": f"{OWNER_LABEL}={run.process.pid}"}
        for backend in ("tuned", "zk"):
            run.until(f"{backend}: ramp")
            [container] = engine.containers.list(filters=mine)
            seen[backend] = str(container.name)
            volumes |= {mount["Name"] for mount in container.attrs["Mounts"] if "Name" in mount}
        code, output = run.end()
        assert engine.containers.list(all=True, filters=mine) == []
    assert code == 0, (run.said, output)
    run.assert_nothing_left()
    assert seen["tuned"].endswith("-pg")
    assert seen["zk"].endswith("-zk-1")
    assert volumes.isdisjoint(volume.name for volume in engine.volumes.list())
    assert images(engine) == before
    summary = json.loads(output)["summary"]
    assert summary["verdict"] == "valid"
    for backend in ("tuned", "zk"):
        detection = summary["backends"][backend]["detection"]
        assert (detection["count"], detection["missed"]) == (10, 0)
        assert summary["backends"][backend]["load"]["server_cpu_cores"] > 0
    runs = load(run.out).manifest["runs"]
    assert {each["environment"]["where"] for each in runs} == {"docker"}
    assert BACKENDS.keys() > {each["backend"] for each in runs}
