"""Cells: persistent nodes whose data version, counted from 1, is the cell's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from membership.api import Cell, Condition, Fence
from membership.backends.zookeeper.client import RETRY, Client, logger
from membership.backends.zookeeper.operations import (
    Lost,
    Node,
    NodeExists,
    NoNode,
    Refused,
    check_part,
    create_part,
    creates,
    delete_part,
    exists,
    get,
    sync,
    transaction,
    write_part,
)
from membership.backends.zookeeper.paths import Acl, cell_path, marker_path, member_path
from membership.backends.zookeeper.registration import make_ancestors
from membership.encoding import check_name
from membership.errors import Conflict, InvalidValue, MembershipError
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

    def compare_and_set(self, value: bytes, version: int, *under: Condition) -> CellState:
        """See `membership.Cell`.

        Each condition on something that isn't there costs the watches of that path two events,
        for nothing but its creation and deletion in one transaction can show its absence.
        """
        if len(value) > CELL_BYTES:
            raise InvalidValue(f"the value has {len(value)} bytes: a cell holds {CELL_BYTES}")
        steps = [self._condition(condition) for condition in under]
        conflict = f"cell {self.name!r} isn't at {version}"
        if version:
            part = write_part(self._path, bytes(value), version - 1)
        else:
            part = create_part(self._path, bytes(value), self._host.client.rights)
        steps.append(_Step((part,), conflict))
        self._host.run(lambda: self._commit(steps))
        return CellState(bytes(value), version + 1)

    def _condition(self, condition: Condition) -> _Step:
        namespace, rights = self._host.namespace, self._host.client.rights
        if isinstance(condition, Fence):
            path = cell_path(namespace, check_name("cell", condition.cell))
            conflict = f"fence {condition.cell!r} isn't at {condition.version}"
            if condition.version:
                return _Step((check_part(path, condition.version - 1),), conflict)
            return _Step(_nothing_at(path, rights), conflict)
        group, name = check_name("group", condition.group), check_name("member", condition.name)
        return _Step(
            _nothing_at(member_path(namespace, group, name), rights),
            f"{name!r} is a live member of {group!r}",
            otherwise=check_part(marker_path(namespace, group, name)),
        )

    async def _commit(self, steps: list[_Step]) -> None:
        """Do all of it or nothing. Raises: Conflict, Lost."""
        client = self._host.client
        made: set[str] = set()
        while True:
            parts = [(part, number) for number, step in enumerate(steps) for part in step.parts]
            await client.connected()
            failed = await client.ask(transaction(*(part for part, _ in parts)))
            if failed is None:
                return
            part, number = parts[failed.part]
            step = steps[number]
            if isinstance(failed.error, NoNode) and creates(part) and part.path not in made:
                made.add(part.path)
                await make_ancestors(client, part.path)
            elif isinstance(failed.error, NodeExists) and step.otherwise is not None:
                steps[number] = _Step((step.otherwise,), step.conflict)
            elif isinstance(failed.error, Refused):
                raise Conflict(step.conflict) from failed.error
            else:
                raise failed.error

    def watch(self) -> CellFeed:
        return self._host.follow(self._path)


@dataclass(frozen=True, slots=True)
class _Step:
    """Parts of a transaction that belong together, and what it means that one is refused."""

    parts: tuple[Any, ...]
    conflict: str
    otherwise: Any = None
    """In their place where they find a node that they need not to be there."""


def _nothing_at(path: str, rights: tuple[Acl, ...]) -> tuple[Any, ...]:
    # ZooKeeper can't check that there is nothing; but only where there is nothing can one create
    return create_part(path, b"", rights), delete_part(path)


async def read_cell(client: Client, path: str) -> CellState:
    """The committed state. Raises: Lost."""
    _, node = await asyncio.gather(client.ask(sync(path)), client.ask(get(path)))
    return _state(node)


async def follow_cell(client: Client, path: str, feed: CellFeed) -> None:
    """Feed it until cancelled."""
    with client.stirring(path) as stirred:
        synced = False
        while True:
            stirred.clear()
            await client.connected()
            try:
                if not synced:  # so that the first state told is the present one
                    await client.ask(sync(path))
                    synced = True
                feed.put(await _read_and_watch(client, path))
            except Lost:
                continue
            except MembershipError as error:  # waiting may mend it: rights that were taken away
                logger.warning("%s can't be read, trying again: %s", path, error)
                await asyncio.sleep(RETRY)
                continue
            await stirred.wait()


async def _read_and_watch(client: Client, path: str) -> CellState:
    """The state that this server knows; whatever it learns after that is watched. Raises: Lost."""
    while True:
        node = await client.ask(get(path, watch=True))
        # where there is no node, only this leaves a watch
        if node is not None or await client.ask(exists(path, watch=True)) is None:
            return _state(node)


def _state(node: Node | None) -> CellState:
    return CellState() if node is None else CellState(node.data, node.stat.version + 1)
