"""The two means of delaying a rack's packets: the kernel's netem, or a relay of our own."""

from __future__ import annotations

import fcntl
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Protocol

from bench.engines.live.racks.namespaces import CommandFailed, run, secluded, within
from bench.engines.live.racks.passage import CLEAR, WAYS, Passage, Way
from bench.engines.live.racks.relay import ORDER
from bench.errors import HarnessError

PROGRAM = Path(__file__).with_name("relay.py")
PATIENCE = 30.0
"""The relay answers within this time, in s, its start included, unless it hangs."""

_DEVICES = Path("/dev/net/tun")
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000

End = tuple[str, str]
"""A namespace, and a device in it."""


class Delayer(Protocol):
    """Delays one link."""

    def hold(self, way: Way, passage: Passage) -> None:
        """From now on, what goes that way takes so long. No packet overtakes another."""


class Netem:
    """The kernel's own means, at the sending end of each way."""

    def __init__(self, fabric: End, rack: End) -> None:
        self._senders: dict[Way, End] = {"in": fabric, "out": rack}
        self._held = dict.fromkeys(WAYS, CLEAR)

    def hold(self, way: Way, passage: Passage) -> None:
        before, self._held[way] = self._held[way], passage
        namespace, device = self._senders[way]
        queue = ("dev", device, "root")
        times = [f"{seconds * 1e6:.0f}us" for seconds in (passage.delay, passage.jitter)]
        # A stated rate, however high, is what makes netem keep the order in spite of the jitter.
        netem = ("netem", "limit", "1000000", "delay", *times, "rate", "100gbit")
        run("tc", "-n", namespace, "qdisc", "replace", *queue, *netem)
        if passage.delay == 0:
            time.sleep(before.delay + before.jitter)  # deleted earlier, it would lose what it holds
            run("tc", "-n", namespace, "qdisc", "delete", *queue)


def has_netem() -> bool:
    """Whether this kernel can delay packets itself."""
    try:
        secluded(lambda: run("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"))
    except (CommandFailed, FileNotFoundError):
        return False
    return True


def tun(name: str) -> FileIO:
    """A new TUN device in the calling thread's namespace; it is gone with the file.

    Raises: OSError where there are none.
    """
    device = _DEVICES.open("r+b", buffering=0)
    try:
        request = struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI)
        fcntl.ioctl(device, _TUNSETIFF, request)
    except OSError:
        device.close()
        raise
    return device


class Relay:
    """The process that carries the packets of some links; see `relay`."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        self.pid = process.pid
        self._process = process
        self._control = control
        self._lock = threading.Lock()

    def delayer(self, link: int) -> Delayer:
        """That of one link, by its place among the relay's."""
        return _Relayed(self, link)

    def order(self, way: int, delay: float, jitter: float) -> None:
        """Returns once that holds; see `relay.ORDER`. From any thread."""
        order = ORDER.pack(way, delay, jitter)
        with self._lock:
            try:
                self._control.send(order)
                answer = self._control.recv(ORDER.size)
            except TimeoutError:
                raise HarnessError(
                    f"the racks' relay has not answered for {PATIENCE:.0f} s"
                ) from None
            except OSError:
                answer = b""
        if answer != order:
            raise HarnessError("the racks' relay has ended, and their links with it")

    def expect_running(self) -> None:
        """Raises: HarnessError where the relay ended before its time."""
        if self._process.poll() is not None:
            raise HarnessError(
                f"the racks' relay ended with exit code {self._process.returncode} during the run, "
                "and their links with it"
            )


class _Relayed:
    def __init__(self, relay: Relay, link: int) -> None:
        self._relay = relay
        self._link = link

    def hold(self, way: Way, passage: Passage) -> None:
        # The relay counts in the same order: from the fabric's device to the rack's, and back.
        number = 2 * self._link + WAYS.index(way)
        self._relay.order(number, passage.delay, passage.jitter)


@contextmanager
def relay(links: Sequence[tuple[End, End]]) -> Iterator[Relay]:
    """A relay and its TUN devices, for as long as the block runs.

    ``links``: the fabric's end and the rack's end of each. The devices are gone with the process,
    which also ends when the harness does.
    """
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    with ExitStack() as stack:
        stack.enter_context(ours)
        with theirs, ExitStack() as devices:
            files = [theirs.fileno()]
            for namespace, name in (end for link in links for end in link):
                device = within(namespace, partial(tun, name))
                files.append(devices.enter_context(device).fileno())
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(PROGRAM), *map(str, files)],
                pass_fds=files,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        stack.callback(process.wait)
        stack.callback(process.kill)
        ours.settimeout(PATIENCE)
        started = Relay(process, ours)
        started.order(0, 0.0, 0.0)  # returns once it carries packets
        yield started
