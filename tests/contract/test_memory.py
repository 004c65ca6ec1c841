"""The contract on ``memory://``."""

from __future__ import annotations

import itertools
from contextlib import AbstractContextManager, nullcontext

import pytest

from membership import Membership, MemoryConfig, connect
from membership.backends.memory import MemoryMembership
from membership.testing import Check, checks, run

_numbers = itertools.count()


class MemorySubject:
    """A store of its own for each check."""

    def __init__(self) -> None:
        self._url = f"memory://contract-{next(_numbers)}"
        self._open: list[Membership] = []

    def connect(self) -> Membership:
        return connect(self._url, MemoryConfig(timeout=0.2))

    def crash(self, membership: Membership) -> None:
        assert isinstance(membership, MemoryMembership)
        membership.abandon()

    def silence(self) -> AbstractContextManager[None]:
        return nullcontext()

    def sessions(self) -> int:
        from membership.backends.memory import _stores

        store = _stores.get(self._url.removeprefix("memory://"))
        return store.connections if store else 0


@pytest.mark.parametrize("check", checks(), ids=lambda check: check.__name__)
def test_contract(check: Check) -> None:
    run(check, MemorySubject())
