"""Two UNet workers that share the branches of a transformer's job."""

import dataclasses
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from redis import Redis

from shared.registry.availability import Availability
from shared.registry.workers import Heartbeat, publish_heartbeat, remove_worker
from tests.workers.families.transformer.world import TransformerWorld
from workers.runtime.activity.device_activity import DeviceActivity
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.unet.cfg_parallel.follower import follow
from workers.unet.cfg_parallel.messages import FollowBranch
from workers.unet.cfg_parallel.timings import CFGTimings
from workers.unet.worker import UNetWorker

#: No job goes on alone because the machine is busy.
WAITS = CFGTimings(first_wait_s=60.0, min_wait_s=60.0, offer_every_s=600.0)
NAME = "unet2@test"


class Leading(NamedTuple):
    """The worker that runs jobs, and how the other one has ended: once for each job that it followed."""

    worker: UNetWorker
    ended: "queue.Queue[str]"


@contextmanager
def two_workers(world: TransformerWorld, control: Redis, model: str) -> Iterator[Leading]:
    """Within the block a second worker, with weights of its own, follows what the first one offers."""
    heartbeat = Heartbeat(
        name=NAME, kind="unet", host="test", pid=1, device="cpu", serves=[model], loaded=[], jobs=[],
        utilization=0.0, started_at=0.0, version="0",
    )  # fmt: skip
    publish_heartbeat(control, heartbeat, 3600)
    Availability(control).register_free(NAME, [model], 3600)
    ended: queue.Queue[str] = queue.Queue()
    models = ModelCache(world.load, DeviceMemory(1 << 40))
    with models.use(model):  # before the first worker computes: loading changes torch's default type
        pass
    second = dataclasses.replace(
        world.worker, models=models, activity=DeviceActivity(), followed_jobs={}, cfg_timings=WAITS
    )
    threads: list[threading.Thread] = []

    def send_follow(message: FollowBranch, name: str, expires_s: float) -> None:
        threads.append(threading.Thread(target=lambda: ended.put(follow(second, message, NAME))))
        threads[-1].start()

    try:
        yield Leading(dataclasses.replace(world.worker, send_follow=send_follow, cfg_timings=WAITS), ended)
    finally:
        for thread in threads:
            thread.join(60)
        Availability(control).register_busy(NAME, [model], 3600)
        remove_worker(control, NAME)
