"""Racks' links lose, delay and drop real packets, in the stated direction alone, and heal; and
whatever ends a run, this machine is left as it was."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from bench.engines.live.leftovers import Leftover
from bench.engines.live.racks import Fabric, Unconfirmed, leftovers, missing, racks, remove
from bench.engines.live.racks.delays import has_netem
from bench.engines.live.racks.namespaces import FOLDER, within
from bench.engines.live.racks.passage import WAYS, Direction, Way
from bench.errors import HarnessError
from tests.lacking import none_lacking

CLIENT = Path(__file__).with_name("rack_client.py")
DIRECTIONS = pytest.mark.parametrize("direction", ["in", "out", "both"])


@pytest.fixture(autouse=True)
def _permitted() -> None:
    none_lacking(missing())


def traces(pid: int) -> list[str]:
    """Whatever on this machine bears the name of a harness."""
    commands = (
        ["ip", "-o", "address"],
        ["ip", "route", "show", "table", "all"],
        ["iptables-save"],
        ["ip", "netns", "list"],
    )
    said = "".join(subprocess.check_output(command, text=True) for command in commands)
    return [line for line in said.splitlines() if f"hb-{pid}-" in line]


@pytest.fixture
def _left_as_it_was() -> Iterator[None]:
    before = traces(os.getpid())
    yield
    assert traces(os.getpid()) == before


@pytest.fixture(scope="module")
def fabric() -> Iterator[Fabric]:
    """Two racks; the second can be delayed."""
    with racks([0, 3], delayed=[3]) as fabric:
        yield fabric


@contextmanager
def echoes(host: str) -> Iterator[int]:
    """A server that sends back what it is sent, on each connection by itself; its port."""

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):  # its client has been killed
            while data := connection.recv(65_536):
                connection.sendall(data)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.callback(connection.close)
            connections.callback(_shut, connection)
            threading.Thread(target=serve, args=[connection], daemon=True).start()

    with ExitStack() as connections, socket.create_server((host, 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            _shut(listener)
            thread.join()


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class Client:
    """A process in a rack, with one connection to a server on the host."""

    def __init__(self, fabric: Fabric, rack: int, port: int) -> None:
        self._process = subprocess.Popen(
            [*fabric.inside(rack), sys.executable, str(CLIENT), fabric.host, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == "connected"

    def round_trip(self) -> float | None:
        """How long one took, in s; None without an answer for a second."""
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)
        answer = self._answer()
        return None if answer == "nothing" else float(answer)

    def is_answered(self) -> bool:
        """Whether it is, sooner or later."""
        return any(self.round_trip() is not None for _ in range(20))

    def close(self) -> None:
        with self._process:
            self._process.kill()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture
def client(fabric: Fabric, request: pytest.FixtureRequest) -> Iterator[Client]:
    """One in rack 0, or in the rack that the test names."""
    with echoes(fabric.host) as port:
        client = Client(fabric, getattr(request, "param", 0), port)
        yield client
        client.close()


class Datagrams:
    """A socket in a rack and one on this machine, to send from either and look at the other."""

    def __init__(self, fabric: Fabric, rack: int) -> None:
        namespace = fabric.inside(rack)[-1]
        inside = within(namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        outside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        outside.bind((fabric.host, 0))
        inside.connect(outside.getsockname())
        inside.send(b"")
        outside.connect(outside.recvfrom(1)[1])
        self._ends: dict[Way, tuple[socket.socket, socket.socket]] = {
            "in": (outside, inside),
            "out": (inside, outside),
        }
        for end in (inside, outside):  # room for all, so that only the link loses any
            end.setsockopt(socket.SOL_SOCKET, 33, 8_000_000)  # SO_RCVBUFFORCE

    def send(self, way: Way, count: int, *, apart: float = 0.0) -> list[tuple[int, float]]:
        """What arrives, in order: the number of each, and how long it was under way, in s."""
        source, sink = self._ends[way]
        sink.settimeout(1.0)
        arrived: list[tuple[int, float]] = []

        def listen() -> None:
            while len(arrived) < count:
                try:
                    number, sent = struct.unpack("!Id", sink.recv(100))
                except TimeoutError:
                    if done.is_set():
                        return
                else:
                    arrived.append((number, time.monotonic() - sent))

        done = threading.Event()
        with ThreadPoolExecutor(1) as listener:
            listening = listener.submit(listen)
            for number in range(count):
                source.send(struct.pack("!Id", number, time.monotonic()))
                time.sleep(apart)
            done.set()
            listening.result()
        return arrived

    def close(self) -> None:
        for end in self._ends["in"]:
            end.close()


@pytest.fixture
def datagrams(fabric: Fabric) -> Iterator[Callable[[int], Datagrams]]:
    """Makes pairs of sockets for a rack."""
    with ExitStack() as stack:

        def make(rack: int) -> Datagrams:
            made = Datagrams(fabric, rack)
            stack.callback(made.close)
            return made

        yield make


def test_no_racks_take_nothing() -> None:
    before = traces(os.getpid())
    with racks([]) as fabric:
        assert traces(os.getpid()) == before
        assert fabric.host == "127.0.0.1"
        assert fabric.inside(0) == ()
        assert fabric.pids == ()


def test_servers_on_the_host_are_reached_from_racks_and_from_this_machine(
    fabric: Fabric, client: Client
) -> None:
    assert client.is_answered()
    with (
        echoes(fabric.host) as port,
        socket.create_connection((fabric.host, port), timeout=5) as connection,
    ):
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"


def test_a_rack_without_a_link_of_its_own_is_this_machine(fabric: Fabric) -> None:
    assert fabric.inside(1) == ()
    with pytest.raises(ValueError, match="rack 1 has no link"), fabric.impair(1, "cut"):
        pass


@pytest.mark.parametrize(
    ("client", "rack", "direction"),
    [
        pytest.param(0, 0, "in", id="in"),
        pytest.param(0, 0, "out", id="out"),
        pytest.param(3, 3, "both", id="both, delayable"),
    ],
    indirect=["client"],
)
def test_a_cut_stops_an_established_connection_until_it_heals(
    fabric: Fabric, client: Client, rack: int, direction: Direction
) -> None:
    assert client.is_answered()
    before = time.monotonic()
    with fabric.impair(rack, "cut", direction) as episode:
        assert before <= episode.began <= time.monotonic()
        assert client.round_trip() is None
        assert client.round_trip() is None
        healing = time.monotonic()
    assert episode.ended is not None
    assert healing <= episode.ended <= time.monotonic()
    # TCP sends again what was lost when its timer says so, which has doubled several times.
    assert client.is_answered()


@DIRECTIONS
def test_a_cut_drops_the_packets_of_its_direction_alone(
    fabric: Fabric, datagrams: Callable[[int], Datagrams], direction: Direction
) -> None:
    sockets = datagrams(0)
    with fabric.impair(0, "cut", direction):
        for way in WAYS:
            arrived = sockets.send(way, 30)
            assert len(arrived) == (0 if direction in (way, "both") else 30)
    for way in WAYS:
        assert len(sockets.send(way, 30)) == 30


def test_a_cut_is_not_told_to_those_who_send(fabric: Fabric) -> None:
    """Its packets are lost on their way: no error, no refusal, no unreachable network."""
    with echoes(fabric.host) as port, fabric.impair(0, "cut"):
        inside = within(fabric.inside(0)[-1], lambda: socket.socket())
        inside.settimeout(1)
        with inside, pytest.raises(TimeoutError):
            inside.connect((fabric.host, port))


def test_the_other_rack_goes_on(
    fabric: Fabric, client: Client, datagrams: Callable[[int], Datagrams]
) -> None:
    with fabric.impair(3, "cut"):
        assert client.is_answered()
        assert len(datagrams(0).send("in", 30)) == 30


@DIRECTIONS
@pytest.mark.parametrize("rack", [0, 3], ids=["cable", "delayable"])
def test_a_loss_drops_its_share_in_its_direction_alone(
    fabric: Fabric, datagrams: Callable[[int], Datagrams], rack: int, direction: Direction
) -> None:
    """Of 1,000 packets 300 ± 4.5 standard deviations are lost."""
    sockets = datagrams(rack)
    with fabric.impair(rack, "loss", direction, rate=0.3):
        for way in WAYS:
            lost = 1_000 - len(sockets.send(way, 1_000))
            assert (235 <= lost <= 365) if direction in (way, "both") else lost == 0


def test_large_writes_are_lost_packet_by_packet(
    fabric: Fabric, datagrams: Callable[[int], Datagrams]
) -> None:
    """Segments of 64 KiB, which a virtual cable would carry whole, would make a loss of 2% one
    of nearly all, or nearly none, of what is written at once."""
    counted = _forwarded(fabric)
    with echoes(fabric.host) as port:
        inside = within(fabric.inside(0)[-1], lambda: socket.socket())
        with inside:
            inside.settimeout(10)
            inside.connect((fabric.host, port))
            writing = threading.Thread(target=inside.sendall, args=[bytes(500_000)])
            writing.start()
            back = 0
            while back < 500_000:
                back += len(inside.recv(65_536))
            writing.join()
    assert _forwarded(fabric) - counted >= 2 * 500_000 // 1_500


def _forwarded(fabric: Fabric) -> int:
    """Packets that crossed rack 0's link, either way."""
    lines = within(fabric.inside(0)[-1], lambda: Path("/proc/thread-self/net/dev").read_text())
    fields = next(line for line in lines.splitlines() if "fabric:" in line).split()
    return int(fields[2]) + int(fields[10])


