"""One group followed, for all the watches that one connection has of it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import TypeVar

from membership.backends.zookeeper.client import RETRY, Change, Client, Link, logger
from membership.backends.zookeeper.operations import (
    Lost,
    Node,
    Operation,
    Stat,
    Unimplemented,
    add_watch,
    children,
    exists,
    get,
    get_all,
    remove_watches,
    sync,
)
from membership.backends.zookeeper.paths import split_marked, unescape
from membership.encoding import decode_metadata
from membership.feed import Feed
from membership.model import Freshness, Member

T = TypeVar("T")

BATCH = 200
"""Members that one request reads, of a server that knows such requests: its answer stays below
16 MB with the largest metadata, and the request far below the server's limit of 1 MiB."""
IN_FLIGHT = 2
"""Requests that are sent ahead of the answers: it keeps the server busy, and what comes in a crowd
meanwhile goes into one request."""
IN_FLIGHT_ALONE = 400
"""The same of a server that reads one member a request."""
PAUSE = 0.01
"""Seconds between two requests for members who changed since the first picture. A change by itself
is read at once; of a crowd that trickles in, each would wake three threads for its own read."""

_FRESHNESS = {
    Link.SUSPENDED: Freshness.STALE,
    Link.OVERDUE: Freshness.DISCONNECTED,
    Link.EXPIRED: Freshness.DISCONNECTED,
}


def member_of(group: str, segment: str, node: Node | None) -> Member | None:
    """The member that this node is; None for what is no member's."""
    name = unescape(segment)
    if name is None or node is None or not node.stat.owner:
        return None
    return Member(group, name, node.stat.created, decode_metadata(node.data))


