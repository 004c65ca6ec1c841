"""The contract, checked: every promise that `membership.api` makes, on any backend.

An outside backend runs them too. With pytest:

    @pytest.mark.parametrize("check", checks(), ids=lambda check: check.__name__)
    def test_contract(check, subject):
        run(check, subject)

Each check ends with proof that nothing leaked: no thread here, no session at the servers. Waits
are bounded by what the backend itself declares in its traits, with room for a busy machine.
"""

from membership.testing import cells, members, watches  # noqa: F401  their checks
from membership.testing.suite import Check, Subject, checks, run
from membership.testing.waiting import ROOM, eventually, quiet, refused, take, told

__all__ = [
    "ROOM",
    "Check",
    "Subject",
    "checks",
    "eventually",
    "quiet",
    "refused",
    "run",
    "take",
    "told",
]
