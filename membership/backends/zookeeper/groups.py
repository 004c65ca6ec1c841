"""Groups as they stand: read at one go, and taken out of service. All run on the loop.

All raise `Lost`, and may be done again after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

from membership.backends.zookeeper.client import Client
from membership.backends.zookeeper.operations import (
    Node,
    NodeExists,
    NoNode,
    Unimplemented,
    children,
    create,
    delete,
    exists,
    get,
    get_all,
    sync,
    write,
)
from membership.backends.zookeeper.paths import (
    group_path,
    groups_path,
    marker_path,
    member_path,
    split_marked,
    unescape,
)
from membership.backends.zookeeper.registration import make_ancestors
from membership.backends.zookeeper.watching import BATCH, member_of
from membership.model import Member, View


async def read_members(client: Client, namespace: str, group: str) -> View:
    """All who are members to others."""
    path = group_path(namespace, group)
    present, forced = split_marked(await _list(client, path))
    segments = sorted(present - forced)
    members: dict[str, Member] = {}
    for start in range(0, len(segments), BATCH):
        chunk = segments[start : start + BATCH]
        nodes = await _read(client, [f"{path}/{segment}" for segment in chunk])
        for segment, node in zip(chunk, nodes, strict=True):
            if (member := member_of(group, segment, node)) is not None:
                members[member.name] = member
    return View(group, MappingProxyType(members))


async def read_member(client: Client, namespace: str, group: str, name: str) -> Member | None:
    path = member_path(namespace, group, name)
    _, forced, node = await asyncio.gather(
        client.ask(sync(path)),
        client.ask(exists(marker_path(namespace, group, name))),
        client.ask(get(path)),
    )
    return None if forced else member_of(group, path.rpartition("/")[2], node)


async def read_groups(client: Client, namespace: str) -> tuple[str, ...]:
    """The names of those with members. It reads all members' names, for those that are forced
    down don't count."""
    path = groups_path(namespace)
    segments = await _list(client, path)
    lists = await asyncio.gather(
        *(client.ask(children(f"{path}/{segment}")) for segment in segments)
    )
    names = []
    for segment, below in zip(segments, lists, strict=True):
        present, forced = split_marked(below or ())
        if present - forced and (name := unescape(segment)) is not None:
            names.append(name)
    return tuple(sorted(names))


async def force_down(client: Client, namespace: str, group: str, name: str, reason: bytes) -> None:
    path = marker_path(namespace, group, name)
    while True:
        try:
            await client.ask(create(path, reason, client.rights, ephemeral=False))
        except NoNode:
            await make_ancestors(client, path)
        except NodeExists:
            with suppress(NoNode):  # lifted meanwhile
                await client.ask(write(path, reason))
                return
        else:
            return


async def lift(client: Client, namespace: str, group: str, name: str) -> None:
    with suppress(NoNode):
        await client.ask(delete(marker_path(namespace, group, name)))


async def read_forced_down(client: Client, namespace: str, group: str) -> Mapping[str, str]:
    """Name and reason of each."""
    _, forced = split_marked(await _list(client, group_path(namespace, group)))
    names = [name for name in map(unescape, sorted(forced)) if name is not None]
    paths = [marker_path(namespace, group, name) for name in names]
    nodes = await asyncio.gather(*(client.ask(get(path)) for path in paths))
    return {
        name: node.data.decode(errors="replace")
        for name, node in zip(names, nodes, strict=True)
        if node is not None
    }


async def _list(client: Client, path: str) -> Sequence[str]:
    """What is below the path, no older than this call."""
    _, found = await asyncio.gather(client.ask(sync(path)), client.ask(children(path)))
    return found or ()


async def _read(client: Client, paths: Sequence[str]) -> Sequence[Node | None]:
    if client.recent:
        try:
            return await client.ask(get_all(paths))
        except Unimplemented:
            client.recent = False
    return await asyncio.gather(*(client.ask(get(path)) for path in paths))
