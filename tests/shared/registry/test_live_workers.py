"""One reading of the heartbeats a second for everybody in a process who asks."""

import threading

from redis import Redis

from shared.registry.live_workers import LiveWorkersCache
from shared.registry.workers import Heartbeat, publish_heartbeat

HEARTBEAT = Heartbeat(
    name="unet1@a", kind="unet", host="a", pid=1, device="cpu", serves=["m"], loaded=[], jobs=[],
    utilization=0.0, started_at=1.0, version="0",
)  # fmt: skip
OTHER = HEARTBEAT.model_copy(update={"name": "unet2@a"})
LONG_S = 3600.0


def test_all_who_ask_within_a_second_share_one_reading(control: Redis) -> None:
    control.flushdb()
    publish_heartbeat(control, HEARTBEAT, 60)
    workers = LiveWorkersCache(control, cache_s=LONG_S)
    assert workers.read() == [HEARTBEAT]
    publish_heartbeat(control, OTHER, 60)
    # The very list, not one that was parsed again
    assert workers.read() is workers.read() is workers.latest()
    assert workers.read() == [HEARTBEAT]


def test_an_old_reading_is_replaced(control: Redis) -> None:
    control.flushdb()
    workers = LiveWorkersCache(control, cache_s=0)
    assert workers.read() == []
    publish_heartbeat(control, HEARTBEAT, 60)
    assert workers.read() == [HEARTBEAT]


def test_the_latest_reading_is_unknown_at_first_and_read_meanwhile(control: Redis) -> None:
    control.flushdb()
    publish_heartbeat(control, HEARTBEAT, 60)
    workers = LiveWorkersCache(control, cache_s=LONG_S)
    assert workers.latest() is None
    for thread in threading.enumerate():
        if thread.name == "live workers":
            thread.join()
    assert workers.latest() == [HEARTBEAT]


def test_the_latest_reading_does_not_wait_for_a_server_that_is_away() -> None:
    unreachable = Redis(port=1, socket_connect_timeout=1)
    workers = LiveWorkersCache(unreachable, cache_s=0)
    assert [workers.latest() for _ in range(3)] == [None, None, None]
