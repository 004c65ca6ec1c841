"""Names and metadata as the servers keep them: one form on every backend."""

from __future__ import annotations

import json
from types import MappingProxyType

from membership.errors import InvalidValue
from membership.model import Metadata

NAME_BYTES = 255
"""The longest name of a group, member or cell, as UTF-8: what Nova's columns hold."""


def check_name(what: str, name: str) -> str:
    """The name itself, if every backend can keep it. Raises: InvalidValue."""
    if not isinstance(name, str) or not name:
        raise InvalidValue(f"a {what}'s name is a string that isn't empty, not {name!r}")
    if not name.isprintable():
        raise InvalidValue(f"the {what}'s name {name!r} has characters that can't be printed")
    if (size := len(name.encode(errors="surrogatepass"))) > NAME_BYTES:
        raise InvalidValue(f"the {what}'s name takes {size} bytes: at most {NAME_BYTES} fit")
    return name


def freeze_metadata(metadata: Metadata | None) -> Metadata:
    """A copy that shares nothing with the caller's. Raises: InvalidValue."""
    return decode_metadata(encode_metadata(metadata))


def encode_metadata(metadata: Metadata | None, limit: int | None = None) -> bytes:
    """Compact UTF-8 JSON with sorted keys, so that equal metadata are equal bytes.

    Raises: InvalidValue where it is no mapping from strings to JSON values, or over ``limit``.
    """
    try:
        pairs = dict(metadata or {})
        if not all(isinstance(key, str) for key in pairs):
            raise TypeError("its keys have to be strings")
        text = json.dumps(pairs, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidValue(f"the metadata can't be kept as JSON: {error}") from error
    if limit is not None and len(text) > limit:
        raise InvalidValue(f"the metadata take {len(text)} bytes of JSON: at most {limit} fit")
    return text.encode()


def decode_metadata(data: bytes | str) -> Metadata:
    """What `encode_metadata` wrote; empty where somebody else wrote something else."""
    try:
        value = json.loads(data or b"{}")
    except ValueError:
        value = None
    return MappingProxyType(value if isinstance(value, dict) else {})
