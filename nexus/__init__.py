"""Nexus: an event-sourced proxy between programs that want algorithms run and Kubernetes."""

__all__ = ["__version__"]

__version__ = "0.1.0"
