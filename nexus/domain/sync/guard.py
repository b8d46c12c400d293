"""What may be deleted because nothing speaks of it any more."""

from __future__ import annotations

from nexus.domain.sync.objects import Key

__all__ = ["Guard"]


class Guard:
    """Of one shard. More than half of its copies at once are believed to be orphans only when a second list says so too."""

    def __init__(self) -> None:
        self.doomed: set[Key] = set()
        self._suspects: set[Key] = set()
        self._lists = 0

    def look(self, orphans: set[Key], copies: int, lists: int) -> int:
        """Take what a comparison of everything found. `lists` counts those of the source.

        Returns how many orphans have to wait for another list.
        """
        few = 2 * len(orphans) <= copies
        self.doomed = orphans if few else orphans & (self._suspects if lists > self._lists else self.doomed)
        if lists > self._lists:
            self._suspects, self._lists = orphans, lists
        return len(orphans - self.doomed)
