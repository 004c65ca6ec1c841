"""`heartbench run` as a process of its own, and the proof that nothing of it is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from bench.engines.live.provision import ServerSpec, missing
from tests.lacking import none_lacking

# Beats don't wait for the disk, which others keep busy.
SQL = {"kind": "sql", "interval": "1s", "timeout": "4s", "synchronous_commit": False}
BACKENDS: Mapping[str, Mapping[str, object]] = {
    "nova": {**SQL, "profile": "nova", "poll": "read"},
    "tuned": {**SQL, "profile": "tuned", "poll": "500ms"},
    "zk": {"kind": "zookeeper", "servers": 3, "session_timeout": "4s", "tick": "500ms"},
}

SHARD = "bench.engines.live.swarm.serve"
"""What the command line of every process that hosts a shard names."""

PATIENCE = 60.0
"""Seconds for what takes two or three on an idle machine."""


def scenario(*backends: str, phases: list[dict[str, Any]], **changes: object) -> str:
    """A small scenario with some of `BACKENDS`, as YAML. It wants no quiet machine."""
    return yaml.safe_dump(
        {
            "version": 1,
            "name": "small",
            "question": "Does all that happens to a service show, and nothing else?",
            "seed": 3,
            "backends": {name: dict(BACKENDS[name]) for name in backends},
            "services": {"count": 100, "library": 10, "ramp": "100/s"},
            "observers": 2,
            "audit": {"lateness_p99": "2s", "stall": "2s"},
            "phases": phases,
            **changes,
        },
        sort_keys=False,
    )


def require(where: str, *specs: ServerSpec) -> None:
    """Skips where servers of these kinds can't be had, but not in continuous integration."""
    none_lacking(lack for spec in specs for lack in missing(spec, where))


@dataclass
class Harness:
    """A `heartbench run` under way."""

    process: subprocess.Popen[str]
    out: Path
    temporary: Path
    """Its folder for temporary files, and nobody else's."""
    said: list[str] = field(default_factory=list)
    """What it wrote on the standard error until now."""
    seen: set[psutil.Process] = field(default_factory=set)

    def until(self, wanted: str) -> None:
        """Follow its progress to this phase of a backend, such as `zk: hold`, and look."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            moment = json.loads(line) if line.startswith("{") else None
            if moment and f"{moment['backend']}: {moment['phase']}" == wanted:
                self.look()
                return
        pytest.fail(f"it never said {wanted!r}:\n{''.join(self.said)}")

    def look(self) -> None:
        """Remember all that it has started and that lives now."""
        self.seen.update(psutil.Process(self.process.pid).children(recursive=True))

    def until_it_starts(self, program: str) -> None:
        """Until it has a child of this name, and look."""
        deadline = time.monotonic() + PATIENCE
        while program not in self._running():
            assert time.monotonic() < deadline, f"it never started {program}"
            time.sleep(0.01)
            self.look()

    def _running(self) -> set[str]:
        names = set()
        for each in self.seen:
            with suppress(psutil.NoSuchProcess):
                names.add(each.name())
        return names

    def shards(self) -> list[psutil.Process]:
        """The processes of its shards, the oldest first: observers, wire, library."""
        hosts = []
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # a program that was run for a moment
                if SHARD in child.cmdline():
                    hosts.append(child)
        return sorted(hosts, key=psutil.Process.create_time)

    def send(self, number: signal.Signals) -> None:
        self.look()
        self.process.send_signal(number)

    def end(self, patience: float = PATIENCE) -> tuple[int, str]:
        """Wait for its end; its exit code, and its standard output."""
        output, errors = self.process.communicate(timeout=patience)
        self.said.append(errors)
        return self.process.returncode, output

    def assert_no_process_left(self) -> None:
        """Nor a socket, then: all of them belong to processes."""
        assert self.seen, "nothing was ever seen of it"
        _, alive = psutil.wait_procs(self.seen, timeout=PATIENCE)
        # One that its killed parent left behind may stay a zombie until somebody collects it.
        assert [each for each in alive if each.status() != psutil.STATUS_ZOMBIE] == []

    def assert_nothing_left(self) -> None:
        """No process, no socket, no temporary file."""
        self.assert_no_process_left()
        assert list(self.temporary.iterdir()) == []


@contextmanager
def harness(folder: Path, text: str, *options: str) -> Iterator[Harness]:
    """Start ``heartbench run`` on this scenario; it is killed if it outlives the block.

    Its temporary files lie below ``folder``, which everybody must be able to enter.
    """
    file, temporary = folder / "small.yaml", folder / "tmp"
    file.write_text(text)
    temporary.mkdir()
    temporary.chmod(0o755)
    out = folder / "results"
    command = [sys.executable, "-m", "bench", "run", str(file), "--out", str(out), "--json"]
    process = subprocess.Popen(
        [*command, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    with process:
        try:
            yield Harness(process, out, temporary)
        finally:
            process.kill()
