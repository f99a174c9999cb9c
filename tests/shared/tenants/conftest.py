"""The control Redis, empty."""

import pytest
from redis import Redis

from shared.redis_clients import control_redis
from shared.settings import Settings


@pytest.fixture
def control(servers: Settings) -> Redis:
    client = control_redis(servers)
    client.flushdb()
    return client
