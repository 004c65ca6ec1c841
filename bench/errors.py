"""What the harness can end with, each with the exit code that the command line gives."""

from collections.abc import Iterable
from typing import ClassVar


class HarnessError(Exception):
    """Anything the harness says instead of a result. Its text is written for the user."""

    exit_code: ClassVar[int] = 3


class ScenarioError(HarnessError):
    """The scenario, or the call, is wrong. Nothing was started.

    `problems` holds every one found, one line each, in the order of the file.
    """

    exit_code = 2

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class MachineError(HarnessError):
    """The machine or a server is not up to the plan."""

    exit_code = 4


class InvalidRun(HarnessError):
    """The run took place, but its numbers must not be believed."""

    exit_code = 3
