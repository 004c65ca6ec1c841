"""Rules of our own on this machine's packets: they count or drop, and are gone at the end.

They stand in chains named ``HB-OWNER-...``, so that those of a dead harness can be told. No rule
looks at the state of a connection.
"""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from bench import shipped
from bench.engines.live.provision.owner import dead, stamp
from bench.engines.live.provision.spec import Lack
from bench.errors import MachineError
from bench.interruption import Cleanup, postponed

Rule = Sequence[str]
"""What `iptables -A CHAIN` takes: matches, and a target unless the rule only counts."""


class Count(NamedTuple):
    """What has met a rule. Bytes include the headers of IP and TCP."""

    packets: int
    bytes: int


_numbers = itertools.count()
_CHAIN = re.compile(r"^:(HB-([0-9]+-[0-9a-f]+)-\S+)", re.MULTILINE)
_COUNTED = re.compile(r"^\[([0-9]+):([0-9]+)\] -A (\S+) ", re.MULTILINE)
_HOOKS = {"INPUT": "in", "OUTPUT": "out"}


def missing() -> list[Lack]:
    """What keeps us from setting rules; found out by setting one that concerns no packet."""
    if shutil.which("iptables-restore") is None:
        mend = f"run {shipped.command('install-packages servers')}"
        return [Lack("iptables", "links are cut by its rules", mend)]
    try:
        with rules(leaving=[("-m", "cgroup", "!", "--path", "", "-p", "tcp", "--syn")]):
            return []
    except MachineError as error:
        return [Lack("permission to set packet rules", str(error), "run as root")]


@contextmanager
def rules(
    *, arriving: Sequence[Rule] = (), leaving: Sequence[Rule] = ()
) -> Iterator[Callable[[], list[Count]]]:
    """These rules, for packets that arrive at this machine's programs and for those they send.

    They hold before the block begins, all at once. Yields what tells how much has met each rule
    so far, in their order, arriving first. Loopback packets do both. Raises MachineError.
    """
    name = f"HB-{stamp()}-{next(_numbers)}"
    chains = {
        f"{name}-{_HOOKS[hook]}": (hook, chosen)
        for hook, chosen in (("INPUT", arriving), ("OUTPUT", leaving))
        if chosen
    }
    added = [f":{chain} - [0:0]" for chain in chains]
    for chain, (_, chosen) in chains.items():
        added += [" ".join(("-A", chain, *map(_quoted, rule))) for rule in chosen]
    added += [f"-I {hook} -j {chain}" for chain, (hook, _) in chains.items()]
    with Cleanup() as stack:
        with postponed():
            _restore(added)
            stack.callback(_remove, {chain: hook for chain, (hook, _) in chains.items()})
        yield lambda: _counts(list(chains))


def abandoned() -> Iterator[tuple[str, int]]:
    """The chains of dead harnesses, each with its owner; none where we may not look."""
    if shutil.which("iptables-save") is None:
        return
    done = subprocess.run(["iptables-save", "-t", "filter"], capture_output=True, check=False)
    for chain, stamped in _CHAIN.findall(done.stdout.decode()):
        if (owner := dead(stamped)) is not None:
            yield chain, owner


def remove(chain: str) -> None:
    """Take a chain of ours away; harmless if it is gone. Raises MachineError."""
    hook = next(hook for hook, ending in _HOOKS.items() if chain.endswith(f"-{ending}"))
    try:
        _remove({chain: hook})
    except MachineError:
        if f":{chain} " in _iptables(["iptables-save", "-t", "filter"]):
            raise


def _remove(chains: dict[str, str]) -> None:
    _restore(
        [f"-D {hook} -j {chain}" for chain, hook in chains.items()]
        + [f"-F {chain}" for chain in chains]
        + [f"-X {chain}" for chain in chains]
    )


def _counts(chains: Sequence[str]) -> list[Count]:
    saved = _iptables(["iptables-save", "-c", "-t", "filter"])
    found: dict[str, list[Count]] = {chain: [] for chain in chains}
    for packets, octets, chain in _COUNTED.findall(saved):
        if chain in found:
            found[chain].append(Count(int(packets), int(octets)))
    return [count for counts in found.values() for count in counts]


def _restore(lines: Sequence[str]) -> None:
    """All of it or nothing."""
    text = "\n".join(("*filter", *lines, "COMMIT", ""))
    _iptables(["iptables-restore", "--noflush", "-w"], text)


def _iptables(command: Sequence[str], text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"it ended with exit code {done.returncode}"
        raise MachineError(f"{command[0]} refused: {said}")
    return done.stdout


def _quoted(word: str) -> str:
    return word if word and " " not in word else f'"{word}"'
