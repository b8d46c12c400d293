"""Nexus: an event-sourced proxy between programs that want algorithms run and Kubernetes."""

__all__ = ["__version__"]

__version__: str


def __getattr__(name: str) -> str:
    """Look the version up where it is asked for: pyproject.toml is its only place, and most processes never need it."""
    if name != "__version__":
        raise AttributeError(name)
    from importlib.metadata import version

    return version("nexus-runs")