@DIRECTIONS
def test_a_delay_holds_each_packet_of_its_direction_alone(
    fabric: Fabric, datagrams: Callable[[int], Datagrams], direction: Direction
) -> None:
    sockets = datagrams(3)
    with fabric.impair(3, "delay", direction, delay=0.06):
        for way in WAYS:
            times = [seconds for _, seconds in sockets.send(way, 20, apart=0.005)]
            assert len(times) == 20
            if direction in (way, "both"):
                assert min(times) >= 0.06
            else:
                assert min(times) < 0.06
    assert min(seconds for _, seconds in sockets.send("in", 20)) < 0.06


@pytest.mark.parametrize("client", [3], indirect=True)
def test_a_delay_is_added_to_round_trips(fabric: Fabric, client: Client) -> None:
    with fabric.impair(3, "delay", "both", delay=0.05):
        times = [client.round_trip() or 1.0 for _ in range(10)]
        assert min(times) >= 0.1
    assert min(client.round_trip() or 1.0 for _ in range(10)) < 0.1


def test_jitter_varies_the_delay_and_keeps_the_order(
    fabric: Fabric, datagrams: Callable[[int], Datagrams]
) -> None:
    with fabric.impair(3, "delay", "in", delay=0.05, jitter=0.03):
        sockets = datagrams(3)
        close_together = sockets.send("in", 300)
        apart = [seconds for _, seconds in sockets.send("in", 20, apart=0.07)]
    numbers = [number for number, _ in close_together]
    assert numbers == sorted(numbers) == list(range(300))
    assert min(apart) >= 0.02
    assert max(apart) - min(apart) > 0.01


