"""Cells: persistent nodes whose data version, counted from 1, is the cell's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from membership.api import Cell, Fence
from membership.backends.zookeeper.client import Client
from membership.backends.zookeeper.operations import (
    BadVersion,
    Lost,
    NodeExists,
    NoNode,
    check_part,
    create_part,
    delete_part,
    exists,
    get,
    sync,
    transaction,
    write_part,
)
from membership.backends.zookeeper.paths import cell_path
from membership.backends.zookeeper.registration import make_ancestors
from membership.encoding import check_name
from membership.errors import Conflict, InvalidValue
from membership.feed import CellFeed
from membership.model import CellState

T = TypeVar("T")

CELL_BYTES = 64 * 1024


class Host(Protocol):
    """What a cell needs of the connection that it belongs to."""

    client: Client
    namespace: str

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run it on the loop, within the time that a call may take."""

    async def persist(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Repeat it after each loss of the connection."""

    def follow(self, path: str) -> CellFeed:
        """Open a feed of the cell there."""


class ZooKeeperCell(Cell):
    """See `membership.Cell`."""

    def __init__(self, host: Host, name: str) -> None:
        self.name = check_name("cell", name)
        self._host = host
        self._path = cell_path(host.namespace, name)

    def get(self) -> CellState:
        async def read() -> CellState:
            return await read_cell(self._host.client, self._path)

        return self._host.run(lambda: self._host.persist(read))

    def compare_and_set(
        self, value: bytes, version: int, *, under: Fence | None = None
    ) -> CellState:
        if len(value) > CELL_BYTES:
            raise InvalidValue(f"the value has {len(value)} bytes: a cell holds {CELL_BYTES}")
        parts = []
        condition = f"cell {self.name!r} isn't at {version}"
        if under is not None:
            check_name("cell", under.cell)
            parts += _still(cell_path(self._host.namespace, under.cell), under.version)
            condition += f", or fence {under.cell!r} isn't at {under.version}"
        if version:
            parts.append(write_part(self._path, bytes(value), version - 1))
        else:
            parts.append(create_part(self._path, bytes(value)))
        self._host.run(lambda: self._commit(parts, condition))
        return CellState(bytes(value), version + 1)

    async def _commit(self, parts: list[Any], condition: str) -> None:
        client = self._host.client
        await client.connected()
        try:
            try:
                await client.ask(transaction(*parts))
            except NoNode:  # the cell, the fence, or no more than the node above them
                await make_ancestors(client, self._path)
                await client.ask(transaction(*parts))
        except (NoNode, NodeExists, BadVersion) as error:
            raise Conflict(condition) from error

    def watch(self) -> CellFeed:
        return self._host.follow(self._path)


def _still(path: str, version: int) -> list[Any]:
    """The parts of a transaction that fail unless the cell there is at that version."""
    if version:
        return [check_part(path, version - 1)]
    # ZooKeeper can't check that there is nothing; but only where there is nothing can one create
    return [create_part(path, b""), delete_part(path)]


async def read_cell(client: Client, path: str, *, watch: bool = False) -> CellState:
    """The committed state; the watch is of whatever comes after it. Raises: Lost."""
    reads: list[asyncio.Future[Any]] = [client.ask(sync(path))]
    if watch:  # one that holds whether there is a node or not
        reads.append(client.ask(exists(path, watch=True)))
    *_, node = await asyncio.gather(*reads, client.ask(get(path)))
    return CellState() if node is None else CellState(node.data, node.stat.version + 1)


async def follow_cell(client: Client, path: str, feed: CellFeed) -> None:
    """Feed it until cancelled."""
    with client.stirring(path) as stirred:
        while True:
            stirred.clear()
            await client.connected()
            try:
                feed.put(await read_cell(client, path, watch=True))
            except Lost:
                continue
            await stirred.wait()
