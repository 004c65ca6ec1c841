"""The library from a shell: who is a member, what changes, and who is taken out for maintenance.

`cli.py` registers the commands. Their exit codes are its own: 2 a wrong call, 4 servers that
can't be reached, 130 interrupted. No password stands on a command line, where everybody on the
machine can read it: ZooKeeper's comes from a file or the environment, SQL's from where libpq finds
it (PGPASSWORD, ~/.pgpass).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from bench.errors import MachineError, ScenarioError
from bench.options import as_json
from membership import (
    Config,
    Freshness,
    InvalidValue,
    Member,
    MemberEvent,
    Membership,
    MembershipError,
    SqlConfig,
    Tls,
    UnknownBackend,
    View,
    Watch,
    ZooKeeperConfig,
    connect,
)

LOOK = 0.5
"""Between two looks of `watch` at how fresh its view is, in s."""
DIGEST = "HEARTBENCH_DIGEST"
"""The environment's variable that holds ``user:password`` for ZooKeeper."""

Command = TypeVar("Command", bound=Callable[..., Any])

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
SQL = {
    "profile": click.option(
        "--profile", type=click.Choice(["nova", "tuned"]), help="SQL: as its members have it."
    ),
    "interval": click.option(
        "--interval", type=float, metavar="SECONDS", help="SQL: between two beats of a member."
    ),
    "timeout": click.option(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="SQL: without a beat for this long a member is dead. As its members have it.",
    ),
}
ZOOKEEPER = {
    "session_timeout": click.option(
        "--session-timeout", type=float, metavar="SECONDS", help="The ZooKeeper session's."
    ),
    "digest_file": click.option(
        "--digest-file",
        type=FILE,
        metavar="FILE",
        help="ZooKeeper: a file that holds user:password, and nothing else, for digest "
        f"authentication. Without it, the environment's {DIGEST} is taken where it is set.",
    ),
    "tls": click.option(
        "--tls", is_flag=True, default=None, help="ZooKeeper: speak TLS. So does each of the next."
    ),
    "tls_ca": click.option(
        "--tls-ca",
        type=FILE,
        metavar="FILE",
        help="The authorities that servers' certificates have to come from (PEM); "
        "the system's where it isn't given.",
    ),
    "tls_certificate": click.option(
        "--tls-certificate", type=FILE, metavar="FILE", help="Our own certificate (PEM)."
    ),
    "tls_key": click.option(
        "--tls-key", type=FILE, metavar="FILE", help="Its key (PEM), where it isn't in that file."
    ),
}
BACKENDS = {
    "postgresql": ("SQL", SQL),
    "sqlite": ("SQL", SQL),
    "zookeeper": ("zookeeper://", ZOOKEEPER),
}
"""By scheme: what its settings are for, and their options."""


def _config(url: str, given: Mapping[str, Any]) -> Config | None:
    """The settings that were given, for the backend that the URL names.

    Raises: ScenarioError, where they belong to another.
    """
    scheme = url.partition(":")[0].partition("+")[0]
    _, ours = BACKENDS.get(scheme, ("", {}))
    if strange := given.keys() - ours.keys():
        raise ScenarioError(
            f"--{name.replace('_', '-')} is for {belongs}, not for {scheme}://"
            for belongs, options in dict(BACKENDS.values()).items()
            for name in options
            if name in strange
        )
    try:
        if ours is SQL:
            return SqlConfig(**given)
        return _zookeeper(**given) if ours is ZOOKEEPER else None
    except InvalidValue as error:
        raise ScenarioError([str(error)]) from error


def _zookeeper(
    digest_file: Path | None = None, *, tls: bool = False, **given: Any
) -> ZooKeeperConfig:
    """Raises: InvalidValue."""
    if digest_file is not None:
        given["digest"] = digest_file.read_text().strip()
    elif digest := os.environ.get(DIGEST):
        given["digest"] = digest
    files = {part: given.pop(f"tls_{part}", None) for part in ("ca", "certificate", "key")}
    if tls or any(files.values()):
        given["tls"] = Tls(**{part: str(path) for part, path in files.items() if path})
    return ZooKeeperConfig(**given)


@contextmanager
def _connected(url: str, settings: dict[str, Any]) -> Iterator[Membership]:
    """A connection for the block; what the library raises in it becomes the harness's errors."""
    config = _config(url, {name: value for name, value in settings.items() if value is not None})
    try:
        with connect(url, config) as membership:
            yield membership
    except (InvalidValue, UnknownBackend) as error:
        raise ScenarioError([str(error)]) from error
    except MembershipError as error:
        raise MachineError(str(error)) from error


