"""Jobs whose worker was ended, and how soon the fleet noticed: measured from the jobs' events."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

from redis import Redis
from redis.exceptions import RedisError

from shared import keys

KILL, SIGTERM = "kill", "sigterm"
#: A job is queued again within this after the end of its worker, and after SIGTERM within a step more.
REQUEUED_WITHIN_S: Mapping[str, float] = {KILL: 5.0, SIGTERM: 2.0}
#: Times of events are compared with the clock of the program that injects faults.
CLOCK_S = 0.05


@dataclass(frozen=True)
class Interruption:
    """A worker was ended while it ran a job."""

    fault: str
    job_id: str
    at_s: float  # seconds since the epoch


class Event(NamedTuple):
    """An event of a job; ``status`` is empty for progress."""

    at_s: float
    status: str
    step: int


class Recovered(NamedTuple):
    """What became of an interrupted job, in seconds after its worker was ended."""

    fault: str
    job_id: str
    requeued_s: float
    claimed_s: float | None  # None: it was cancelled meanwhile
    overtaken: int  # other jobs that a worker began in between
    step_s: float  # duration of a step before that; 0 if unknown
    step: int  # how far it was


def running_jobs(control: "Redis", worker: str) -> list[str]:
    """Ids of the jobs that run on a worker, by its name in the stack."""
    try:
        ids: Any = control.zrange(keys.by_status("running"), 0, -1)
        holders = {job_id: control.hget(keys.job(job_id), "worker") for job_id in ids}
    except RedisError:
        return []
    return [job_id for job_id, holder in holders.items() if str(holder).startswith(f"{worker}@")]


def read_events(control: "Redis", job_id: str) -> list[Event]:
    """Status changes and progress of a job, oldest first."""
    entries: Any = control.xrange(keys.events(job_id))
    found = []
    for event_id, fields in entries:
        if fields["type"] in ("status", "progress"):
            data = json.loads(fields["data"])
            at_s = float(data.get("at", int(str(event_id).partition("-")[0]) / 1000))
            found.append(Event(at_s, data.get("status", ""), data.get("step", 0)))
    return found


def recovered(
    interruptions: Sequence[Interruption], events: Mapping[str, Sequence[Event]]
) -> list[Recovered]:
    """What became of the interrupted jobs that were queued again; others ended by themselves."""
    claims = sorted(
        (event.at_s, job_id)
        for job_id, of_job in events.items()
        for event in of_job
        if event.status == "running"
    )
    found = []
    for one in interruptions:
        of_job = events.get(one.job_id, [])
        later = [event for event in of_job if event.status and event.at_s > one.at_s - CLOCK_S]
        if not later or later[0].status != "queued":
            continue
        requeued_s = later[0].at_s
        claimed_s = later[1].at_s if len(later) > 1 and later[1].status == "running" else None
        until_s = requeued_s if claimed_s is None else claimed_s
        found.append(
            Recovered(
                one.fault,
                one.job_id,
                max(requeued_s - one.at_s, 0.0),
                None if claimed_s is None else max(claimed_s - one.at_s, 0.0),
                sum(requeued_s < at_s < until_s for at_s, job_id in claims if job_id != one.job_id),
                _step_s(of_job, one.at_s),
                max((event.step for event in of_job if event.at_s <= requeued_s), default=0),
            )
        )
    return found


def late(found: Sequence[Recovered]) -> Iterator[str]:
    """Which jobs were queued again too late."""
    usual_s = median([one.step_s for one in found if one.step_s] or [0.0])
    for one in found:
        at_most_s = REQUEUED_WITHIN_S[one.fault] + (one.step_s or usual_s if one.fault == SIGTERM else 0.0)
        if one.requeued_s > at_most_s:
            yield (
                f"job {one.job_id} was queued again {one.requeued_s:.1f} s after {one.fault} of its worker, "
                f"more than {at_most_s:.1f} s"
            )


def check_attempts(
    job_id: str,
    record: Mapping[str, int],
    receipt: Mapping[str, Any] | None,
    found: Sequence[Recovered],
) -> Iterator[str]:
    """What is wrong with the attempts of a job that only kills and SIGTERMs have hit; ``found``: it alone.

    ``record`` has its attempts, hand_overs and infrastructure_losses.
    """
    counted = record["attempts"] - record["hand_overs"] - record["infrastructure_losses"]
    kills = sum(one.fault == KILL for one in found)
    if counted > 1 + kills:
        yield f"job {job_id}: {counted} attempts count, after {kills} kills: {dict(record)}"
    first = min(found, key=lambda one: one.requeued_s, default=None)
    if receipt is None or first is None or len(found) != 1 or first.fault != SIGTERM or not first.step:
        return
    continued_at = receipt.get("continued_at", [])
    if max(continued_at, default=-1) < first.step:  # an earlier one was preempted
        yield f"job {job_id} was handed over after step {first.step}, and continued at {continued_at}"


def _step_s(events: Sequence[Event], until_s: float) -> float:
    """Duration of a step in the attempt that ended at ``until_s``; 0 if unknown."""
    steps = [event for event in events if not event.status and event.at_s <= until_s]
    claimed_s = max((e.at_s for e in events if e.status == "running" and e.at_s <= until_s), default=0.0)
    steps = [event for event in steps if event.at_s >= claimed_s]
    if len(steps) < 2:
        return 0.0
    return (steps[-1].at_s - steps[0].at_s) / (steps[-1].step - steps[0].step)
