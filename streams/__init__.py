"""The stream processors, in one folder per role, and the drivers that feed them."""
