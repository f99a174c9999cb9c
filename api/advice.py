"""Advice to an operator: what is short of devices, and which devices were idle."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from pydantic import BaseModel, Field

from shared import keys
from shared.catalog.entries import Catalog
from shared.jobs.record import Job
from shared.jobs.store import JobStore
from shared.registry.workers import Heartbeat

#: A job that has waited for longer has waited for a device, not for its turn.
SHORT_WAIT_S = 10.0
#: Of so many of the oldest queued jobs it is read which model they wait for.
OLDEST = 50
#: Of a ControlNet whose steps are rarer than this in a minute nothing is said.
MIN_STEPS = 50
#: A ControlNet is short of devices if so large a share of its steps was left to the workers of the jobs.
REQUESTER_SHARE = 0.5
#: A device that was idle for such a share of the last minute could do something else.
IDLE_SHARE = 0.9
#: Its first minute says nothing of a worker.
YOUNG_S = 60.0


class Advice(BaseModel):
    """One thing that an operator may change, and the numbers that say so."""

    kind: Literal["model_short_of_devices", "controlnet_short_of_devices", "idle_device"]
    name: str = Field(description="the model, the ControlNet, or the worker")
    sentence: str = Field(description="the same in words")
    waiting: int | None = Field(
        None,
        description="jobs of the model (of the oldest ones), or steps of the ControlNet, that wait",
    )
    waited_s: float | None = Field(None, description="how long the oldest of these jobs has waited")
    requester_share: float | None = Field(
        None,
        description="share of the ControlNet's steps of the last minute that were computed by the worker "
        "whose job needed them, because no other was free",
    )
    idle_share: float | None = Field(
        None, description="share of the last minute in which the worker's device was idle"
    )


class Waiting(NamedTuple):
    """The jobs of one model that no worker has taken."""

    jobs: int
    waited_s: float  # the oldest


def read_waiting(jobs: JobStore) -> dict[str, Waiting]:
    """By model, the jobs that wait, among the `OLDEST` oldest."""
    ids = list(map(str, jobs.redis.zrange(keys.by_status("queued"), 0, OLDEST - 1)))
    if not ids:
        return {}
    found = [record for record in jobs.read(ids).values() if isinstance(record, Job)]
    now = jobs.now()
    counts = Counter(job.spec.model for job in found)
    oldest = {model: min(job.created_at for job in found if job.spec.model == model) for model in counts}
    return {model: Waiting(count, max(now - oldest[model], 0.0)) for model, count in counts.items()}


def advise(
    catalog: Catalog,
    workers: Sequence[Heartbeat],
    waiting: Mapping[str, Waiting],
    queued_steps: Mapping[str, int],
) -> list[Advice]:
    """What to change, most urgent first: models, ControlNets, idle devices."""
    models = list(_short_models(waiting))
    names = {advice.name for advice in models}
    # A worker for a model that is short of devices computes its ControlNets, too.
    others = [name for name, entry in catalog.controlnets.items() if not names.intersection(entry.models)]
    controlnets = list(_short_controlnets(others, workers, queued_steps))
    names |= {advice.name for advice in controlnets}
    return [*models, *controlnets, *_idle_devices(workers, names)]


def _short_models(waiting: Mapping[str, Waiting]) -> Iterator[Advice]:
    for model, (jobs, waited_s) in sorted(waiting.items(), key=lambda item: -item[1].waited_s):
        if waited_s > SHORT_WAIT_S:
            wait = f"{jobs} jobs wait, the oldest for {waited_s:.0f} s"
            yield Advice(
                kind="model_short_of_devices",
                name=model,
                sentence=f"model {model!r} is short of devices: {wait}",
                waiting=jobs,
                waited_s=round(waited_s, 1),
            )


def _short_controlnets(
    names: Iterable[str], workers: Iterable[Heartbeat], queued_steps: Mapping[str, int]
) -> Iterator[Advice]:
    counts: Counter[tuple[str, str]] = Counter()
    for worker in workers:
        for controlnet, results in worker.controlnet_steps.items():
            counts.update({(controlnet, result): count for result, count in results.items()})
    for controlnet in names:
        served, requester = counts[controlnet, "served"], counts[controlnet, "requester"]
        total = served + requester
        if total < MIN_STEPS or requester < REQUESTER_SHARE * total:
            continue
        share = requester / total
        yield Advice(
            kind="controlnet_short_of_devices",
            name=controlnet,
            sentence=f"ControlNet {controlnet!r} is short of devices: {share:.0%} of its steps of the last "
            "minute were computed by the workers whose jobs needed them, as no other was free",
            waiting=queued_steps.get(controlnet),
            requester_share=round(share, 4),
        )


def _idle_devices(workers: Iterable[Heartbeat], short: set[str]) -> Iterator[Advice]:
    for worker in workers:
        idle = worker.activity_shares.get("idle", 1.0 - worker.utilization)
        if idle < IDLE_SHARE or time.time() - worker.started_at < YOUNG_S:
            continue
        role = "UNet worker" if worker.kind == "unet" else "ControlNet worker"
        able = {*worker.served_of("unet"), *worker.served_of("controlnet")}
        others = ", ".join(map(repr, sorted(short - able)))
        then = (
            f"it could serve {others} instead"
            if others
            else "its device could take another role, or be spared"
        )
        yield Advice(
            kind="idle_device",
            name=worker.name,
            sentence=f"{role} {worker.name} was idle for {idle:.0%} of the last minute: {then}",
            idle_share=round(idle, 4),
        )