class Follower:
    """Keeps a picture of the group, and its feeds up to date; on the loop's thread only.

    Each connection begins a round: watch first, then list, then read each member. What happens
    meanwhile is told by the watch and goes into the same picture, which reaches the feeds whole
    once the round is complete, and change by change from then on. Everything here is a plain
    callback, so each answer is the newest state at its place in the stream (see `client`), and
    neither versions nor the order of reads need a look. Who is forced down stays in the picture,
    and is kept from the feeds.

    On recent servers one persistent watch tells of everything below the group. On others there is
    a one-shot watch of the list and one of each member's data, set anew by each read.
    """

    def __init__(self, client: Client, group: str, path: str) -> None:
        self.group = group
        self._client = client
        self._path = path
        self._feeds: dict[Feed, bool] = {}  # whether it has had its first picture
        self._picture: dict[str, Member] = {}  # by path segment
        self._forced: set[str] = set()  # segments of those forced down
        self._wanted: dict[str, None] = {}  # segments to be read, in order
        self._flying: set[str] = set()
        self._asked = 0  # requests under way that read them
        self._paused_until = -math.inf  # for requests, on the loop's clock
        self._resting = False  # until then, with members to be read after it
        self._round = 0
        self._listing = False
        self._live = False
        self._complete = asyncio.Event()
        self._failure: Exception | None = None  # why the last round broke off
        client.listen(path, self._changed)
        self._begin()

    async def add(self, feed: Feed) -> None:
        """Feed it from now on; return once it knows all that was so before the call.

        Raises: MembershipError where the group can't be read.
        """
        self._feeds[feed] = False
        if self._live:
            self._show(feed)
        while True:
            await self._client.connected()
            try:
                await self._client.ask(sync(self._path))  # nothing older comes after this
            except Lost:
                continue
            await self._complete.wait()
            if self._failure is not None:
                raise self._failure
            if self._live:
                return

    def remove(self, feed: Feed) -> bool:
        """Whether it was the last one; then the follower has ended."""
        self._feeds.pop(feed, None)
        if self._feeds:
            return False
        self._round += 1
        self._client.unlisten(self._path, self._changed)
        if self._client.recent:
            self._client.tell(remove_watches(self._path), _ignore)
        return True

    def close(self) -> None:
        for feed in list(self._feeds):
            feed.close()

    def link_changed(self, link: Link) -> None:
        if link is Link.CONNECTED:
            self._begin()
            return
        self._round += 1
        self._live = False
        self._listing = True  # nothing is complete before the next list
        self._complete.clear()
        for feed in self._feeds:
            feed.distrust(_FRESHNESS[link])

    def doubted(self) -> None:
        """The server is late: until it answers, nobody knows."""
        for feed in self._feeds:
            feed.distrust(Freshness.STALE)

    def confirmed(self) -> None:
        """The server has nothing to tell that it hasn't told."""
        if self._live:
            for feed in self._feeds:
                feed.confirm()

    # --- a round

    def _begin(self) -> None:
        self._round += 1
        self._live = False
        self._picture.clear()
        self._forced.clear()
        self._failure = None
        self._wanted.clear()
        self._flying.clear()
        self._asked = 0
        self._resting = False
        if self._client.recent:
            self._tell(add_watch(self._path), self._watched)
        self._tell(sync(self._path), _ignore)
        self._list()

    def _tell(self, operation: Operation[T], then: Callable[[T | Exception], None]) -> None:
        """Ask for this round only: what an older one asked for concerns nobody any more."""
        self._client.tell(operation, partial(self._answered, self._round, then))

    def _answered(
        self, asked_in: int, then: Callable[[T | Exception], None], outcome: T | Exception
    ) -> None:
        if asked_in != self._round or isinstance(outcome, Lost):
            return  # a new connection begins a new round
        then(outcome)

    def _watched(self, outcome: Exception | None) -> None:
        if isinstance(outcome, Unimplemented):
            self._client.recent = False
            self._begin()
        elif isinstance(outcome, Exception):
            self._fail(outcome)

    def _list(self) -> None:
        self._listing = True
        self._complete.clear()
        watch = not self._client.recent
        self._tell(children(self._path, watch=watch), self._listed)

    def _listed(self, outcome: Sequence[str] | Exception | None) -> None:
        if isinstance(outcome, Exception):
            self._fail(outcome)
            return
        self._listing = False
        if outcome is None and not self._client.recent:
            self._tell(exists(self._path, watch=True), self._awaited)
        present, forced = split_marked(outcome or ())
        for segment in self._picture.keys() - present:
            self._gone(segment)
        changed, self._forced = forced ^ self._forced, forced
        for segment in changed:
            self._tell_feeds(segment)
        for segment in present - self._picture.keys() - self._flying:
            self._wanted[segment] = None
        self._read_on()

    def _awaited(self, outcome: Stat | Exception | None) -> None:
        """The group wasn't there a moment ago; its beginning is watched now."""
        if isinstance(outcome, Stat):
            self._list()

    def _read_on(self) -> None:
        recent = self._client.recent
        while self._asked < (IN_FLIGHT if recent else IN_FLIGHT_ALONE):
            # what changes while it is being read is read again after that, once
            ready = (one for one in self._wanted if one not in self._flying)
            batch = tuple(islice(ready, BATCH if recent else 1))
            if not batch or self._pausing():
                break
            for segment in batch:
                del self._wanted[segment]
            self._flying.update(batch)
            self._asked += 1
            paths = [f"{self._path}/{segment}" for segment in batch]
            if len(batch) > 1:
                self._tell(get_all(paths), partial(self._read, batch))
            else:
                self._tell(get(paths[0], watch=not recent), partial(self._read_one, batch))
        if not self._wanted and not self._flying and not self._listing:
            self._show_all()

    def _pausing(self) -> bool:
        """Whether no request may be sent yet; what is wanted is read after the pause."""
        if not self._live or not self._client.recent:
            return False
        loop = asyncio.get_running_loop()
        if (now := loop.time()) >= self._paused_until:
            self._paused_until = now + PAUSE
            return False
        if not self._resting:
            self._resting = True
            loop.call_at(self._paused_until, self._rested, self._round)
        return True

    def _rested(self, begun_in: int) -> None:
        if begun_in == self._round:
            self._resting = False
            self._read_on()

    def _read_one(self, batch: tuple[str, ...], outcome: Node | Exception | None) -> None:
        self._read(batch, outcome if isinstance(outcome, Exception) else [outcome])

    def _read(self, batch: tuple[str, ...], outcome: Sequence[Node | None] | Exception) -> None:
        self._flying.difference_update(batch)
        self._asked -= 1
        if isinstance(outcome, Exception):
            self._fail(outcome)
            return
        for segment, node in zip(batch, outcome, strict=True):
            member = member_of(self.group, segment, node)
            if member is None:
                self._gone(segment)
            else:
                self._picture[segment] = member
                self._tell_feeds(segment)
        self._read_on()

    def _gone(self, segment: str) -> None:
        if self._picture.pop(segment, None) is not None:
            self._tell_feeds(segment)

    def _tell_feeds(self, segment: str) -> None:
        """How it stands with that one, where the feeds are past their first picture."""
        name = unescape(segment)
        if not self._live or name is None:
            return
        member = None if segment in self._forced else self._picture.get(segment)
        for feed in self._feeds:
            if member is None:
                feed.remove(name)
            else:
                feed.put(member)

    def _show_all(self) -> None:
        if not self._live:
            self._live = True
            for feed in self._feeds:
                self._show(feed)
        self._complete.set()

    def _show(self, feed: Feed) -> None:
        visible = [m for segment, m in self._picture.items() if segment not in self._forced]
        feed.replace(visible, gap=self._feeds[feed])
        self._feeds[feed] = True

    def _fail(self, error: Exception) -> None:
        """Something that waiting may mend, such as rights that somebody has taken away."""
        logger.warning("the group %r can't be read, trying again: %s", self.group, error)
        self._failure = error
        self._complete.set()  # whoever waits for the group hears of it; others go on
        self.link_changed(Link.SUSPENDED)
        asyncio.get_running_loop().call_later(RETRY, self._begin_again, self._round)

    def _begin_again(self, failed_in: int) -> None:
        if failed_in == self._round:
            self._begin()

    # --- events

    def _changed(self, change: Change, path: str) -> None:
        if path == self._path:
            if not self._client.recent:
                self._list()
            return
        segment = path.rpartition("/")[2]
        _, forced = split_marked([segment])
        if forced:
            if change is Change.DELETED:
                self._forced -= forced
            else:
                self._forced |= forced
            self._tell_feeds(*forced)
        elif change is Change.DELETED:
            self._wanted.pop(segment, None)
            self._gone(segment)
        else:
            self._complete.clear()
            self._wanted[segment] = None
        self._read_on()


def _ignore(_outcome: object) -> None:
    """For an answer that changes nothing."""
