"""The library from a shell, on real servers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.shell import DIGEST
from membership import Membership, SqlConfig, ZooKeeperConfig, connect
from tests.live.tls import SECRET, tls_serving

SETTINGS = {
    "sqlite": ["--interval", "0.5", "--timeout", "5"],
    "zookeeper": ["--session-timeout", "5"],
}


class Servers:
    """One backend's URL, the settings of a command for it, and a connection beside it."""

    def __init__(self, kind: str, url: str) -> None:
        self.url = url
        self.settings = SETTINGS[kind]
        self.config = (
            SqlConfig(interval=0.5, timeout=5.0, poll=0.1)
            if kind == "sqlite"
            else ZooKeeperConfig(session_timeout=5.0)
        )

    def connect(self) -> Membership:
        return connect(self.url, self.config)

    def run(self, command: str, *arguments: str) -> Result:
        return run(command, self.url, *arguments, *self.settings)


@pytest.fixture(params=["sqlite", "zookeeper"])
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Servers:
    if request.param == "sqlite":
        return Servers("sqlite", f"sqlite:///{tmp_path}/members.db")
    return Servers("zookeeper", request.getfixturevalue("zookeeper_url"))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_members_are_listed_with_what_they_say_of_themselves(servers: Servers) -> None:
    with servers.connect() as membership:
        me = membership.join("compute", "host-1", metadata={"zone": "[az1]", "text": "x" * 200})
        membership.join("compute", "host-2")
        membership.force_down("compute", "host-2", "a new kernel")
        done = servers.run("members", "compute")
        assert done.exit_code == 0, done.output
        header, first, second = done.stdout.splitlines()
        assert header.split() == ["name", "token", "state", "metadata"]
        assert first.split()[:2] == ["host-1", str(me.token)]
        assert json.loads(first[first.index("{") :]) == me.metadata
        assert second.split() == ["host-2", "forced", "down", "a", "new", "kernel"]
        value = json.loads(servers.run("members", "compute", "--json").stdout)
    assert value["forced_down"] == {"host-2": "a new kernel"}
    (member,) = value["members"]
    assert (member["name"], member["token"], member["metadata"]) == (
        "host-1",
        me.token,
        me.metadata,
    )
    assert isinstance(member["confirmed"], bool)


def test_a_group_without_members_is_said_to_have_none(servers: Servers) -> None:
    done = servers.run("members", "nobody-joined")
    assert (done.exit_code, done.stdout) == (0, "nobody-joined has no members\n")


def test_force_down_and_lift(servers: Servers) -> None:
    with servers.connect() as membership:
        membership.join("compute", "host-1")
        done = servers.run("force-down", "compute", "host-1", "--reason", "a new kernel")
        assert (done.exit_code, done.stdout) == (0, "host-1 is forced down in compute\n")
        assert membership.forced_down("compute") == {"host-1": "a new kernel"}
        assert membership.member("compute", "host-1") is None
        done = servers.run("force-down", "compute", "host-1", "--lift", "--json")
        assert json.loads(done.stdout) == {"group": "compute", "forced_down": {}}
        assert membership.member("compute", "host-1") is not None


