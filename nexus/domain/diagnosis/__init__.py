"""Why a run did not complete, and why it does not go on: rules from what a cluster shows to a cause and a hint."""

from nexus.domain.diagnosis.ending import Ending, Failure
from nexus.domain.diagnosis.judging import (
    Stall,
    diagnose,
    give_up,
    silent,
    stall,
    tells_all,
    vanished,
)
from nexus.domain.diagnosis.refusals import REFUSALS, explain
from nexus.domain.diagnosis.rules import GRACES, RULES, Rule

__all__ = [
    "GRACES",
    "REFUSALS",
    "RULES",
    "Ending",
    "Failure",
    "Rule",
    "Stall",
    "diagnose",
    "explain",
    "give_up",
    "silent",
    "stall",
    "tells_all",
    "vanished",
]
