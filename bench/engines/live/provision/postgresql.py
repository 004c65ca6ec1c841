"""PostgreSQL, wherever it runs: its settings, and the questions put to it."""

from __future__ import annotations

from ipaddress import ip_network

from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from bench.engines.live.provision.control import Body, Control
from bench.engines.live.provision.spec import ServerSpec

USER = "heartbench"
DATABASE = "heartbench"

CONNECT_TIMEOUT = 5
"""Seconds; whatever listens may be no PostgreSQL and never say a word."""

# What was set by anyone, and what says how durable a commit is. Files and commands are left out:
# they say nothing about the server's conduct, and are where people keep secrets.
_SETTINGS = text("""
    SELECT name, current_setting(name) FROM pg_settings
    WHERE (source NOT IN ('default', 'override', 'client', 'session')
           OR name IN ('fsync', 'synchronous_commit', 'full_page_writes', 'shared_buffers'))
      AND category NOT LIKE 'File Locations%'
      AND name NOT LIKE 'ssl%' AND name NOT LIKE '%\\_command' AND name NOT LIKE '%conninfo%'
      AND name NOT LIKE '%\\_director%' AND name NOT LIKE 'krb%'
    ORDER BY name
""")


def settings(spec: ServerSpec) -> dict[str, str]:
    """A durable server with its own defaults, but for what the meters and the clients need."""
    return {
        "listen_addresses": spec.host,
        "max_connections": str(spec.max_connections),
        "fsync": "on",
        "synchronous_commit": "on" if spec.synchronous_commit else "off",
        "shared_preload_libraries": "pg_stat_statements",
        "track_io_timing": "on",
    }


def memory_megabytes(spec: ServerSpec) -> int:
    """What it may need with all connections in use, its page cache included."""
    return max(2000, 1000 + 10 * spec.max_connections)


def control(body: Body, address: str) -> Control:
    """What can be done to the server behind the URL."""
    return Control(body, serves=lambda: refusal(address) is None)


def neighbours(host: str) -> str:
    """The network of those who may come to a server that doesn't listen on loopback."""
    return str(ip_network(f"{host}/16", strict=False))


def flags(chosen: dict[str, str]) -> list[str]:
    """The settings as arguments of `postgres`."""
    return [part for name, value in chosen.items() for part in ("-c", f"{name}={value}")]


def url(host: str, port: int, database: str = DATABASE) -> str:
    """Without a password: servers of our own trust whoever reaches the loopback interface."""
    return f"postgresql+psycopg://{USER}@{host}:{port}/{database}"


def shown(address: str) -> str:
    """The URL without password and options: fit for messages."""
    return make_url(address).set(query={}).render_as_string(hide_password=True)


def refusal(address: str) -> str | None:
    """Why the server can't be used as this user right now; None if it answers queries."""
    try:
        with _connected(address) as connection:
            standby = connection.scalar(text("SELECT pg_is_in_recovery()"))
    except DBAPIError as error:
        said = " ".join(str(error.orig).split())
        password = make_url(address).password
        return said.replace(str(password), "***") if password else said
    return "it is a standby, which takes no writes" if standby else None


def create_database(host: str, port: int) -> None:
    with _connected(url(host, port, "postgres")) as connection:
        connection.execute(text(f"CREATE DATABASE {DATABASE}"))


def switch_on_statistics(address: str) -> None:
    """Adds `pg_stat_statements`, which the server has loaded, to the database."""
    with _connected(address) as connection:
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS pg_stat_statements"))


def configuration(address: str) -> dict[str, str]:
    """The version and the settings that somebody chose, as far as this user may read them."""
    with _connected(address) as connection:
        version = str(connection.scalar(text("SHOW server_version")))
        rows = connection.execute(_SETTINGS)
        return {"version": version, **{str(name): str(value) for name, value in rows}}


def _connected(address: str) -> Connection:
    engine = create_engine(
        make_url(address).set(drivername="postgresql+psycopg"),
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"connect_timeout": CONNECT_TIMEOUT},
    )
    return engine.connect()