def _settings(command: Command) -> Command:
    for option in reversed([*SQL.values(), *ZOOKEEPER.values()]):
        command = option(command)
    return command


@click.command()
@click.argument("url")
@click.argument("group")
@_settings
@as_json
def members(url: str, group: str, as_json: bool, **settings: Any) -> None:
    """List the members of a group, and who is forced down.

    One look at SQL heartbeats can't always tell the living from the dead: such members are
    unconfirmed. A watch finds out.
    """
    with _connected(url, settings) as membership:
        view = membership.members(group)
        forced = membership.forced_down(group)
    present = sorted(view, key=lambda member: member.name)
    if as_json:
        value = {
            "group": group,
            "members": [
                _value(member) | {"confirmed": member.name not in view.unconfirmed}
                for member in present
            ],
            "forced_down": dict(forced),
        }
        click.echo(json.dumps(value, indent=2))
        return
    if not present and not forced:
        click.echo(f"{group} has no members")
        return
    rows = [("name", "token", "state", "metadata")]
    for member in present:
        state = "unconfirmed" if member.name in view.unconfirmed else "alive"
        rows.append((member.name, str(member.token), state, _metadata(member)))
    rows += [(name, "", "forced down", reason) for name, reason in sorted(forced.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    for row in rows:  # whole lines, whatever the terminal's width: they are searched and cut
        click.echo("  ".join([*map(str.ljust, row, widths), row[-1]]).rstrip())


@click.command()
@click.argument("url")
@click.argument("group")
@_settings
@as_json
def watch(url: str, group: str, as_json: bool, **settings: Any) -> None:
    """Tell of each change of a group, one line each, until interrupted.

    Those that are there at first come as joined. A line also says when the servers stop
    answering (stale, disconnected) and when they answer again (fresh).
    """
    say = _json_line if as_json else _line
    with _connected(url, settings) as membership, membership.watch(group) as watching:
        for told in _changes(watching):
            click.echo(say(told))


@click.command()
@click.argument("url")
@click.argument("group")
@click.argument("name")
@click.option("--reason", default="", help="For those who look at it later.")
@click.option("--lift", is_flag=True, help="End it: the member counts again.")
@_settings
@as_json
def force_down(
    url: str, group: str, name: str, reason: str, lift: bool, as_json: bool, **settings: Any
) -> None:
    """Have everybody take that name for no member, for maintenance."""
    if lift and reason:
        raise ScenarioError(["--lift takes no --reason"])
    with _connected(url, settings) as membership:
        if lift:
            membership.lift(group, name)
        else:
            membership.force_down(group, name, reason)
        forced = membership.forced_down(group)
    if as_json:
        click.echo(json.dumps({"group": group, "forced_down": dict(forced)}, indent=2))
    else:
        click.echo(f"{name} is {'no longer ' if lift else ''}forced down in {group}")


COMMANDS = (members, watch, force_down)


def _changes(watching: Watch) -> Iterator[MemberEvent | View]:
    """Events as they come, and the view when it is another kind of fresh than it was."""
    freshness = Freshness.FRESH
    while True:
        if (event := watching.next(LOOK)) is not None:
            yield event
        view = watching.view
        if view.freshness is not freshness:
            freshness = view.freshness
            yield view


def _json_line(told: MemberEvent | View) -> str:
    value: dict[str, object] = {"time": time.time(), "group": told.group}
    if isinstance(told, View):
        value |= {"event": told.freshness, "age": told.age}
    else:
        value |= {"event": told.kind, "version": told.version}
        if told.member is not None:
            value |= _value(told.member)
    return json.dumps(value)


def _line(told: MemberEvent | View) -> str:
    clock = datetime.now().astimezone().strftime("%H:%M:%S.%f")[:-3]
    if isinstance(told, View):
        return f"{clock} {told.freshness:9} as of {told.age:.1f} s ago"
    if told.member is None:
        return f"{clock} {told.kind:9} events may have been missed"
    return f"{clock} {told.kind:9} {told.member.name} {told.member.token} {_metadata(told.member)}"


def _value(member: Member) -> dict[str, object]:
    return {"name": member.name, "token": member.token, "metadata": dict(member.metadata)}


def _metadata(member: Member) -> str:
    return json.dumps(dict(member.metadata), ensure_ascii=False)
