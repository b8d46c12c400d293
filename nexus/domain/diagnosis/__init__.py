"""Why a run did not complete, and why it does not go on: rules from what a cluster shows to a cause and a hint."""

from nexus.domain.diagnosis.ending import Ending, Failure
from nexus.domain.diagnosis.judging import (
    Stall,
    cluster_lost,
    diagnose,
    give_up,
    silent,
    stall,
    tells_all,
    unheard,
    vanished,
)
from nexus.domain.diagnosis.refusals import REFUSALS, explain
from nexus.domain.diagnosis.rules import GRACES, NOT_HEARD, RULES, Rule

__all__ = [
    "GRACES",
    "NOT_HEARD",
    "REFUSALS",
    "RULES",
    "Ending",
    "Failure",
    "Rule",
    "Stall",
    "cluster_lost",
    "diagnose",
    "explain",
    "give_up",
    "silent",
    "stall",
    "tells_all",
    "unheard",
    "vanished",
]
