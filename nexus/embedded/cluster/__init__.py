"""The cluster of one machine: a Job's command runs as a local process, owned by a small process of its own.

Who may act for a Job holds the flock on its folder: its owner while it runs, the adapter when it
removes it. Of two owners one waits, so a Job never has two live attempts. The adapter is in `.local`;
this file imports nothing, because the launcher that forks the owners has to stay small.
"""

from __future__ import annotations

__all__: list[str] = []
