"""A ZooKeeper server that speaks TLS, with certificates of an authority of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest

from bench.engines.live.provision import ServerSpec, missing, zookeeper
from bench.engines.live.provision.startup import ports
from membership import Tls, ZooKeeperConfig
from membership.testing import eventually

SECRET = "correct-horse"
STARTUP = 40.0
JARS = tuple(
    Path(f"/usr/share/java/{name}.jar")
    for name in ("slf4j-simple", "zookeeper", "netty-codec", "netty-resolver")
)
"""TLS needs the last two, which Debian's ZooKeeper brings and doesn't name itself."""


@dataclass(frozen=True)
class TlsServer:
    """A server that speaks TLS to clients with a certificate, and plain text to the tests."""

    pid: int
    port: int
    plain: int
    folder: Path

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It stands still; its kernel goes on taking connections."""
        os.kill(self.pid, SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, SIGCONT)

    def url(self, host: str = "127.0.0.1", namespace: str = "n") -> str:
        return f"zookeeper://{host}:{self.port}/{namespace}"

    def config(self, patience: float = 20.0, **changes: str | None) -> ZooKeeperConfig:
        paths: dict[str, str | None] = {
            "ca": str(self.folder / "ca.crt"),
            "certificate": str(self.folder / "client.crt"),
            "key": str(self.folder / "client.key"),
        }
        return ZooKeeperConfig(3.0, patience, digest=f"nova:{SECRET}", tls=Tls(**(paths | changes)))


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def certify(folder: Path, name: str) -> None:
    """A key and a certificate for this host's loopback address, from our own authority."""
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
    if not (folder / "ca.crt").exists():
        openssl(
            folder, "req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca"
        )
    openssl(folder, "req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", "/CN=x")
    authority = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"]
    signing = ["x509", "-req", "-in", f"{name}.csr", *authority, "-extfile", "names"]
    openssl(folder, *signing, "-out", f"{name}.crt")


@contextmanager
def tls_serving(folder: Path) -> Iterator[TlsServer]:
    """One server; without what it needs the test fails in CI and skips elsewhere."""
    spec = ServerSpec("zookeeper", tick=0.5)
    lacks = [*map(str, missing(spec, "local")), *(str(jar) for jar in JARS if not jar.exists())]
    if lacks:
        if os.environ.get("CI") == "true":
            pytest.fail("\n".join(lacks))
        pytest.skip("\n".join(lacks))
    certify(folder, "server")
    certify(folder, "client")
    pem = (folder / "server.key").read_text() + (folder / "server.crt").read_text()
    (folder / "server.pem").write_text(pem)
    (folder / "ca.pem").write_text((folder / "ca.crt").read_text())
    plain, secure = ports(2, first=None)
    settings = zookeeper.settings(spec) | {
        "dataDir": str(folder),
        "clientPort": str(plain),
        "clientPortAddress": "127.0.0.1",
        "secureClientPort": str(secure),
        "secureClientPortAddress": "127.0.0.1",
        "serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory",
        "ssl.keyStore.location": str(folder / "server.pem"),
        "ssl.trustStore.location": str(folder / "ca.pem"),
    }
    (folder / "zoo.cfg").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    server = subprocess.Popen(
        [
            *("setpriv", "--pdeathsig", "KILL", "--"),
            *("java", "-Xmx300m", "-XX:-UsePerfData", f"-Djava.io.tmpdir={folder}"),
            *("-cp", ":".join(map(str, JARS))),
            *("org.apache.zookeeper.server.quorum.QuorumPeerMain", "zoo.cfg"),
        ],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: zookeeper.serving([("127.0.0.1", plain)]), STARTUP)
        yield TlsServer(server.pid, secure, plain, folder)
    finally:
        server.kill()
        server.wait()
