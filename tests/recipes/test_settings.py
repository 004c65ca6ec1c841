"""Settings: small versioned values that everybody reads and few change."""

from __future__ import annotations

import threading

import pytest

from membership import Conflict, Fence, InvalidValue
from membership.recipes import Setting, SettingState
from membership.testing import eventually
from tests.recipes.servers import Servers


def test_a_setting_has_its_default_until_it_is_set(servers: Servers) -> None:
    limit = Setting(servers.connect(), "limit", default=10)
    assert limit.get() == SettingState(10, 0)
    assert limit.set({"soft": 5, "hard": [6, None]}, 0).version == 1
    elsewhere = Setting(servers.connect(), "limit")
    assert elsewhere.get() == SettingState({"soft": 5, "hard": [6, None]}, 1)


def test_of_two_who_change_it_the_second_is_told(servers: Servers) -> None:
    ours, theirs = (Setting(servers.connect(), "limit") for _ in range(2))
    known = ours.put(1)
    theirs.put(2)
    with pytest.raises(Conflict):
        ours.set(3, known.version)
    assert ours.get() == SettingState(2, 2)


def test_a_setting_can_be_changed_under_a_condition(servers: Servers) -> None:
    membership = servers.connect()
    guard = membership.cell("guard").compare_and_set(b"", 0)
    setting = Setting(membership, "limit")
    setting.set(1, 0, Fence("guard", guard.version))
    membership.cell("guard").compare_and_set(b"", guard.version)
    with pytest.raises(Conflict):
        setting.set(2, 1, Fence("guard", guard.version))
    assert setting.get().value == 1


def test_many_who_put_at_a_time_all_get_through(servers: Servers) -> None:
    settings = [Setting(servers.connect(), "limit") for _ in range(3)]

    def put(setting: Setting) -> None:
        for number in range(5):
            setting.put(number)

    threads = [threading.Thread(target=put, args=[setting]) for setting in settings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert settings[0].get().version == 15


def test_changes_begin_with_the_present_and_end_with_the_newest(servers: Servers) -> None:
    """Values in between may be passed over; closing the connection ends it."""
    ours, theirs = servers.connect(), servers.connect()
    Setting(theirs, "limit").put(0)
    seen: list[SettingState] = []

    def collect() -> None:
        for state in Setting(ours, "limit").changes():
            seen.append(state)  # noqa: PERF402  one by one, as they come

    thread = threading.Thread(target=collect)
    thread.start()
    eventually(lambda: seen)
    for number in range(1, 6):
        Setting(theirs, "limit").put(number)
    eventually(lambda: seen[-1] == SettingState(5, 6), ours.traits.staleness)
    ours.close()
    thread.join(30)
    assert not thread.is_alive()
    versions = [state.version for state in seen]
    assert seen[0] == SettingState(0, 1)
    assert versions == sorted(set(versions))


@pytest.mark.parametrize(
    "value", [float("nan"), object(), "x" * 70_000], ids=["nan", "object", "big"]
)
def test_what_is_no_json_or_too_large_is_refused(memory: Servers, value: object) -> None:
    setting = Setting(memory.connect(), "limit")
    with pytest.raises(InvalidValue):
        setting.put(value)  # type: ignore[arg-type]
    assert setting.get().version == 0
