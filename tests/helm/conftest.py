from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.helm.installed import Release, installed
from tests.support.helm import Helm


@pytest.fixture(scope="session")
def releases(helm: Helm, kubernetes_server: Path) -> Iterator[Mapping[str, Release]]:
    with installed(helm, kubernetes_server) as found:
        yield found
