"""What is built on the contract alone, its state in cells: it runs on every backend alike."""

from membership.recipes.election import Candidacy, Election, Leadership, Seat
from membership.recipes.settings import Setting, SettingState

__all__ = ["Candidacy", "Election", "Leadership", "Seat", "Setting", "SettingState"]
