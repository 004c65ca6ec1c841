"""What this machine lacks for racks, tried out rather than looked up."""

from __future__ import annotations

import os
import shutil

from bench import shipped
from bench.engines.live.provision.spec import Lack
from bench.engines.live.racks.delays import has_netem, tun
from bench.engines.live.racks.namespaces import CommandFailed, forward, run, secluded

INSTALL = f"run {shipped.command('install-packages servers')}"
_WHY = "faults on links want racks with a network of their own"


def missing(*, delayed: bool = True) -> list[Lack]:
    """What stands between this machine and `racks`; empty if that can be tried.

    ``delayed``: whether there are to be delays as well. What is tried is tried in an empty
    namespace that is gone afterwards.
    """
    if os.geteuid() != 0:
        return [
            Lack("the rights of root", f"{_WHY}, which root alone may make", "run it with sudo")
        ]
    lacks = [
        Lack(package, f"{_WHY}, and PATH has no {command}", INSTALL)
        for package, command in (("iproute2", "ip"), ("iptables", "iptables-restore"))
        if shutil.which(command) is None
    ]
    if lacks:
        return lacks
    try:
        secluded(forward)
    except OSError as error:
        why = f"{_WHY}, which is refused here ({error.strerror})"
        mend = "where this is a container, start it with --privileged"
        return [Lack("network namespaces", why, mend)]
    try:
        secluded(lambda: run("iptables", "--wait", "-A", "FORWARD", *_RANDOM, "-j", "DROP"))
    except CommandFailed as error:
        lacks.append(Lack("iptables with random matches", str(error), "modprobe xt_statistic"))
    if delayed and not has_netem():
        try:
            secluded(lambda: tun("heartbench").close())
        except OSError as error:
            why = f"a delay wants netem or TUN devices; the kernel has no netem, and {error}"
            lacks.append(Lack("TUN devices", why, "modprobe tun"))
    return lacks


_RANDOM = ("-m", "statistic", "--mode", "random", "--probability", "0.5")
