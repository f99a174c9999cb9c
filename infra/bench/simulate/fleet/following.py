"""CFG branches on two workers: who is offered a job's second branch, and when it leaves again."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from infra.bench.simulate.fleet.base import Fleet
from infra.bench.simulate.fleet.worker import Worker
from infra.bench.simulate.kernel import Event, Process
from infra.bench.simulate.traffic import SimulatedJob
from shared.jobs.options import LoraLoading
from shared.jobs.spec import JobSpec
from workers.unet.cfg_parallel.policy import should_split
from workers.unet.cfg_parallel.timings import CFGTimings

#: The policy reads of a job only that its branches may be split while that costs no other job anything.
SPEC = JobSpec(
    prompt="any",
    model="any",
    width=None,
    height=None,
    num_inference_steps=50,
    guidance_scale=7.5,
    scheduler="ddim",
    seed=0,
    num_images=1,
    controlnets=[],
    loras=[],
    lora_loading=LoraLoading(),
    latent_parallelism="auto",
)
OFFER_EVERY_S = CFGTimings().offer_every_s


class Following:
    """A job whose second branch another worker may compute."""

    __slots__ = ("follower", "is_ready", "job", "leader", "next_offer_s", "released")

    def __init__(self, leader: Worker, job: SimulatedJob) -> None:
        self.leader, self.job = leader, job
        self.next_offer_s = 0.0
        self._forget()

    def _forget(self) -> None:
        self.follower: Worker | None = None
        self.is_ready = False
        self.released = Event()


class Availability(NamedTuple):
    """What the policy asks about the fleet."""

    idle: Callable[[int], Iterable[Worker]]  # workers without work that have loaded a model
    waiting: Callable[[Iterable[int]], int]  # jobs of these models that nobody has taken


class Followers:
    """Finds followers for jobs, and releases them."""

    def __init__(self, fleet: Fleet, availability: Availability) -> None:
        self._fleet, self._simulation, self._measured = fleet, fleet.simulation, fleet.measured
        self._availability = availability
        self._is_on = fleet.config.split

    def offer(self, following: Following) -> None:
        """Ask an idle worker to follow, if nobody does and the policy says so."""
        now_s = self._simulation.now_s
        if not self._is_on or following.follower is not None or now_s < following.next_offer_s:
            return
        following.next_offer_s = now_s + OFFER_EVERY_S
        model = following.job.model
        follower = next(iter(self._availability.idle(model)), None)
        idle = 0 if follower is None else 1
        if follower is not None and should_split(
            SPEC, waiting=self._availability.waiting([model]), idle=idle
        ):
            following.follower, following.is_ready, following.released = follower, False, Event()
            follower.wake(self._simulation, following)

    def ready(self, following: Following) -> Worker | None:
        """The follower, if it computes the next step; it is released if a job waits for it."""
        follower = following.follower
        if follower is None or not following.is_ready:
            return None
        if self.is_needed(follower):
            self.release(following)
            return None
        return follower

    def release(self, following: Following) -> None:
        """The follower may go."""
        if following.follower is not None:
            self._simulation.set(following.released)
            following.follower, following.is_ready = None, False

    def follow(self, worker: Worker, following: Following) -> Process:
        """What a follower does: prepare as its leader did, and compute branches until it is released."""
        job, released = following.job, following.released
        worker.begin("follow", self._simulation)
        loads = [self._fleet.loras.load(worker, job.model, lora, lambda worker: None) for lora in job.loras]
        worker.memory.pin(("model", job.model))
        yield self._measured.text_s
        for load in loads:
            if not (released.is_set or self.is_needed(worker)):
                yield load
        new = frozenset((job.model, lora) for lora in job.loras)
        if not (released.is_set or self.is_needed(worker)):
            yield len(new - worker.patched) * self._measured.lora_patch_s
            worker.patched = new
        if self.is_needed(worker) and not released.is_set:
            following.follower = None
        elif not released.is_set:
            following.is_ready = True
            yield released
        worker.memory.unpin(("model", job.model))

    def is_needed(self, worker: Worker) -> bool:
        """Whether a job waits that the worker could run."""
        return worker.reserved is not None or not should_split(
            SPEC, waiting=self._availability.waiting(worker.serves), idle=1
        )
