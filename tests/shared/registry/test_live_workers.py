"""One reading of the heartbeats a second for everybody in a process who asks."""

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
    assert workers.read() is workers.read()
    assert workers.read() == [HEARTBEAT]


def test_an_old_reading_is_replaced(control: Redis) -> None:
    control.flushdb()
    workers = LiveWorkersCache(control, cache_s=0)
    assert workers.read() == []
    publish_heartbeat(control, HEARTBEAT, 60)
    assert workers.read() == [HEARTBEAT]
