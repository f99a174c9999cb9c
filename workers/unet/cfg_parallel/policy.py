"""When a job is split over two UNet workers: latent parallelism as a policy."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from shared.jobs.spec import JobSpec
from shared.messaging.celery_app import unet_queue
from shared.registry.availability import Availability
from shared.registry.workers import live_workers
from workers.families.guidance import is_guided

if TYPE_CHECKING:
    from redis import Redis


def may_split(spec: JobSpec) -> bool:
    """Whether a job's guidance halves may run on two workers at all.

    Only a guided job has two halves, and an exact one is computed as diffusers does: in one batch.
    ControlNets that
    guess or whose rows depend on each other need the whole.
    """
    is_whole = spec.is_exact or spec.guess_mode or spec.mixes_rows
    return is_guided(spec.guidance_scale) and not is_whole and spec.latent_parallelism != "off"


def should_split(spec: JobSpec, *, waiting: int, others: int) -> bool:
    """Whether a second worker shall help right now.

    ``waiting`` jobs that one of the two could draw have no worker; ``others`` are idle UNet workers beside
    this one. While jobs wait, every worker draws one of its own: two halves of one job on two devices take
    no fewer device-seconds than the whole on one. A job that says ``on`` wants its latency all the same.
    """
    if not may_split(spec) or others == 0:
        return False
    return spec.latent_parallelism == "on" or waiting == 0


def waiting_jobs(redis: "Redis", models: Sequence[str]) -> int:
    """Jobs of ``models`` that no worker has taken yet."""
    return sum(int(redis.llen(unet_queue(model))) for model in models)


def idle_workers(redis: "Redis", model: str, name: str) -> int:
    """UNet workers for ``model`` that wait for work right now, beside the one called ``name``."""
    serving = {beat.name for beat in live_workers(redis) if beat.kind == "unet" and model in beat.serves}
    return len(serving & set(Availability(redis).free_workers()) - {name})
