"""The tables, and how they come to be.

``tuned`` keeps a narrow row a member in `members`: what a beat changes has no index and finds
room on its own page (fillfactor), so that PostgreSQL updates it in place (HOT) and a beat never
copies the metadata, which lie in `documents`. ``nova`` keeps Nova's own `services`; what Nova
doesn't have, tokens and metadata, lies in `service_lives`.

Names that are forced down lie in `forced_down`, for both profiles: a name may be so before it has
a row and after its row has gone, and Nova's column has no room for the reason. ``nova`` sets that
column too, and honours it where somebody else has set it.

Rows outlive their members, so that a name's next token is always drawn under the lock on its row.
`SqlMembership.purge` removes them.
"""

from __future__ import annotations

import sqlalchemy as sa

from membership.backends.sql.database import Database
from membership.errors import MembershipError

VERSION = 1
"""Of these tables. A database with newer ones is refused."""

_LOCK = 0x6865617274  # which advisory lock guards the creation: "heart"

metadata = sa.MetaData()

TOKEN = sa.Sequence("membership_token", metadata=metadata)

version = sa.Table("membership_schema", metadata, sa.Column("version", sa.Integer, nullable=False))

counter = sa.Table(
    "membership_counter",
    metadata,
    sa.Column("value", sa.BigInteger, nullable=False),
    comment="The last token, where the database has no sequences",
)

members = sa.Table(
    "membership_members",
    metadata,
    sa.Column("token", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("group_name", sa.String(255), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("present", sa.Boolean, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False, comment="Of the metadata, in this life"),
    sa.Column("beat", sa.BigInteger, nullable=False, comment="Beats of this life"),
    sa.Column("seen_at", sa.Double, nullable=False, comment="The database's clock, s since 1970"),
    sa.UniqueConstraint("group_name", "name"),
    postgresql_with={"fillfactor": 50},
)

documents = sa.Table(
    "membership_documents",
    metadata,
    sa.Column(
        "token",
        sa.BigInteger,
        sa.ForeignKey(members.c.token, onupdate="CASCADE", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("metadata", sa.Text, nullable=False),
)

forced_down = sa.Table(
    "membership_forced_down",
    metadata,
    sa.Column("group_name", sa.String(255), primary_key=True),
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
)

_SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")

services = sa.Table(
    "services",
    metadata,
    sa.Column("created_at", sa.DateTime),
    sa.Column("updated_at", sa.DateTime),
    sa.Column("deleted_at", sa.DateTime),
    sa.Column("deleted", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("id", _SERIAL, primary_key=True),
    sa.Column("uuid", sa.String(36), unique=True),
    sa.Column("host", sa.String(255)),
    sa.Column("binary", sa.String(255)),
    sa.Column("topic", sa.String(255)),
    sa.Column("report_count", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("disabled", sa.Boolean, server_default=sa.false()),
    sa.Column("disabled_reason", sa.String(255)),
    sa.Column("last_seen_up", sa.DateTime),
    sa.Column("forced_down", sa.Boolean, server_default=sa.false()),
    sa.Column("version", sa.Integer, server_default=sa.text("0")),
    sa.UniqueConstraint("host", "binary", "deleted"),
)

service_lives = sa.Table(
    "service_lives",
    metadata,
    sa.Column(
        "service_id",
        sa.ForeignKey(services.c.id, ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("token", sa.BigInteger, nullable=False, unique=True),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("metadata", sa.Text, nullable=False),
)

cells = sa.Table(
    "membership_cells",
    metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False, comment="0: never written"),
)


def ensure(database: Database) -> None:
    """Create what isn't there; safe against others who do the same now.

    Raises: MembershipError where the tables are newer than this code; Disconnected.
    """
    with database.reading() as connection:
        found = _found(connection)
    if found is None:
        with database.transaction() as connection:
            if database.postgres:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            found = _found(connection)
            if found is None:
                _create(connection)
                found = VERSION
    if found > VERSION:
        raise MembershipError(
            f"the tables in {database.name} are of version {found}, this library knows {VERSION}: "
            "use a newer library"
        )


def _found(connection: sa.Connection) -> int | None:
    if not sa.inspect(connection).has_table(version.name):
        return None
    return connection.scalar(sa.select(version.c.version))


def _create(connection: sa.Connection) -> None:
    metadata.create_all(connection)
    connection.execute(version.insert().values(version=VERSION))
    connection.execute(counter.insert().values(value=0))
