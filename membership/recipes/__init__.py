"""What is built on the contract alone, its state in cells: it runs on every backend alike."""

from membership.recipes.brake import Brake
from membership.recipes.election import Candidacy, Election, Leadership, LeadershipSource, Seat
from membership.recipes.migration import Both, Difference
from membership.recipes.mirror import LivenessSink, Mirror
from membership.recipes.reactions import Executor, Failure, Rate, Reactions
from membership.recipes.settings import Setting, SettingState

__all__ = [
    "Both",
    "Brake",
    "Candidacy",
    "Difference",
    "Election",
    "Executor",
    "Failure",
    "Leadership",
    "LeadershipSource",
    "LivenessSink",
    "Mirror",
    "Rate",
    "Reactions",
    "Seat",
    "Setting",
    "SettingState",
]
