"""The ZooKeeper backend over TLS: all of the contract, and handshakes that fail."""

from __future__ import annotations

import socket
import ssl
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest

from bench.engines.live.provision import zookeeper
from membership import Disconnected, InvalidValue, Tls, ZooKeeperConfig
from membership.backends.zookeeper import ZooKeeperMembership
from membership.backends.zookeeper.connection import Handler
from membership.backends.zookeeper.paths import parse
from membership.testing import Check, checks, run, take, told
from tests.live.sessions import cut, silence
from tests.live.tls import SECRET, TlsServer, tls_serving

GROUP = "compute"


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    with tls_serving(tmp_path_factory.mktemp("tls")) as server:
        yield server


def join(url: str, config: ZooKeeperConfig) -> ZooKeeperMembership:
    return ZooKeeperMembership(parse(url), config, lambda _name, _value: None)


class TlsSubject:
    def __init__(self, server: TlsServer, namespace: str) -> None:
        self._server = server
        self._namespace = namespace
        self._opened: list[ZooKeeperMembership] = []

    def connect(self) -> ZooKeeperMembership:
        membership = join(self._server.url(namespace=self._namespace), self._server.config())
        self._opened.append(membership)
        return membership

    def crash(self, membership: object) -> None:
        assert isinstance(membership, ZooKeeperMembership)
        membership.abandon()

    def silence(self) -> AbstractContextManager[None]:
        return silence(self._server.frozen(), self._opened)

    def sessions(self) -> int:
        lines = zookeeper.ask("127.0.0.1", self._server.plain, "mntr").splitlines()
        (count,) = (line.split()[1] for line in lines if line.startswith("zk_global_sessions"))
        return int(count)


@pytest.mark.parametrize("check", checks(), ids=lambda check: check.__name__)
def test_the_contract_over_tls_with_a_digest(check: Check, tls_server: TlsServer) -> None:
    run(check, TlsSubject(tls_server, check.__name__))


@pytest.mark.parametrize(
    ("host", "changes", "reason"),
    [
        ("127.0.0.1", {"ca": None}, "CERTIFICATE_VERIFY_FAILED"),
        ("localhost", {}, "CERTIFICATE_VERIFY_FAILED"),
        ("127.0.0.1", {"certificate": None, "key": None}, "(?i)certificate"),
    ],
    ids=["unknown authority", "another host's certificate", "no certificate of ours"],
)
def test_a_handshake_that_fails_says_why(
    tls_server: TlsServer, host: str, changes: dict[str, str | None], reason: str
) -> None:
    with pytest.raises(Disconnected, match=reason) as refusal:
        join(tls_server.url(host), tls_server.config(2.0, **changes))
    assert SECRET not in "".join(traceback.format_exception(refusal.value))


def test_tls_files_that_are_not_there_are_refused_before_connecting(tls_server: TlsServer) -> None:
    with pytest.raises(InvalidValue, match="nowhere"):
        join(tls_server.url(), tls_server.config(ca="nowhere"))
    with pytest.raises(InvalidValue, match="certificate"):
        Tls(key="key")


def test_what_tls_has_read_ahead_counts_as_readable(tls_server: TlsServer) -> None:
    """Two answers in one record, as a proxy may send them: the second one mustn't wait."""
    ours, theirs = socket.socketpair()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls_server.folder / "server.crt", tls_server.folder / "server.key")
    with ThreadPoolExecutor(1) as pool, ours, theirs:
        serving = pool.submit(context.wrap_socket, theirs, server_side=True)
        trusting = ssl.create_default_context(cafile=tls_server.folder / "ca.crt")
        with (
            trusting.wrap_socket(ours, server_hostname="127.0.0.1") as client,
            serving.result() as server,
        ):
            server.send(b"12")
            assert client.recv(1) == b"1"
            handler = Handler(1, None)
            assert handler.select([client], [], [], 0.0) == ([client], [], [])
            assert client.recv(1) == b"2"
            assert handler.select([client], [], [], 0.0) == ([], [], [])


def test_a_cut_tls_connection_is_made_again(tls_server: TlsServer) -> None:
    with TlsSubject(tls_server, "cut").connect() as ours, ours.watch(GROUP) as watch:
        me = ours.join(GROUP, "host-1")
        token = me.token
        take(watch, 1)
        for _ in range(3):
            cut(ours)
            assert told(take(watch, 1)) == [("resynced", None)]
        ours.join(GROUP, "host-2")
        assert told(take(watch, 1)) == [("joined", "host-2")]
        assert me.is_member
        assert me.token == token
