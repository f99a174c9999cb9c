"""Decides when a job's two CFG branches run on two UNet workers, and when a follower leaves again."""

import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from shared.jobs.spec import JobSpec
from shared.messaging.celery_app import unet_queue
from shared.registry.availability import Availability
from shared.registry.loaded_models import LoadedModels
from shared.registry.workers import read_heartbeats
from workers.families.base import BaseModel
from workers.runtime.celery_worker.job_order import is_left_to_others
from workers.unet.cfg_parallel.messages import FollowBranch
from workers.unet.mixed_rows import mixes_rows
from workers.unet.worker import UNetWorker

if TYPE_CHECKING:
    from redis import Redis


#: So many free workers are asked at most whether they serve a model, at any size of the fleet.
MOST_READ = 32


def may_split(spec: JobSpec, model: BaseModel) -> bool:
    """Whether a job's CFG branches may run on two workers at all.

    Only a guided job has two branches, and in guess mode ControlNets need both. Where diffusers computes them
    in two forwards, each is bit-equal alone. Where they are one batch, an exact job is not split, as it is
    computed as diffusers does; nor is one whose rows depend on each other, in the model or in a ControlNet.
    """
    is_one_batch = model.facts.guidance_batches == "one_batch"
    is_whole = spec.is_exact or mixes_rows(spec, model.facts)
    needs_whole_batch = spec.guess_mode or (is_one_batch and is_whole)
    return model.guidance(spec).is_guided and not needs_whole_batch and spec.latent_parallelism != "off"


def should_split(spec: JobSpec, *, waiting: int, idle: int) -> bool:
    """Whether a second worker shall help right now with a job that may be split.

    ``waiting`` jobs, which one of the two could run, have no worker; ``idle`` UNet workers could follow.
    While jobs wait, every worker runs one of its own: two branches of one job on two devices take no fewer
    device-seconds than the whole batch on one. A job that says ``on`` wants its latency all the same.
    """
    return idle > 0 and (spec.latent_parallelism == "on" or waiting == 0)


def waiting_jobs(redis: "Redis", models: Sequence[str]) -> int:
    """Jobs of ``models`` that no worker has taken yet."""
    return sum(int(redis.llen(unet_queue(model))) for model in models)


def idle_workers(redis: "Redis", model: str, others: Collection[str]) -> int:
    """UNet workers for ``model`` that wait for work right now and have none of the names ``others``.

    Of many free workers some are looked at, at random: every leader asks, again and again.
    """
    some = Availability(redis).some_free_workers(MOST_READ + len(others))
    free = read_heartbeats(redis, [name for name in some if name not in others])
    return sum(beat.kind == "unet" and model in beat.serves for beat in free)


class Preempted(Exception):
    """The worker stops following; the message is the reason."""


class Preemption:
    """Checks whether a follower has to leave, also in the middle of a step that waits for ControlNets."""

    def __init__(self, worker: UNetWorker, spec: JobSpec, message: FollowBranch, name: str) -> None:
        """``name``: of the follower."""
        self._worker, self._spec, self._message, self._name = worker, spec, message, name
        self._loaded_models = LoadedModels(worker.jobs.redis)
        self._checked_at = 0.0

    def check(self) -> None:
        """Check, at most every `CFGTimings.check_every_s`; raises `Preempted`."""
        if time.monotonic() - self._checked_at >= self._worker.cfg_timings.check_every_s:
            self.check_now()

    def check_now(self) -> None:
        """Raise `Preempted` if the attempt is over or a job waits that this worker would take now."""
        self._checked_at = time.monotonic()
        if self._worker.stopping.is_set():
            raise Preempted("this worker stops")
        jobs = self._worker.jobs
        if not jobs.is_held(self._message.job_id, self._message.attempt):
            raise Preempted("attempt over")
        if not should_split(self._spec, waiting=len(self._models_to_take()), idle=1):
            raise Preempted("another job waits")

    def _models_to_take(self) -> list[str]:
        """Models of waiting jobs, but for those whose jobs it leaves to other workers (ADR 30)."""
        models = self._worker.models
        loaded = set(models.names())
        queues = self._loaded_models.read_queues(self._name, self._worker.serves)
        return [
            model
            for model, queue in queues.items()
            if queue.waited_s is not None
            and (model in loaded or not is_left_to_others(queue, models.expected_load_s(model)))
        ]