def test_healing_a_delay_reorders_nothing(
    fabric: Fabric, datagrams: Callable[[int], Datagrams]
) -> None:
    sockets = datagrams(3)
    with ThreadPoolExecutor(1) as thread:
        with fabric.impair(3, "delay", "in", delay=0.2):
            arriving = thread.submit(sockets.send, "in", 200, apart=0.002)
            time.sleep(0.2)
        numbers = [number for number, _ in arriving.result()]
    assert numbers == list(range(200))


def test_only_racks_made_for_it_are_delayed(fabric: Fabric) -> None:
    with pytest.raises(ValueError, match="rack 0 can't be delayed"):
        fabric.impair(0, "delay", delay=0.1).__enter__()


def test_a_link_is_impaired_once_at_a_time(fabric: Fabric) -> None:
    with (
        fabric.impair(0, "cut", "in"),
        pytest.raises(ValueError, match="impaired already"),
        fabric.impair(0, "loss", rate=0.5),
    ):
        pass


def test_racks_are_impaired_at_the_same_time(
    fabric: Fabric, datagrams: Callable[[int], Datagrams]
) -> None:
    def cut(rack: int, direction: Direction) -> None:
        with fabric.impair(rack, "cut", direction):
            both.wait(10)

    both = threading.Barrier(3)
    with ThreadPoolExecutor(2) as threads:
        done = [threads.submit(cut, 0, "in"), threads.submit(cut, 3, "out")]
        both.wait(10)
        for each in done:
            each.result()
    assert [len(datagrams(rack).send(way, 20)) for rack in (0, 3) for way in WAYS] == [20] * 4


def test_a_link_heals_whatever_ends_the_block(
    fabric: Fabric, datagrams: Callable[[int], Datagrams]
) -> None:
    with pytest.raises(ZeroDivisionError), fabric.impair(0, "cut"):
        _ = 1 / 0
    assert len(datagrams(0).send("in", 30)) == 30


def test_an_impairment_that_does_not_take_hold_is_not_reported_as_one(fabric: Fabric) -> None:
    """Here a rule that accepts everything stands before the cut's own."""
    name = fabric.inside(0)[-1].replace("rack-0", "fabric")
    rules = ("ip", "netns", "exec", name, "iptables", "--wait")
    accept = ("FORWARD", "-j", "ACCEPT")
    subprocess.check_call([*rules, "-I", *accept])
    try:
        with pytest.raises(Unconfirmed, match="rack 0, packets on their way in: 0 of 20"):
            fabric.impair(0, "cut", "in").__enter__()
    finally:
        subprocess.check_call([*rules, "-D", *accept])
    with fabric.impair(0, "cut", "in"):
        pass  # and what did not take hold was taken back


