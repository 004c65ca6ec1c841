"""The library for asyncio: the same names, awaited.

    async with aio.connect("zookeeper://127.0.0.1:2181/nova") as membership:
        me = await membership.join("compute", "host-17")
        async for event in membership.watch("compute"):
            ...

The work goes on in the threads of the wrapped connection, so members are renewed while the event
loop is busy. What `membership.api` promises holds here. What is new:

* Callbacks run on the event loop that `connect` was called on.
* A cancelled call leaves nothing that nobody holds: a join that is done all the same is left
  again; a watch, or a connection, is closed. An update or a write may have been done.
* A cancelled or timed out wait for an event loses none: the next call returns it.

Everything is used on the loop that it was made on. Recipes take the wrapped connection,
`Membership.threaded`, and threads.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from membership import api
from membership.backends import connect as connect_threaded
from membership.config import Config
from membership.errors import MembershipError
from membership.model import CellState, Member, MemberEvent, Metadata, View

_CALLS = 8
"""Calls of one connection that may wait for the servers at a time; further ones queue."""

T = TypeVar("T")

Callback = Callable[["Registration"], object]


class _Closable(Protocol):
    async def close(self) -> None: ...


C = TypeVar("C", bound=_Closable)


class Opening(Generic[C]):
    """What ``await`` opens, and ``async with`` opens and closes. For one use."""

    def __init__(self, opened: Callable[[], Coroutine[Any, Any, C]]) -> None:
        self._open = opened
        self._opened: C

    def __await__(self) -> Generator[Any, None, C]:
        return self._open().__await__()

    async def __aenter__(self) -> C:
        self._opened = await self._open()
        return self._opened

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._opened.close()


class Watching(Opening["Watch"]):
    """A watch to be opened. ``async for`` opens it, and closes it when the loop is left."""

    async def __aiter__(self) -> AsyncIterator[MemberEvent]:
        async with self as watch:
            while (event := await watch.next()) is not None:
                yield event


class CellWatching(Opening["CellWatch"]):
    """As `Watching`, for a cell."""

    async def __aiter__(self) -> AsyncIterator[CellState]:
        async with self as watch:
            while (state := await watch.next()) is not None:
                yield state


def connect(
    url: str, config: Config | None = None, *, meter: api.Meter | None = None
) -> Opening[Membership]:
    """Connect, by ``async with`` or ``await``; see `membership.connect`.

    The ``meter`` is called on the library's threads.
    """

    async def opened() -> Membership:
        calls = _Calls()
        try:
            threaded = await calls.run(
                partial(connect_threaded, url, config, meter=meter), undo=_close
            )
        except BaseException:
            calls.discard()
            raise
        return Membership(threaded, calls)

    return Opening(opened)


class Membership:
    """One connection; see `membership.Membership`."""

    def __init__(self, threaded: api.Membership, calls: _Calls) -> None:
        self.threaded = threaded
        """The connection that this one wraps, for use in threads."""
        self._calls = calls
        self._loop = asyncio.get_running_loop()

    @property
    def traits(self) -> api.Traits:
        return self.threaded.traits

    async def join(
        self,
        group: str,
        name: str,
        *,
        metadata: Metadata | None = None,
        on_lost: Callback | None = None,
        on_rejoined: Callback | None = None,
    ) -> Registration:
        joined = await self._calls.run(
            partial(
                self.threaded.join,
                group,
                name,
                metadata=metadata,
                on_lost=self._on_loop(on_lost),
                on_rejoined=self._on_loop(on_rejoined),
            ),
            undo=lambda registration: registration.leave(),
        )
        return Registration(joined, self._calls)

    def _on_loop(self, callback: Callback | None) -> api.Callback | None:
        if callback is None:
            return None

        def hand_over(registration: api.Registration) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
                self._loop.call_soon_threadsafe(callback, Registration(registration, self._calls))

        return hand_over

    async def members(self, group: str) -> View:
        return await self._calls.run(partial(self.threaded.members, group))

    async def member(self, group: str, name: str) -> Member | None:
        return await self._calls.run(partial(self.threaded.member, group, name))

    async def groups(self) -> tuple[str, ...]:
        return await self._calls.run(self.threaded.groups)

    def watch(self, group: str, *, limit: int = 100_000) -> Watching:
        """Follow a group: with ``async for``, or opened by ``async with`` or ``await``."""

        async def opened() -> Watch:
            follow = partial(self.threaded.watch, group, limit=limit)
            return Watch(await self._calls.run(follow, undo=_close), self._calls)

        return Watching(opened)

    async def force_down(self, group: str, name: str, reason: str = "") -> None:
        await self._calls.run(partial(self.threaded.force_down, group, name, reason))

    async def lift(self, group: str, name: str) -> None:
        await self._calls.run(partial(self.threaded.lift, group, name))

    async def forced_down(self, group: str) -> Mapping[str, str]:
        return await self._calls.run(partial(self.threaded.forced_down, group))

    def cell(self, name: str) -> Cell:
        return Cell(self.threaded.cell(name), self._calls)

    async def close(self) -> None:
        """See `membership.Membership.close`. Once begun it goes on where it is cancelled."""
        await self._calls.run_last(self.threaded.close)


class Registration:
    """One membership of ours; see `membership.Registration`. Equal where it is the same one."""

    def __init__(self, threaded: api.Registration, calls: _Calls) -> None:
        self.threaded = threaded
        """The registration that this one wraps, which recipes take."""
        self.group = threaded.group
        self.name = threaded.name
        self._calls = calls

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Registration) and self.threaded is other.threaded

    def __hash__(self) -> int:
        return hash(self.threaded)

    @property
    def token(self) -> int:
        return self.threaded.token

    @property
    def metadata(self) -> Metadata:
        return self.threaded.metadata

    @property
    def is_member(self) -> bool:
        return self.threaded.is_member

    async def update(self, metadata: Metadata) -> None:
        await self._calls.run(partial(self.threaded.update, metadata))

    async def leave(self) -> None:
        await self._calls.run(self.threaded.leave)


class Cell:
    """A small value with a version; see `membership.Cell`."""

    def __init__(self, threaded: api.Cell, calls: _Calls) -> None:
        self.name = threaded.name
        self._threaded = threaded
        self._calls = calls

    async def get(self) -> CellState:
        return await self._calls.run(self._threaded.get)

    async def compare_and_set(self, value: bytes, version: int, *under: api.Condition) -> CellState:
        write = partial(self._threaded.compare_and_set, value, version, *under)
        return await self._calls.run(write)

    def watch(self) -> CellWatching:
        """Follow the cell: with ``async for``, or opened by ``async with`` or ``await``."""

        async def opened() -> CellWatch:
            followed = await self._calls.run(self._threaded.watch, undo=_close)
            return CellWatch(followed, self._calls)

        return CellWatching(opened)


class _Stream(Generic[T]):
    """A source's items on the event loop.

    What is queued already is taken at once. Only a wait uses a thread, which ends with it; one
    that nobody waits for any more goes on, and what it brings is the next call's.
    """

    def __init__(self, source: api.Stream[T], calls: _Calls) -> None:
        self._source = source
        self._calls = calls
        self._loop = asyncio.get_running_loop()
        self._one_at_a_time = asyncio.Lock()
        self._coming: asyncio.Future[T | None] | None = None
        self._thread: threading.Thread | None = None

    async def next(self, timeout: float | None = None) -> T | None:
        """See `membership.Watch.next`: None after ``timeout`` seconds, and once it is closed."""
        await asyncio.sleep(0)  # a full queue doesn't keep others from their turn
        if self._coming is None and (item := self._source.next(0.0)) is not None:
            return item
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout), self._one_at_a_time:
                coming = self._coming = self._coming or self._wait()
                if not coming.done():
                    await asyncio.wait([coming])  # which, cancelled, leaves it alone
                self._coming = None  # no await from here on: what came is delivered
                return coming.result()
        return None

    def _wait(self) -> asyncio.Future[T | None]:
        coming: asyncio.Future[T | None] = self._loop.create_future()

        def wait() -> None:
            item = self._source.next()
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(coming.set_result, item)

        # No executor's: the interpreter would wait at its exit for a watch that nobody closed.
        self._thread = threading.Thread(target=wait, name="membership-aio-watch", daemon=True)
        self._thread.start()
        return coming

    async def __aiter__(self) -> AsyncIterator[T]:
        while (item := await self.next()) is not None:
            yield item

    async def close(self) -> None:
        """End the stream; iteration stops. A second call does nothing.

        Once begun it goes on where it is cancelled.
        """
        await asyncio.shield(self._calls.run(self._end))

    def _end(self) -> None:
        self._source.close()
        if (thread := self._thread) is not None:
            thread.join()


class Watch(_Stream[MemberEvent]):
    """A stream of one group's changes; see `membership.Watch`."""

    def __init__(self, threaded: api.Watch, calls: _Calls) -> None:
        super().__init__(threaded, calls)
        self.group = threaded.group
        self._threaded = threaded

    @property
    def view(self) -> View:
        return self._threaded.view


