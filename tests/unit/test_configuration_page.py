from __future__ import annotations

from itertools import chain

import msgspec
import pytest

from docs.pages.configuration import Key, Section, current, sections
from nexus.config import Config, renamed

KEYS = list(chain.from_iterable(section.keys for section in sections()))


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.name)
def test_a_section_says_what_it_is_about(section: Section):
    assert section.doc, f"write a docstring for the section {section.name} in nexus/config/sections.py"


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_a_key_says_what_it_means(key: Key):
    assert key.doc, f"write a docstring below {key.name} in nexus/config/sections.py, then run `make pages`"
    assert key.doc[0].isupper() or key.doc.startswith("`"), f"{key.name} begins like no sentence"
    assert key.doc.endswith("."), f"{key.name} ends like no sentence"


def test_every_key_is_on_the_page_with_its_variable_and_default():
    page = current()
    declared = {
        f"{section.name}.{key.name}"
        for section in msgspec.structs.fields(Config)
        for key in msgspec.structs.fields(section.type)
    }
    assert declared == {key.name for key in KEYS}
    assert "| `http.port`<br>`NEXUS__HTTP__PORT` | integer, 1 to 65535 | `8080` |" in page
    assert "| `http.max_body`<br>`NEXUS__HTTP__MAX_BODY` | size | `500Mi` |" in page
    assert "| `grace.quota`<br>`NEXUS__GRACE__QUOTA` | duration or `never` | `never` |" in page
    assert "| `kafka.password`<br>`NEXUS__KAFKA__PASSWORD` | secret |  |" in page


def test_every_former_name_is_on_the_page_and_means_keys_that_there_are():
    page = current()
    names = {key.name for key in KEYS}
    for former, present in renamed().items():
        assert f"| `{former}` | " in page
        assert former not in names
        assert names.issuperset(present)
