"""The schema of the chart's values: made from the values, their comments and the structs of `nexus/config/sections.py`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from docs.pages.chart_values import CHART, Value, values
from nexus.config import Config, Secret

__all__ = ["COMMITTED", "current"]

COMMITTED = CHART / "values.schema.json"

_SCALAR = ["string", "number", "boolean"]


def current() -> str:
    """The schema by the values as they are."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The values of the chart nexus; written by `make pages`",
        **_section(values()),
    }
    schema["properties"]["global"] = {"description": "Helm's own.", "type": "object"}
    return json.dumps(schema, indent=2) + "\n"


def _section(inside: Iterable[Value]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {value.path[-1]: _schema(value) for value in inside},
        "additionalProperties": False,
    }


def _schema(value: Value) -> dict[str, Any]:
    described = {"description": value.meaning} if value.meaning else {}
    if value.configuration:
        return described | _configuration()
    if value.inside:
        return described | _section(value.inside)
    if value.choices:
        return described | {"enum": list(value.choices)}
    types = list(value.types)
    bounds = {"minimum": 0} if "integer" in types else {}
    return described | {"type": types[0] if len(types) == 1 else types} | bounds


def _configuration() -> dict[str, Any]:
    """Each section with its keys, but for the secret ones, which have no place in values."""
    return {
        "type": "object",
        "properties": {
            section.name: {
                "type": "object",
                "properties": {
                    key.name: {"type": _SCALAR}
                    for key in msgspec.structs.fields(section.type)
                    if not _secret(key.type)
                },
                "additionalProperties": False,
            }
            for section in msgspec.structs.fields(Config)
        },
        "additionalProperties": False,
    }


def _secret(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Secret)
