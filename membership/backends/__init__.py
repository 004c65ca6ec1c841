"""Which backend serves a URL. A backend's driver is imported only when its URL is used.

A third party's backend is an entry point in the group ``heartbench.backends``: its name is the
URL's scheme, its value a function ``(url, config, meter) -> Membership``.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from urllib.parse import urlsplit

from membership.api import Membership, Meter
from membership.config import Config
from membership.errors import MissingDriver, UnknownBackend

Connector = Callable[[str, Config | None, Meter], Membership]

# scheme -> module with a function ``connect``, and the extra that brings its driver
_OURS = {
    "memory": ("membership.backends.memory", None),
    "sqlite": ("membership.backends.sql", "sql"),
    "postgresql": ("membership.backends.sql", "postgres"),
    "zookeeper": ("membership.backends.zookeeper", "zookeeper"),
}
_GROUP = "heartbench.backends"


_logger = logging.getLogger("membership")


def _ignore(name: str, value: float) -> None:
    """The meter of those who asked for none."""


def _harmless(meter: Meter) -> Meter:
    """A meter that raises ends no heartbeat."""

    def measured(name: str, value: float) -> None:
        try:
            meter(name, value)
        except Exception:  # the caller's: what it measures must go on
            _logger.exception("the meter failed at %s", name)

    return measured


def connect(url: str, config: Config | None = None, *, meter: Meter | None = None) -> Membership:
    """Connect to the servers that the URL names.

    ``memory://name``, ``sqlite:///file``, ``postgresql+psycopg://user@host/database`` or
    ``zookeeper://host:port,host:port/namespace``. ``config`` is that backend's own class
    (default: its defaults); ``meter`` is told of the connection's measurements.

    Raises: UnknownBackend, MissingDriver, Disconnected, InvalidValue (a config of another
    backend).
    """
    return _connector(urlsplit(url).scheme.partition("+")[0])(
        url, config, _ignore if meter is None else _harmless(meter)
    )


def _connector(scheme: str) -> Connector:
    found: Connector
    if scheme in _OURS:
        module, extra = _OURS[scheme]
        try:
            found = import_module(module).connect
        except ImportError as error:
            if extra is None or (error.name or "").startswith("membership"):
                raise
            raise MissingDriver(
                f"{scheme}:// needs the package {error.name!r}: pip install 'heartbench[{extra}]'"
            ) from error
        return found
    outside = {point.name: point for point in entry_points(group=_GROUP)}
    if scheme in outside:
        found = outside[scheme].load()
        return found
    known = sorted({*_OURS, *outside})
    near = difflib.get_close_matches(scheme, known, 1)
    hint = f"did you mean {near[0]}://?" if near else f"there are: {', '.join(known)}"
    raise UnknownBackend(f"no backend serves {scheme or 'a URL without a scheme'}://; {hint}")