@contextmanager
def watching(servers: Servers, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "bench", "watch", servers.url, "compute"]
    with subprocess.Popen(
        [*command, *servers.settings, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_watch_tells_one_object_a_line_until_it_is_interrupted(servers: Servers) -> None:
    with servers.connect() as membership, watching(servers, "--json") as process:
        assert process.stdout is not None
        me = membership.join("compute", "host-1", metadata={"zone": "az1"})
        joined = json.loads(process.stdout.readline())
        assert joined.pop("time") > 0
        assert joined.pop("version") > 0
        assert joined == {
            "event": "joined",
            "group": "compute",
            "name": "host-1",
            "token": me.token,
            "metadata": {"zone": "az1"},
        }
        me.leave()
        left = json.loads(process.stdout.readline())
        assert (left["event"], left["token"]) == ("left", me.token)
        process.send_signal(signal.SIGINT)
        rest, complaint = process.communicate(timeout=60)
        assert process.returncode == 130
        (end,) = rest.splitlines()
        assert json.loads(end)["exit_code"] == 130
        assert complaint == "interrupted\n"


def test_watch_is_readable_by_people(servers: Servers) -> None:
    with servers.connect() as membership, watching(servers) as process:
        assert process.stdout is not None
        me = membership.join("compute", "host-1", metadata={"zone": "ü"})
        line = process.stdout.readline().split(maxsplit=4)
        assert line[1:] == ["joined", "host-1", str(me.token), '{"zone": "ü"}\n']
        process.send_signal(signal.SIGTERM)
        _, complaint = process.communicate(timeout=60)
        assert (process.returncode, complaint) == (130, "interrupted\n")


IDENTITY = f"nova:{SECRET}"


@pytest.mark.parametrize("given", ["in a file", "in the environment", "in both"])
def test_zookeeper_is_told_who_asks(
    given: str, zookeeper_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a digest that a file or the environment holds; the file counts where both do."""
    file = tmp_path / "digest"
    file.write_text(f"{IDENTITY}\n")
    if given != "in a file":
        monkeypatch.setenv(DIGEST, IDENTITY if given == "in the environment" else "nova:wrong")
    options = [] if given == "in the environment" else ["--digest-file", str(file)]
    with connect(zookeeper_url, ZooKeeperConfig(5.0, digest=IDENTITY)) as membership:
        membership.join("compute", "host-1")
        done = run("force-down", zookeeper_url, "compute", "host-1", *options)
        assert done.exit_code == 0, done.output
        assert membership.forced_down("compute") == {"host-1": ""}
        assert run("members", zookeeper_url, "compute", *options).exit_code == 0


@pytest.mark.parametrize("digest", ["", f"nova:not-{SECRET}"])
def test_zookeepers_refusal_shows_no_password(
    digest: str, zookeeper_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DIGEST, digest)
    with connect(zookeeper_url, ZooKeeperConfig(5.0, digest=IDENTITY)) as membership:
        membership.join("compute", "host-1")
        done = run("members", zookeeper_url, "compute")
    assert done.exit_code == 4
    assert "no right" in done.stderr
    assert SECRET not in done.output


def test_zookeeper_is_spoken_to_over_tls(tmp_path: Path) -> None:
    """With a certificate of ours; a server whose authority nobody named is refused."""
    with tls_serving(tmp_path) as server:
        digest = tmp_path / "digest"
        digest.write_text(IDENTITY)
        ours = ["--tls-certificate", str(tmp_path / "client.crt")]
        ours += ["--tls-key", str(tmp_path / "client.key"), "--digest-file", str(digest)]

        def listed(*options: str) -> Result:
            return run("members", server.url(), "compute", *ours, *options)

        with connect(server.url(), server.config()) as membership:
            membership.join("compute", "host-1")
            done = listed("--tls-ca", str(tmp_path / "ca.crt"))
            assert done.exit_code == 0, done.output
            assert "host-1" in done.stdout
        done = listed()
        assert (done.exit_code, "CERTIFICATE_VERIFY_FAILED" in done.stderr) == (4, True)


def test_no_option_takes_a_password() -> None:
    """On a command line everybody on the machine could read it; the help says where it goes."""
    for command in ("members", "watch", "force-down"):
        shown = run(command, "--help").stdout
        assert DIGEST in shown
        assert "--digest-file" in shown
        assert not {"--digest", "--password"} & set(shown.split())


def _wrong(file: str, *rest: str) -> Sequence[str]:
    return ["members", "zookeeper://127.0.0.1:1/n", "g", "--digest-file", file, *rest]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (_wrong("/no/such/file"), "does not exist"),
        (_wrong("/dev/null"), "user:password"),
        (["members", "sqlite:///x", "g", "--tls"], "--tls is for zookeeper://, not for sqlite://"),
        (["members", "zookeeper://h", "g", "--tls-key", __file__], "a key without a certificate"),
        (["members", "zokeeper://h", "g"], "did you mean zookeeper://?"),
        (["members", "zookeeper://h", "g", "--profile", "nova"], "--profile is for SQL"),
        (["members", "sqlite:///x", "g", "--session-timeout", "3"], "is for zookeeper://"),
        (["watch", "sqlite:///x", "g", "--interval", "9", "--timeout", "3"], "no longer than"),
        (["watch", "memory://x", ""], "a group's name"),
        (["force-down", "memory://x", "g", "n", "--lift", "--reason", "r"], "takes no --reason"),
        (["force-down", "memory://x", "g"], "Missing argument 'NAME'"),
    ],
)
def test_a_wrong_call_is_2_and_says_what_is_wrong(arguments: list[str], problem: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert problem in done.stderr
    assert "Traceback" not in done.output


def test_servers_that_cannot_be_reached_are_4_without_a_secret(tmp_path: Path) -> None:
    for url in (
        "postgresql+psycopg://nova:s3cret@127.0.0.1:1/nova",
        "zookeeper://127.0.0.1:1/nova",
        f"sqlite:///{tmp_path}/no/such/folder/members.db",
    ):
        done = run("members", url, "compute", "--json")
        assert done.exit_code == 4, done.output
        assert json.loads(done.stdout)["error"] == "MachineError"
        assert "s3cret" not in done.output
        assert "Traceback" not in done.output
