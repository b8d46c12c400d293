"""The role `supervisor`: turns observations into facts, decides what waited too long, collects garbage."""
