"""An idle worker that has text encoders, as the registry shows it."""

from collections.abc import Iterator

import pytest
from redis import Redis

from shared.registry.availability import Availability
from shared.registry.workers import Heartbeat, publish_heartbeat, remove_worker

HELPER = "unet2@test"


@pytest.fixture
def helper_is_idle(control: Redis) -> Iterator[None]:
    beat = Heartbeat(
        name=HELPER, kind="unet", host="test", pid=1, device="cpu", serves=["emoji-sd"],
        loaded=["emoji-sd"], jobs=[], utilization=0.0, started_at=0.0, version="0",
    )  # fmt: skip
    publish_heartbeat(control, beat, 3600)
    availability = Availability(control)
    assert availability.register_free(HELPER, beat.serves, 3600)
    yield
    availability.register_busy(HELPER, beat.serves, 3600)
    remove_worker(control, HELPER)
