"""Equal events have equal ids and equal encodings, whichever objects they are made of."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus.domain import events, observed, template
from nexus.domain.canonical import Canonical, _plural
from nexus.domain.events import (
    CollectedBy,
    DeletionPolicy,
    JobCollected,
    decode_event,
    encode_event,
    event_id,
)
from tests.support.factories import AT, cancelled, fact, run_observed, run_requested
from tests.unit.golden_files import KINDS

_TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8)
_PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: _TEXTS,
    int: st.integers(-(2**31), 2**31),
    bool: st.booleans(),
    bytes: st.binary(max_size=8),
    datetime: st.integers(0, 10**15).map(lambda passed: AT + timedelta(microseconds=passed)),
    NoneType: st.none(),
    msgspec.Raw: st.sampled_from([b"{}", b'{"a": 1}']).map(msgspec.Raw),
    Any: st.none() | st.booleans() | st.integers() | _TEXTS,
}


def any_of(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type of the domain's."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind in _PLAIN:
        return _PLAIN[kind]
    if origin is Annotated:
        return any_of(inner[0])
    if origin in {Union, UnionType}:
        return st.one_of(*map(any_of, inner))
    if origin is tuple:
        return st.lists(any_of(inner[0]), max_size=2).map(tuple)
    if origin is list:
        return st.lists(any_of(inner[0]), max_size=2)
    if origin is dict:
        return st.dictionaries(any_of(inner[0]), any_of(inner[1]), max_size=2)
    if issubclass(kind, Enum):
        return st.sampled_from(kind)
    return structs(kind)


def structs(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Its members are their defaults as often as not."""
    hints = get_type_hints(kind, include_extras=True)
    members: dict[str, st.SearchStrategy[Any]] = {}
    for member in msgspec.structs.fields(kind):
        values = st.deferred(lambda shape=hints[member.name]: any_of(shape))
        if member.default is not msgspec.NODEFAULT:
            values = st.just(member.default) | values
        members[member.name] = values
    return st.builds(kind, **members)


def another(value: Any) -> Any:
    """An equal value, of objects of its own as far as there can be others."""
    match value:
        case msgspec.Struct():
            return type(value)(**{name: another(getattr(value, name)) for name in value.__struct_fields__})
        case msgspec.Raw():
            return msgspec.Raw(bytes(bytearray(bytes(value))))
        case str():
            return "".join([*value])
        case bytes():
            return bytes(bytearray(value))
        case datetime():
            return datetime.fromisoformat(value.isoformat())
        case tuple() | list():
            return type(value)(another(each) for each in value)
        case dict():
            return {another(key): another(each) for key, each in value.items()}
        case _:
            return value


@pytest.mark.parametrize("kind", sorted(KINDS))
@settings(max_examples=30)  # each has every member given or not, and there are many kinds
@given(data=st.data())
def test_equal_events_have_equal_ids_and_encodings(kind, data):
    event = data.draw(structs(KINDS[kind]))
    other = another(event)
    assert other == event
    assert encode_event(other) == encode_event(event)
    assert event_id(other) == event_id(event)
    assert event_id(decode_event(encode_event(event))) == event_id(event)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(cancelled(), cancelled(policy=another("Background")), id="policy"),
        pytest.param(
            fact(JobCollected, job_uid="a"), fact(JobCollected, job_uid="a", by=another("nexus")), id="by"
        ),
        pytest.param(
            run_observed(observed.PodView(metadata=observed.Metadata(name="p"))),
            run_observed(
                observed.PodView(
                    metadata=observed.Metadata(name="p"), status=observed.PodStatus(phase=another("Pending"))
                )
            ),
            id="phase",
        ),
        pytest.param(
            run_requested(overrides=template.AlgorithmSpec()),
            run_requested(overrides=template.AlgorithmSpec(container=template.Container(image=""))),
            id="an empty section",
        ),
        pytest.param(
            run_requested(payload=b""), run_requested(payload=bytes(bytearray(b""))), id="no payload"
        ),
    ],
)
def test_what_equals_a_default_is_left_out(one, other):
    assert one == other
    assert (event_id(one), encode_event(one)) == (event_id(other), encode_event(other))


def test_words_that_are_few_are_an_enumeration():
    """What a client sent, and what was read from the log, are the same member."""
    assert decode_event(encode_event(cancelled(policy="Orphan"))).policy is DeletionPolicy.ORPHAN
    assert decode_event(encode_event(fact(JobCollected, job_uid="a", by="other"))).by is CollectedBy.OTHER


def test_a_struct_whose_default_may_have_equals_is_canonical():
    """The others go without, because it takes time at each event that is read."""
    structs_of = {
        shape
        for module in (events, observed, template)
        for shape in vars(module).values()
        if isinstance(shape, type) and issubclass(shape, msgspec.Struct)
    }
    omitting = {shape for shape in structs_of if shape.__struct_config__.omit_defaults}
    assert {shape for shape in omitting if _plural(shape)} == {
        shape for shape in omitting if issubclass(shape, Canonical)
    }
