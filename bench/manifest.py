"""What a result was made with and on: versions, machine, sources. Never a secret."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

PACKAGES = (
    "heartbench",
    "kazoo",
    "sqlalchemy",
    "psycopg",
    "asyncpg",
    "numpy",
    "pandas",
    "pyarrow",
    "simpy",
)

_NAMES = r"(?:password|passwd|pwd|secret|token)"
_SECRETS = (
    re.compile(r"(?P<before>\w://[^\s/:@]*:)[^\s/]*(?P<after>@)"),
    re.compile(rf"(?P<before>{_NAMES}\s*[=:]\s*)[^\s&;,]+(?P<after>)", re.IGNORECASE),
)


def manifest(
    *,
    scenario: str,
    seed: int,
    engine: str,
    argv: Sequence[str],
    told: Mapping[str, Any] | None = None,
    directory: Path | None = None,
) -> dict[str, Any]:
    """What is known when a run starts. The servers' versions come with its records.

    `told`: what else the engine was told, such as where its servers come from. `git` is the state
    of the repository around `directory` (default: the working directory), None outside of one.
    """
    return {
        "scenario": scenario,
        "seed": seed,
        "engine": engine,
        "argv": [masked(word) for word in argv],
        **masked(told or {}),
        "started": now(),
        "ended": None,
        "versions": _versions(),
        "machine": _machine(),
        "git": _git(directory or Path.cwd()),
    }


def version() -> str | None:
    """Of heartbench itself; None where it isn't installed."""
    return _versions()["heartbench"]


def now() -> str:
    """This instant in UTC, ISO 8601, whole milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def masked(value: Any) -> Any:
    """The same value, with `***` for passwords in URLs, in `password=…` and under such keys."""
    match value:
        case str():
            for secret in _SECRETS:
                value = secret.sub(r"\g<before>***\g<after>", value)
            return value
        case Mapping():
            return {
                key: "***" if re.fullmatch(_NAMES, str(key), re.IGNORECASE) else masked(item)
                for key, item in value.items()
            }
        case list() | tuple():
            return [masked(item) for item in value]
        case _:
            return value


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def _machine() -> dict[str, Any]:
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": platform.release(),
        "system": platform.system(),
        "container": any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv")),
    }


def _cpu_model() -> str:
    try:
        found = re.search(r"(?m)^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def _git(directory: Path) -> dict[str, Any] | None:
    commit = _ask_git(directory, "rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "dirty": bool(_ask_git(directory, "status", "--porcelain"))}


def _ask_git(directory: Path, *question: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(directory), *question],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
