"""Chaos on real servers: processes of Nexus and of its servers are killed under load, and nothing may come of it.

`make chaos` runs it for a given time, `test_chaos.py` a short version. What came of it is read from outside: over HTTP,
from the log, and from what the cluster shows.
"""
