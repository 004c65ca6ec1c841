"""A harness that is kept off the processor says so, and its numbers are not believed."""

from __future__ import annotations

import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from bench.engines.live.provision import ServerSpec
from bench.store import load
from tests.live.runs import harness, require, scenario

pytestmark = pytest.mark.alone

PERIOD, SHARE = 0.4, 0.25
"""Seconds, and the part of each in which a throttled process may run: what a CPU quota does."""


@contextmanager
def throttled(processes: list[psutil.Process]) -> Iterator[None]:
    """Let these processes run for `SHARE` of each `PERIOD` only."""
    over = threading.Event()

    def throttle() -> None:
        while not over.is_set():
            for process in processes:
                process.send_signal(signal.SIGSTOP)
            over.wait(PERIOD * (1 - SHARE))
            for process in processes:
                process.send_signal(signal.SIGCONT)
            over.wait(PERIOD * SHARE)

    thread = threading.Thread(target=throttle)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("backend", ["tuned", "zk"])
def test_a_throttled_harness_makes_its_run_invalid(backend: str) -> None:
    require("local", ServerSpec("zookeeper" if backend == "zk" else "sql"))
    phases = [{"settle": "1s"}, {"hold": "8s"}]
    services = {"count": 100, "ramp": "100/s"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        text = scenario(backend, phases=phases, services=services, audit={})
        with harness(folder, text, "--servers", "local") as run:
            run.until(f"{backend}: hold")
            with throttled(run.shards()):
                time.sleep(6.0)
            code, _ = run.end()
        assert code == 3, run.said
        assert load(run.out).summary["verdict"] == "invalid"
        assert any("beats went out" in reason for reason in load(run.out).summary["reasons"])
