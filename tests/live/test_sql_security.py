"""TLS as libpq does it, and credentials that show up nowhere."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import subprocess
import traceback
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytest
import sqlalchemy as sa

from bench.engines.live.provision import Deployment
from membership import Disconnected, MembershipError, SqlConfig, connect
from membership.testing import eventually, take, told

SECRET = "s3cr3t/with:odd%signs"
QUOTED = "s3cr3t%2Fwith%3Aodd%25signs"
CONFIG = SqlConfig(interval=0.25, timeout=5.0, poll=0.1, connect_timeout=2.0)


@dataclass(frozen=True)
class SecureServer:
    """PostgreSQL that lets nobody in but over TLS, as `guard` with the password."""

    port: int
    certificate: Path

    def url(self, host: str = "127.0.0.1", password: str = QUOTED, **query: str) -> str:
        settings = {"sslmode": "verify-full", "sslrootcert": str(self.certificate)} | query
        parameters = "&".join(f"{key}={value}" for key, value in settings.items())
        return f"postgresql+psycopg://guard:{password}@{host}:{self.port}/heartbench?{parameters}"


def _certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, signed by itself, and its key."""
    if shutil.which("openssl") is None:
        message = "the program openssl isn't installed"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    fresh = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *fresh, *subject, *files], check=True, capture_output=True)
    return certificate, key


@pytest.fixture
def secure(mortal_postgres: Deployment, tmp_path: Path) -> SecureServer:
    certificate, key = _certificate(tmp_path, "server")
    server = mortal_postgres.servers[0]
    engine = sa.create_engine(mortal_postgres.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        data = Path(connection.exec_driver_sql("SHOW data_directory").scalar_one())
        connection.exec_driver_sql(
            f"CREATE USER guard SUPERUSER PASSWORD '{SECRET}'".replace("%", "%%")
        )
        connection.exec_driver_sql("ALTER SYSTEM SET ssl = on")
        owner = data.stat()
        for name, file in (("server.crt", certificate), ("server.key", key)):
            shutil.copyfile(file, data / name)
            os.chown(data / name, owner.st_uid, owner.st_gid)
            (data / name).chmod(0o600)
        rules = data / "pg_hba.conf"
        rules.write_text(
            "hostssl all guard 127.0.0.1/32 scram-sha-256\nhost all heartbench 127.0.0.1/32 trust\n"
        )
        os.kill(server.pids[0], signal.SIGHUP)
        eventually(lambda: connection.exec_driver_sql("SHOW ssl").scalar_one() == "on")
    engine.dispose()
    return SecureServer(server.port, certificate)


def test_every_connection_speaks_tls(secure: SecureServer) -> None:
    """Heartbeats, calls and the listening one; and everything goes as it does without."""
    with connect(secure.url(), CONFIG) as membership, membership.watch("compute") as watch:
        membership.join("compute", "host-1")
        assert told(take(watch, 1)) == [("joined", "host-1")]
        eventually(lambda: not watch.view.unconfirmed)
        engine = sa.create_engine(secure.url(), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:

            def encrypted() -> list[bool]:
                rows = connection.exec_driver_sql(
                    "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                    " WHERE application_name = 'heartbench'"
                )
                return list(rows.scalars())

            eventually(lambda: encrypted() == [True] * (CONFIG.pool_size + 1), why=encrypted)
        engine.dispose()


def test_a_server_that_cannot_show_who_it_is_is_refused(
    secure: SecureServer, tmp_path: Path
) -> None:
    """Another authority's certificate, one for another host, and no TLS at all."""
    stranger, _ = _certificate(tmp_path, "stranger")
    refused = [
        (secure.url(sslrootcert=str(stranger)), "certificate verify failed"),
        (secure.url(host="localhost", hostaddr="127.0.0.1"), "does not match host name"),
        (secure.url(sslmode="disable"), "no encryption"),
    ]
    for url, reason in refused:
        with pytest.raises(Disconnected, match=reason):
            connect(url, CONFIG)


def test_no_failure_shows_the_password(
    secure: SecureServer, caplog: pytest.LogCaptureFixture
) -> None:
    """In its text, its causes, its traceback or any log at its most talkative."""
    caplog.set_level(logging.DEBUG)
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = SecureServer(unused.getsockname()[1], secure.certificate)
        wrong = [
            secure.url(password=QUOTED + "x"),
            nobody.url(),
            secure.url(host="nowhere.invalid"),
            secure.url().replace("/heartbench?", "/no-such-database?"),
            secure.url(sslmode="no-such-mode"),
            secure.url(target_session_attrs="no-such-one"),
            secure.url(nosuchoption="1"),
            secure.url(password="").replace("guard:@", "guard@") + f"&password={QUOTED}x",
        ]
        said = []
        for url in wrong:
            with pytest.raises(Disconnected) as caught:
                connect(url, CONFIG)
            said += [str(caught.value), "".join(traceback.format_exception(caught.value))]
            error: BaseException | None = caught.value
            while error is not None:
                said += [repr(error), repr(error.args)]
                error = error.__cause__ or error.__context__
    with connect(secure.url(), CONFIG) as membership:
        said += [repr(membership), repr(membership.__dict__)]
    shown = "\n".join([*said, caplog.text])
    assert "guard" in shown  # the server's word on whom it turned away
    assert "s3cr3t" not in shown


@pytest.mark.parametrize("profile", ["nova", "tuned"])
def test_a_role_that_may_only_read_sees_everything_and_changes_nothing(
    profile: Literal["nova", "tuned"], mortal_postgres: Deployment
) -> None:
    """Each write fails with an error that says why, and isn't taken for an outage."""
    config = replace(CONFIG, profile=profile)
    reader = sa.make_url(mortal_postgres.url).set(username="reader")
    with connect(mortal_postgres.url, config) as ours:
        owner = sa.create_engine(mortal_postgres.url)
        with owner.begin() as connection:
            connection.exec_driver_sql("CREATE USER reader")
            connection.exec_driver_sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        owner.dispose()
        me = ours.join("compute", "host-1", metadata={"n": 1})
        ours.cell("c").compare_and_set(b"kept", 0)
        with (
            connect(reader.render_as_string(), config) as theirs,
            theirs.watch("compute") as watch,
        ):
            attempts: list[Callable[[], object]] = [
                lambda: theirs.join("compute", "host-2"),
                lambda: theirs.join("another", "host-1"),
                lambda: theirs.force_down("compute", "host-1"),
                lambda: theirs.lift("compute", "host-1"),
                lambda: theirs.cell("c").compare_and_set(b"theirs", 1),
                lambda: theirs.cell("d").compare_and_set(b"theirs", 0),
            ]
            for attempt in attempts:
                with pytest.raises(MembershipError, match="refuses it: permission denied") as no:
                    attempt()
                assert not isinstance(no.value, Disconnected)
            assert told(take(watch, 1)) == [("joined", "host-1")]
            me.update({"n": 2})
            assert told(take(watch, 1)) == [("updated", "host-1")]
            assert theirs.cell("c").get().value == b"kept"
            assert theirs.forced_down("compute") == {}
            assert theirs.groups() == ("compute",)
        assert list(ours.members("compute").members) == ["host-1"]
        assert me.is_member
