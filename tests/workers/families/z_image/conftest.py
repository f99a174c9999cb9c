"""A worker with tiny models of Z-Image."""

from collections.abc import Iterator
from typing import Any

import pytest

from shared.settings import Settings
from tests.workers.families.z_image.world import DTYPES, World, worlds


@pytest.fixture(scope="session")
def _worlds(servers: Settings, tmp_path_factory: Any) -> Iterator[dict[str, World]]:
    with worlds(servers, tmp_path_factory.mktemp("z-image")) as made:
        yield made


@pytest.fixture(params=DTYPES)
def world(request: pytest.FixtureRequest, _worlds: dict[str, World]) -> World:
    """One for each type of numbers."""
    return _worlds[request.param]
