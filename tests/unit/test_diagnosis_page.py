from __future__ import annotations

import msgspec

from docs.pages.diagnosis import current
from nexus.config import Grace
from nexus.domain.diagnosis import GRACES, REFUSALS, RULES


def test_every_category_is_on_it():
    page = current()
    assert all(f"### {rule.category}\n" in page and rule.hint in page for rule in RULES)
    assert all(f"| {refusal.category} |" in page for refusal in REFUSALS)


def test_every_grace_is_configured_and_is_that_of_a_rule():
    configured = {field.name for field in msgspec.structs.fields(Grace)}
    assert configured == set(GRACES) == {rule.grace for rule in RULES if rule.grace}
