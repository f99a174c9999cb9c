"""Two UNet workers in this process that run the branches of one job."""

import dataclasses
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from redis import Redis

from shared.jobs.receipt import Receipt
from shared.jobs.record import Job
from shared.jobs.spec import JobSpec
from shared.keys import LOCAL
from shared.registry.availability import Availability
from shared.registry.workers import Heartbeat, publish_heartbeat, remove_worker
from tests.left_threads import END_S
from tests.tiny_models import LAYOUTS
from tests.workers.conftest import load
from workers.families.base import BaseModel
from workers.runtime.activity.device_activity import DeviceActivity
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.unet.cfg_parallel.channel import BranchChannel, branch_channel
from workers.unet.cfg_parallel.follower import follow
from workers.unet.cfg_parallel.messages import FollowBranch
from workers.unet.cfg_parallel.timings import CFGTimings
from workers.unet.job import execute_job
from workers.unet.worker import UNetWorker

MakeWorker = Callable[..., UNetWorker]
MakePair = Callable[..., "Pair"]
#: No job goes on alone, or offers twice, because the machine was too busy for its follower.
LONG_WAITS = CFGTimings(first_wait_s=30.0, min_wait_s=30.0, offer_every_s=600.0)
#: Nobody renews the lease of an attempt that only a follower works for; a busy machine takes long.
LEASE_S = 600


@pytest.fixture(scope="module")
def second_models() -> ModelCache[BaseModel]:
    """A second device's own weights."""
    return ModelCache(load, DeviceMemory(1 << 40))


@pytest.fixture
def unet2_is_idle(control: Redis) -> Iterator[None]:
    with idle(control, "unet2@test"):
        yield


@contextmanager
def idle(control: Redis, *names: str) -> Iterator[None]:
    """Within the block the fleet sees idle UNet workers of these names."""
    availability, serves = Availability(control), ["emoji-sd", *LAYOUTS]
    for name in names:
        heartbeat = Heartbeat(
            name=name, kind="unet", host="test", pid=1, device="cpu", serves=serves,
            loaded=[], jobs=[], utilization=0.0, started_at=0.0, version="0",
        )  # fmt: skip
        publish_heartbeat(control, heartbeat, 3600)
        availability.register_free(name, serves, 3600)
    try:
        yield
    finally:
        for name in names:
            availability.register_busy(name, serves, 3600)
            remove_worker(control, name)


class Offer(NamedTuple):
    """An attempt that nobody runs, and that offers its unconditional branch."""

    job_id: str
    attempt: str
    message: FollowBranch
    channel: BranchChannel


class Pair:
    """Two UNet workers; the second takes whatever the first offers."""

    def __init__(
        self,
        make_worker: MakeWorker,
        second_models: ModelCache[BaseModel],
        timings: CFGTimings = LONG_WAITS,
        **changes: object,
    ) -> None:
        self.ended: list[str] = []
        self._followed: list[FollowBranch] = []
        self._threads: list[threading.Thread] = []
        worker = make_worker(**{"lease_s": LEASE_S, **changes})
        first = dataclasses.replace(worker, cfg_timings=timings)
        # A worker runs a model in one thread at a time: its tokenizers set padding before each call.
        assert second_models is not first.models, "two workers run one model"
        self.second = dataclasses.replace(
            first, models=second_models, activity=DeviceActivity(), followed_jobs={}
        )
        self.first = dataclasses.replace(first, send_follow=self._start_following)

    def run(self, wanted: JobSpec, replays: Receipt | None = None) -> Job:
        job_id, _ = self.first.jobs.create(wanted, replays=replays, tenant=LOCAL)
        execute_job(self.first, job_id, "unet1@test")
        self.join()
        return self.first.jobs.get(job_id)

    def claim(self, wanted: JobSpec) -> Offer:
        """Create a job and claim it for the first worker, which does not run it."""
        job_id, _ = self.first.jobs.create(wanted, tenant=LOCAL)
        attempt = self.first.jobs.claim(job_id, "unet1@test")
        assert attempt is not None
        maps = [controlnet.image for controlnet in wanted.controlnets]
        message = FollowBranch(
            job_id=job_id, attempt=attempt.token, ordinal=1, channel="0", control_maps=maps
        )
        return Offer(job_id, attempt.token, message, branch_channel(self.first, message))

    def offer(self, wanted: JobSpec) -> Offer:
        """The same, and the second worker follows it."""
        offer = self.claim(wanted)
        self.first.send_follow(offer.message, wanted.model, self.first.cfg_timings.offer_every_s)
        return offer

    def join(self) -> None:
        """Wait until the second worker follows no job any more."""
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        """Have the second worker leave, whatever it does; after a test that has failed it may do anything."""
        for message in self._followed:
            branch_channel(self.first, message).release()
        for thread in self._threads:
            thread.join(END_S)

    def pixels(self, job: Job) -> NDArray[np.int16]:
        assert job.status == "succeeded", job.error
        return np.asarray(Image.open(io.BytesIO(self.first.images.get(job.images[0].key))), dtype=np.int16)

    def _start_following(self, message: FollowBranch, model: str, expires_s: float) -> None:
        thread = threading.Thread(target=self._follow, args=[message], daemon=True)
        self._followed.append(message)
        self._threads.append(thread)
        thread.start()

    def _follow(self, message: FollowBranch) -> None:
        self.ended.append(follow(self.second, message, "unet2@test"))


@pytest.fixture
def make_pair(make_worker: MakeWorker) -> Iterator[MakePair]:
    """Builds a `Pair`; its follower leaves when the test ends."""
    with ExitStack() as stack:

        def make(second_models: ModelCache[BaseModel], *args: Any, **options: Any) -> Pair:
            pair = Pair(make_worker, second_models, *args, **options)
            stack.callback(pair.close)
            return pair

        yield make


@pytest.fixture
def pair(make_pair: MakePair, second_models: ModelCache[BaseModel], unet2_is_idle: None) -> Pair:
    return make_pair(second_models)
