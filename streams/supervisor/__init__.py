"""The role `supervisor`: turns observations into facts, ends what waits too long, deletes Jobs and payloads."""
