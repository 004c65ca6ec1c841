"""The connections to a database that wire services share."""

from __future__ import annotations

import asyncio

import sqlalchemy as sa
import uvloop

from bench.engines.live.swarm.lines import Lines
from membership import SqlConfig

ROUNDS = 5


def test_lines_are_lent_in_the_order_in_which_they_were_asked_for(postgres_url: str) -> None:
    """Also where who gives one back wants another at once, before who waits has woken up."""
    lent: list[int] = []

    async def borrow(lines: Lines, who: int) -> None:
        for _ in range(ROUNDS):
            async with lines.lend() as line:
                lent.append(who)
                async with line.transaction():
                    pass

    async def test() -> None:
        lines = Lines(sa.make_url(postgres_url), 1, SqlConfig(), durable=False)
        await asyncio.gather(*(borrow(lines, who) for who in range(5)))
        lines.terminate()

    uvloop.run(test())
    assert lent == ROUNDS * [0, 1, 2, 3, 4]


def test_a_line_given_back_is_taken_before_one_that_cannot_be_opened(postgres_url: str) -> None:
    """A server that is out of connections refuses more for as long as all of them are open."""
    single = "heartbench_single"
    url = sa.make_url(postgres_url)
    administration = sa.create_engine(url, isolation_level="AUTOCOMMIT")

    async def borrow(lines: Lines) -> None:
        async with lines.lend() as line:
            async with line.transaction():
                pass
            await asyncio.sleep(0.2)

    async def test() -> None:
        lines = Lines(url.set(username=single), 2, SqlConfig(), durable=False)
        await asyncio.wait_for(asyncio.gather(*(borrow(lines) for _ in range(5))), 60.0)
        lines.terminate()

    with administration.connect() as connection:
        connection.execute(sa.text(f"CREATE ROLE {single} LOGIN CONNECTION LIMIT 1"))
        try:
            uvloop.run(test())
        finally:
            connection.execute(sa.text(f"DROP ROLE {single}"))
    administration.dispose()


def test_who_gives_up_waiting_for_a_line_leaves_it_to_the_others(postgres_url: str) -> None:
    async def borrow(lines: Lines) -> None:
        async with lines.lend() as line, line.transaction():
            pass

    async def test() -> None:
        lines = Lines(sa.make_url(postgres_url), 1, SqlConfig(), durable=False)
        async with lines.lend():
            early, late = (asyncio.create_task(borrow(lines)) for _ in range(2))
            await asyncio.sleep(0)
            early.cancel()
        late.cancel()  # it has just been handed the line, and doesn't know yet
        await asyncio.wait([early, late])
        assert early.cancelled()
        assert late.cancelled()
        await borrow(lines)
        lines.terminate()

    uvloop.run(asyncio.wait_for(test(), 60.0))
