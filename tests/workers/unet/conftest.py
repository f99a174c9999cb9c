"""Every test of a UNet worker begins with a fleet that has no jobs."""

import pytest

from shared.redis_clients import control_redis


@pytest.fixture(autouse=True)
def no_job_waits(request: pytest.FixtureRequest) -> None:
    """Jobs that other tests have left would call followers and helpers away, and keep workers busy.

    Tests that use no server start none for it.
    """
    if "servers" in request.fixturenames:
        control_redis(request.getfixturevalue("servers")).flushdb()
