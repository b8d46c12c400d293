"""What Nexus' topics are called on the brokers: `nexus.runs` is `<prefix>.runs` there."""

from __future__ import annotations

import msgspec

__all__ = ["Names"]

_OURS = "nexus."


class Names(msgspec.Struct, frozen=True):
    """Translates at the edge, so that events, projections and commands name the topics the same everywhere.

    Other topics keep their names.
    """

    prefix: str = "nexus"

    def there(self, topic: str) -> str:
        """Translate Nexus' name of a topic to that on the brokers."""
        return _moved(topic, _OURS, f"{self.prefix}.")

    def here(self, topic: str) -> str:
        """Translate the brokers' name of a topic to that of Nexus."""
        return _moved(topic, f"{self.prefix}.", _OURS)

    def group(self, consumers: str) -> str:
        """Translate Nexus' name of a consumer group to that on the brokers."""
        return consumers if self == Names() else f"{self.prefix}.{consumers}"

    def ours(self, topic: str) -> bool:
        """Tell whether the brokers' name of a topic is one of this installation."""
        return topic.startswith(f"{self.prefix}.")


def _moved(topic: str, before: str, after: str) -> str:
    return after + topic.removeprefix(before) if topic.startswith(before) else topic