class CellWatch(_Stream[CellState]):
    """The states of one cell; see `membership.CellWatch`."""


class _Calls:
    """The threads that one connection's calls wait in."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_CALLS, thread_name_prefix="membership-aio")
        self._last: Future[None] | None = None

    async def run(self, call: Callable[[], T], *, undo: Callable[[T], object] | None = None) -> T:
        """What it returns, called in a thread. If cancelled meanwhile, its result is undone."""
        if self._last is not None:
            return call()  # of a closed connection it waits for nothing
        calling = self._threads.submit(call)
        try:
            return await asyncio.wrap_future(calling)
        except asyncio.CancelledError:
            if undo is not None:
                calling.add_done_callback(partial(_undo, undo))
            raise

    async def run_last(self, call: Callable[[], None]) -> None:
        """Call it and end the threads, once, cancelled or not."""
        if self._last is None:
            last = ThreadPoolExecutor(1, thread_name_prefix="membership-aio-close")
            self._last = last.submit(self._end, call)
            last.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(self._last))

    def _end(self, call: Callable[[], None]) -> None:
        call()
        self._threads.shutdown()

    def discard(self) -> None:
        """End the threads once their calls return."""
        self._threads.shutdown(wait=False)


def _close(what: api.Membership | api.Watch | api.CellWatch) -> None:
    what.close()


def _undo(undo: Callable[[T], object], calling: Future[T]) -> None:
    if calling.cancelled() or calling.exception() is not None:
        return

    def carry_out() -> None:
        with suppress(MembershipError):  # the servers will notice by their timeout
            undo(calling.result())

    threading.Thread(target=carry_out, name="membership-aio-undo").start()
