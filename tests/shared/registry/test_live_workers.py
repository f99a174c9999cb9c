"""One reading of the heartbeats a second for everybody in a process who asks."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import ConnectionPool, Redis
from redis.exceptions import RedisError

from shared.registry.live_workers import LiveWorkersCache
from shared.registry.workers import Heartbeat, publish_heartbeat

HEARTBEAT = Heartbeat(
    name="unet1@a", kind="unet", host="a", pid=1, device="cpu", serves=["m"], loaded=[], jobs=[],
    utilization=0.0, started_at=1.0, version="0",
)  # fmt: skip
OTHER = HEARTBEAT.model_copy(update={"name": "unet2@a"})
LONG_S = 3600.0


class AwayRedis(Redis):
    """Cannot be reached until it ``is_back``; counts the tries."""

    is_back = False
    tries = 0

    def execute_command(self, *args: Any, **options: Any) -> Any:
        if self.is_back:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        self.tries += 1
        raise RedisError("no answer")


@pytest.fixture
def away(control: Redis) -> AwayRedis:
    control.flushdb()
    pool: ConnectionPool = control.connection_pool
    return AwayRedis(connection_pool=pool)


def test_all_who_ask_within_a_second_share_one_reading(control: Redis) -> None:
    control.flushdb()
    publish_heartbeat(control, HEARTBEAT, 60)
    workers = LiveWorkersCache(control, cache_s=LONG_S)
    assert workers.read() == [HEARTBEAT]
    publish_heartbeat(control, OTHER, 60)
    # The very list, not one that was parsed again
    assert workers.read() is workers.read()
    assert workers.read() == [HEARTBEAT]


def test_an_old_reading_is_replaced(control: Redis) -> None:
    control.flushdb()
    workers = LiveWorkersCache(control, cache_s=0)
    assert workers.read() == []
    publish_heartbeat(control, HEARTBEAT, 60)
    assert workers.read() == [HEARTBEAT]


def test_all_who_ask_while_redis_is_away_share_one_failure(away: AwayRedis) -> None:
    workers = LiveWorkersCache(away, cache_s=LONG_S)

    def fails(_: int) -> bool:
        with pytest.raises(RedisError, match="no answer"):
            workers.read()
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(fails, range(8)))
    assert away.tries == 1


def test_a_failure_is_forgotten_as_soon_as_a_list_would_be(away: AwayRedis) -> None:
    workers = LiveWorkersCache(away, cache_s=0)
    for _ in range(2):
        with pytest.raises(RedisError, match="no answer"):
            workers.read()
    assert away.tries == 2
    away.is_back = True
    assert workers.read() == []
