"""Upstream's paths, as its clients know them: contract §1."""
