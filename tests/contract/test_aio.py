"""The asyncio facade: nothing is lost, nothing is left behind, whatever is cancelled."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from membership import (
    Absent,
    CellState,
    Closed,
    Conflict,
    EventKind,
    Fence,
    MemoryConfig,
    NameTaken,
    NotAMember,
    SqlConfig,
    ZooKeeperConfig,
    aio,
    connect,
)
from membership.api import Registration
from membership.backends.memory import MemoryMembership
from tests.threads import none_left

_numbers = itertools.count()
Connect = Callable[[], aio.Opening[aio.Membership]]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    with none_left():
        yield


@pytest.fixture
def url() -> str:
    return f"memory://aio-{next(_numbers)}"


@pytest.fixture(params=["memory", "sqlite", "zookeeper"])
def connecting(request: pytest.FixtureRequest, tmp_path: Path, url: str) -> Connect:
    if request.param == "memory":
        return lambda: aio.connect(url)
    if request.param == "sqlite":
        config = SqlConfig(interval=0.5, timeout=5.0, poll=0.1)
        return lambda: aio.connect(f"sqlite:///{tmp_path}/members.db", config)
    zookeeper: str = request.getfixturevalue("zookeeper_url")
    return lambda: aio.connect(zookeeper, ZooKeeperConfig(session_timeout=5.0))


def run(main: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60.0):
            await main

    asyncio.run(bounded())


def test_it_says_what_the_threaded_library_says(connecting: Connect) -> None:
    async def main() -> None:
        async with connecting() as ours, connecting() as theirs:
            me = await ours.join("compute", "host-1", metadata={"zone": "az1"})
            assert me.is_member
            assert (me.group, me.name, me.metadata) == ("compute", "host-1", {"zone": "az1"})
            found = await theirs.member("compute", "host-1")
            assert found is not None
            assert found.token == me.token
            assert list((await theirs.members("compute")).members) == ["host-1"]
            assert await theirs.groups() == ("compute",)
            with pytest.raises(NameTaken):
                await theirs.join("compute", "host-1")
            async with theirs.watch("compute") as watch:
                await me.update({"zone": "az2"})
                await ours.force_down("compute", "host-1", "a new kernel")
                assert await theirs.forced_down("compute") == {"host-1": "a new kernel"}
                kinds = [event.kind async for event in _until_left(watch)]
                assert kinds[0] == EventKind.JOINED
                assert kinds[-1] == EventKind.LEFT
                assert not watch.view.members
                await ours.lift("compute", "host-1")
                event = await watch.next()
                assert event is not None
                assert (event.kind, event.member and event.member.token) == ("joined", me.token)
            await me.leave()
            assert not me.is_member
            with pytest.raises(NotAMember):
                await me.update({})

    run(main())


async def _until_left(watch: aio.Watch) -> Any:
    async for event in watch:
        yield event
        if event.kind is EventKind.LEFT:
            return


def test_cells_are_written_under_conditions_and_followed(connecting: Connect) -> None:
    async def main() -> None:
        async with connecting() as membership:
            cell = membership.cell("a/cell")
            assert await cell.get() == CellState()
            assert await cell.compare_and_set(b"one", 0, Absent("g", "x")) == CellState(b"one", 1)
            with pytest.raises(Conflict):
                await cell.compare_and_set(b"two", 1, Fence("other", 7))
            async for state in cell.watch():
                assert state == CellState(b"one", 1)
                break
            async with cell.watch() as watch:
                assert await watch.next() == CellState(b"one", 1)
                await cell.compare_and_set(b"two", 1)
                assert await watch.next() == CellState(b"two", 2)

    run(main())


def test_a_watch_followed_directly_ends_with_its_connection(connecting: Connect) -> None:
    async def main() -> None:
        seen = []

        async def follow(membership: aio.Membership) -> None:
            async for event in membership.watch("compute"):
                assert event.member is not None
                seen.append((event.kind.value, event.member.name))

        async with connecting() as membership:
            following = asyncio.create_task(follow(membership))
            me = await membership.join("compute", "host-1")
            while not seen:
                await asyncio.sleep(0.01)
            await me.leave()
            while len(seen) < 2:
                await asyncio.sleep(0.01)
        await following
        assert seen == [("joined", "host-1"), ("left", "host-1")]

    run(main())


def test_every_event_comes_once_though_each_wait_is_cut_short(url: str) -> None:
    async def main() -> None:
        async with aio.connect(url) as membership, membership.watch("compute") as watch:
            seen: list[str] = []

            async def take() -> None:
                if (event := await watch.next()) is not None and event.member is not None:
                    seen.append(f"{event.kind} {event.member.name}")

            async def cut_short() -> None:
                while len(seen) < 200:
                    taking = asyncio.create_task(take())
                    await asyncio.sleep(0.0002)
                    taking.cancel()
                    await asyncio.gather(taking, return_exceptions=True)

            cutting = asyncio.create_task(cut_short())
            for number in range(100):
                me = await membership.join("compute", f"host-{number}")
                await me.leave()
            await cutting
            told = [f"{kind} host-{n}" for n in range(100) for kind in ("joined", "left")]
            assert seen == told
            assert await watch.next(0.01) is None

    run(main())


def test_consumers_of_one_watch_share_its_events(url: str) -> None:
    async def main() -> None:
        async with aio.connect(url) as membership, membership.watch("compute") as watch:
            taking = [asyncio.create_task(watch.next()) for _ in range(3)]
            await asyncio.sleep(0.01)
            for number in range(3):
                await membership.join("compute", f"host-{number}")
            events = await asyncio.gather(*taking)
            assert {event.member.name for event in events if event and event.member} == {
                "host-0",
                "host-1",
                "host-2",
            }

    run(main())


def test_a_timeout_is_none_and_what_is_queued_comes_without_waiting(url: str) -> None:
    async def main() -> None:
        async with aio.connect(url) as membership, membership.watch("compute") as watch:
            assert await watch.next(0.0) is None
            assert await watch.next(0.01) is None
            await membership.join("compute", "host-1")
            await asyncio.sleep(0.05)
            event = await watch.next(0.0)
            assert event is not None
            await watch.close()
            await watch.close()
            assert await watch.next() is None

    run(main())


def test_a_join_that_is_cancelled_leaves_no_member(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = threading.Event(), threading.Event()
    join = MemoryMembership.join

    def slow(self: MemoryMembership, *args: Any, **kwargs: Any) -> Registration:
        begun.set()
        go.wait()
        return join(self, *args, **kwargs)

    monkeypatch.setattr(MemoryMembership, "join", slow)

    async def main() -> None:
        async with aio.connect(url) as membership, membership.watch("compute") as watch:
            joining = asyncio.create_task(membership.join("compute", "host-1"))
            await asyncio.to_thread(begun.wait)
            joining.cancel()
            with pytest.raises(asyncio.CancelledError):
                await joining
            go.set()
            kinds = [event.kind async for event in _until_left(watch)]
            assert kinds == ["joined", "left"]

    run(main())


def test_callbacks_run_on_the_loop(zookeeper_url: str) -> None:
    async def main() -> None:
        loop_thread = threading.current_thread()
        told: asyncio.Queue[tuple[str, aio.Registration]] = asyncio.Queue()

        def tell(what: str) -> Callable[[aio.Registration], None]:
            def callback(registration: aio.Registration) -> None:
                assert threading.current_thread() is loop_thread
                told.put_nowait((what, registration))

            return callback

        config = ZooKeeperConfig(session_timeout=5.0)
        async with aio.connect(zookeeper_url, config) as membership:
            me = await membership.join(
                "compute", "host-1", on_lost=tell("lost"), on_rejoined=tell("rejoined")
            )
            token = me.token
            await asyncio.to_thread(_delete_the_node, zookeeper_url)
            assert await told.get() == ("lost", me)
            assert await told.get() == ("rejoined", me)
            assert me.token > token

    run(main())


def _delete_the_node(url: str) -> None:
    from membership.backends.zookeeper import ZooKeeperMembership
    from membership.backends.zookeeper.operations import delete
    from membership.backends.zookeeper.paths import member_path

    with connect(url) as other:
        assert isinstance(other, ZooKeeperMembership)
        path = member_path(other.namespace, "compute", "host-1")
        client = other.client

        async def delete_it() -> None:
            await client.ask(delete(path))

        other.run(delete_it)


def test_a_closed_connection_says_so(url: str) -> None:
    async def main() -> None:
        membership = await aio.connect(url, MemoryConfig())
        me = await membership.join("compute", "host-1")
        await asyncio.gather(membership.close(), membership.close())
        await membership.close()
        with pytest.raises(Closed):
            await membership.members("compute")
        await me.leave()
        assert not me.is_member

    run(main())


def test_an_interpreter_that_closes_nothing_ends_all_the_same(tmp_path: Path) -> None:
    program = f"""
import asyncio
from membership import aio

async def main():
    membership = await aio.connect("sqlite:///{tmp_path}/members.db")
    await membership.join("compute", "host-1")
    watch = await membership.watch("compute")
    print((await watch.next()).kind)
    waiting = asyncio.create_task(watch.next())
    await asyncio.sleep(0.1)

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "joined\n", "")


def test_a_loop_that_is_cancelled_twice_closes_its_watch(url: str) -> None:
    async def main() -> None:
        async def follow() -> None:
            async for _ in membership.watch("compute"):
                pass

        async with aio.connect(url) as membership:
            assert isinstance(membership.threaded, MemoryMembership)
            feeds = membership.threaded.store.feeds
            following = asyncio.create_task(follow())
            while not feeds:
                await asyncio.sleep(0.01)
            following.cancel()
            await asyncio.sleep(0)
            following.cancel()
            with pytest.raises(asyncio.CancelledError):
                await following
            while feeds:
                await asyncio.sleep(0.01)

    run(main())
