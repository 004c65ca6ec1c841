"""Servers that somebody else runs: asked who they are, never stopped or wiped."""

from __future__ import annotations

from urllib.parse import urlsplit

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from bench.engines.live.provision import postgresql, zookeeper
from bench.engines.live.provision.deployment import Deployment, Server
from bench.engines.live.provision.spec import LOOPBACK, Kind, ProvisionError

ZOOKEEPER_PORT = 2181
POSTGRESQL_PORT = 5432


def kind_of(url: str) -> Kind:
    """The kind of server behind a membership URL; `ProvisionError` if it is none we can measure."""
    scheme = url.partition("://")[0]
    if scheme == "zookeeper":
        return "zookeeper"
    if scheme.partition("+")[0] == "postgresql":
        return "sql"
    raise ProvisionError(
        f"no server to measure behind {scheme}://; give zookeeper://HOST:PORT,.../NAMESPACE "
        "or postgresql+psycopg://USER@HOST:PORT/DATABASE"
    )


def deployment(url: str) -> Deployment:
    """What answers at the URL, all of it: an ensemble with a server down is refused."""
    kind = kind_of(url)
    try:
        found = _zookeeper(url) if kind == "zookeeper" else (_postgresql(url),)
    except (ValueError, ArgumentError):  # not repeated, for a password may be in them
        raise ProvisionError(f"the {url.partition('://')[0]} URL is malformed") from None
    return Deployment(url=url, servers=found, where="external")


def _zookeeper(url: str) -> tuple[Server, ...]:
    hosts = urlsplit(url).netloc.rpartition("@")[2]
    servers = []
    for number, address in enumerate(hosts.split(","), start=1):
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname or "", parts.port or ZOOKEEPER_PORT
        try:
            config = zookeeper.configuration(host, port)
        except OSError as error:
            raise ProvisionError(
                f"no ZooKeeper answers at {host}:{port} ({error}); start it or correct the URL"
            ) from None
        if zookeeper.mode(host, port) is None:
            raise ProvisionError(
                f"ZooKeeper at {host}:{port} is not serving; does its ensemble have a majority, "
                "and is srvr in its 4lw.commands.whitelist?"
            )
        servers.append(
            Server(kind="zookeeper", name=f"zk-{number}", host=host, port=port, config=config)
        )
    return tuple(servers)


def _postgresql(url: str) -> Server:
    if (why := postgresql.refusal(url)) is not None:
        raise ProvisionError(
            f"cannot use {postgresql.shown(url)}: {why}; start it or correct the URL"
        )
    parts = make_url(url)
    return Server(
        kind="sql",
        name="pg",
        host=parts.host or LOOPBACK,
        port=parts.port or POSTGRESQL_PORT,
        config=postgresql.configuration(url),
    )