@pytest.mark.usefixtures("_left_as_it_was")
def test_nothing_remains() -> None:
    before = len(traces(os.getpid()))
    with racks([1, 2], delayed=[2]) as fabric, fabric.impair(2, "delay", delay=0.01):
        assert len(traces(os.getpid())) > before + 3
        pids = fabric.pids
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


@pytest.mark.usefixtures("_left_as_it_was")
def test_nothing_remains_after_an_exception() -> None:
    with (
        pytest.raises(ZeroDivisionError),
        racks([1], delayed=[1]) as fabric,
        fabric.impair(1, "loss", rate=0.5),
    ):
        _ = 1 / 0


def test_two_harnesses_have_racks_side_by_side(fabric: Fabric) -> None:
    with racks([0]) as other:
        assert other.host != fabric.host
        with echoes(other.host) as port, fabric.impair(0, "cut"):
            client = Client(other, 0, port)
            assert client.is_answered()
            client.close()


@pytest.mark.skipif(has_netem(), reason="this kernel delays packets itself")
@pytest.mark.usefixtures("_left_as_it_was")
def test_a_relay_that_breaks_down_is_an_error() -> None:
    with pytest.raises(HarnessError, match="relay ended with exit code -9"):
        _lose_the_relay()


def _lose_the_relay() -> None:
    with racks([1], delayed=[1]) as fabric:
        os.kill(fabric.pids[0], signal.SIGKILL)
        while _runs(fabric.pids[0]):
            time.sleep(0.01)


HARNESS = """
import subprocess, sys, time
from bench.engines.live.racks import racks
with racks([1, 4], delayed=[4]) as fabric, fabric.impair(1, "cut"):
    inside = subprocess.Popen([*fabric.inside(4), "sleep", "1000"])
    print(inside.pid, *fabric.pids, flush=True)
    time.sleep(1000)
"""


@pytest.mark.usefixtures("dead_harnesses")
def test_what_a_killed_harness_leaves_is_found_and_removed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HARNESS], stdout=subprocess.PIPE, text=True
    ) as harness:
        assert harness.stdout is not None
        inside, *carriers = map(int, harness.stdout.readline().split())
        mine = [found for found in leftovers() if found.owner == harness.pid]
        assert mine == [], "its owner is alive"
        harness.kill()
    found = [found for found in leftovers() if found.owner == harness.pid]
    assert len(found) == 3
    psutil.wait_procs([psutil.Process(pid) for pid in carriers if psutil.pid_exists(pid)], 5)
    assert not [pid for pid in carriers if _runs(pid)], "they die with their harness"
    assert _runs(inside), "nobody has asked this one to"
    for leftover in found:
        remove(leftover)
        remove(leftover)
    assert not _runs(inside)
    assert [found for found in leftovers() if found.owner == harness.pid] == []
    assert traces(harness.pid) == []


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_what_a_living_harness_owns_is_never_removed(fabric: Fabric) -> None:
    assert not [found for found in leftovers() if found.owner == os.getpid()]
    for name in (fabric.inside(0)[-1], "somebody-elses"):
        with pytest.raises(ValueError, match="not the namespace of a dead harness"):
            remove(Leftover(f"network namespace {name}", os.getpid()))
    assert (FOLDER / fabric.inside(0)[-1]).exists()


@pytest.mark.usefixtures("dead_harnesses")
def test_an_owners_process_id_that_another_has_now_is_not_trusted() -> None:
    """This very process's id, with a start at which it wasn't."""
    name = f"hb-{os.getpid()}-12345-0-rack-0"
    subprocess.check_call(["ip", "netns", "add", name])
    [found] = [found for found in leftovers() if found.what.endswith(name)]
    remove(found)
    assert not (FOLDER / name).exists()


@pytest.mark.parametrize(
    ("right", "lacks"),
    [
        pytest.param("sys_admin", ["network namespaces"], id="to make namespaces"),
        pytest.param("net_admin", ["network namespaces"], id="to set them up"),
        pytest.param("setuid", [], id="one that it can do without"),
    ],
)
def test_a_root_without_a_right_is_told_so(right: str, lacks: list[str]) -> None:
    """As in a container that is not privileged."""
    program = "from bench.engines.live.racks import missing; print([it.what for it in missing()])"
    without = ("setpriv", f"--bounding-set=-{right}", f"--inh-caps=-{right}")
    said = subprocess.check_output([*without, sys.executable, "-c", program], text=True)
    assert said == f"{lacks}\n"
