"""Tests of compatible APIs ask the app in this process, or the API over sockets of their folder."""

import pytest

from api.services import Services


@pytest.fixture
def services(request: pytest.FixtureRequest, services: Services) -> Services:
    """Those of the API over sockets, where a test asks it."""
    if "port" not in request.fixturenames:
        return services
    served: Services = request.getfixturevalue("served")
    served.control.flushdb()
    return served
