"""Checks after the last fault: jobs ended once, equal requests gave equal images, nothing is left over."""

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psutil  # type: ignore[import-untyped]
import requests

from infra.bench.harness.fleet import read_pixels
from infra.chaos.target import ANSWER_S, Target
from infra.chaos.traffic import Accepted
from shared import keys
from shared.jobs.record import ENDED
from workers.unet.maintenance.broker_cleanup import BINDING, EVENTS
from workers.unet.maintenance.unacked import UNACKED

#: Limits after the last fault: until every job has ended, and until all leftovers are removed.
ENDED_S, SWEPT_S = 300.0, 180.0
#: Limit for processes to end.
STOPPED_S = 10.0
POLL_S = 0.5


@dataclass
class Verdict:
    """Numbers of what was checked, and the violations."""

    statuses: Counter[str] = field(default_factory=Counter)
    images: int = 0
    groups: int = 0
    lost_with_append_only_file: int = 0
    violations: list[str] = field(default_factory=list)


def check(target: Target, accepted: Sequence[Accepted], excused: Collection[str]) -> Verdict:
    """Check every accepted job, then leftovers. ``excused`` jobs may be missing."""
    verdict = Verdict()
    if not _wait_until(target.is_healthy, ENDED_S):
        verdict.violations.append(f"the fleet is not healthy {ENDED_S:.0f} s after the last fault")
    jobs = _ended_jobs(target, accepted)
    pixels: dict[tuple[int, int], set[str]] = defaultdict(set)
    for one in accepted:
        job = jobs.get(one.job_id)
        for violation in check_job(one, job, _count_done_events(target, one.job_id), one.job_id in excused):
            verdict.violations.append(violation)
        if job is None:
            verdict.lost_with_append_only_file += one.job_id in excused
            continue
        verdict.statuses[job["status"]] += 1
        for n, image in enumerate(job["images"]):
            try:
                answer = requests.get(target.stack.api_url + image["url"], timeout=ANSWER_S)
                answer.raise_for_status()
            except requests.RequestException as error:
                verdict.violations.append(f"image {n} of job {one.job_id}: {error}")
                continue
            verdict.images += 1
            pixels[one.recipe, n].add(hashlib.sha256(read_pixels(answer.content).tobytes()).hexdigest())
    verdict.groups = len(pixels)
    verdict.violations += [
        f"recipe {recipe}, image {n}: {len(kinds)} different images"
        for (recipe, n), kinds in pixels.items()
        if len(kinds) > 1
    ]
    verdict.violations += _find_leftovers(target, [one.job_id for one in accepted], excused)
    return verdict


def check_job(one: Accepted, job: dict[str, Any] | None, done_events: int, is_excused: bool) -> Iterator[str]:
    """What is wrong with an accepted job at the end; ``job`` is None if it was not found."""
    if job is None:
        if not is_excused:
            yield f"job {one.job_id} was accepted and is missing"
        return
    if job["status"] not in ENDED:
        yield f"job {one.job_id} is still {job['status']}"
    elif job["status"] == "failed":
        yield f"job {one.job_id} failed: {job['error']}"
    elif job["status"] == "cancelled" and not one.is_cancelled:
        yield f"job {one.job_id} was cancelled although no client asked"
    if job["status"] in ENDED and done_events != 1 and not is_excused:
        yield f"job {one.job_id} has {done_events} done events"


def check_processes(home: str) -> list[str]:
    """Violations: processes of the stack in ``home`` that still run after it has stopped."""
    _wait_until(lambda: not _processes(home), STOPPED_S)
    return [f"process {pid} still runs: {command[:120]}" for pid, command in _processes(home)]


def _processes(home: str) -> list[tuple[int, str]]:
    """Pid and command of every process that runs for a stack in ``home``."""
    found = []
    for process in psutil.process_iter(["cmdline", "pid"]):
        with suppress(psutil.Error):
            command = " ".join(process.info["cmdline"] or [])
            if home in command or process.environ().get("SWIFT_HOME") == home:
                found.append((process.pid, command))
    return found


def _ended_jobs(target: Target, accepted: Sequence[Accepted]) -> dict[str, dict[str, Any] | None]:
    """Every job when all have ended, or after `ENDED_S`."""
    jobs: dict[str, dict[str, Any] | None] = {}
    deadline = time.monotonic() + ENDED_S
    for one in accepted:
        while True:
            job = read_job(target.stack.api_url, one.job_id)
            if job is None or job["status"] in ENDED or time.monotonic() > deadline:
                break
            time.sleep(POLL_S)
        jobs[one.job_id] = job
    return jobs


def read_job(api_url: str, job_id: str) -> dict[str, Any] | None:
    """A job as the API returns it; None if unknown. Without an answer, its status is ``unknown: ERROR``."""
    try:
        answer = requests.get(f"{api_url}/v1/jobs/{job_id}", timeout=ANSWER_S)
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        job: dict[str, Any] = answer.json()
    except requests.RequestException as error:
        return {"status": f"unknown: {type(error).__name__}", "error": None, "images": []}
    return job


def _count_done_events(target: Target, job_id: str) -> int:
    entries: Any = target.control.xrange(keys.events(job_id))
    return sum(fields["type"] == "done" for _, fields in entries)


def _find_leftovers(target: Target, job_ids: Sequence[str], excused: Collection[str]) -> list[str]:
    """What is no longer needed and was not removed."""
    left: dict[str, str] = {}

    def is_clean() -> bool:
        left.clear()
        left.update({name: what for name, find in LEFTOVERS.items() if (what := find(target))})
        return not left

    _wait_until(is_clean, SWEPT_S)
    unknown = set(_all_ids(target)) - set(job_ids) - set(excused)
    if unknown:
        left["jobs"] = f"{len(unknown)} that no client submitted: {sorted(unknown)[:3]}"
    return [f"left over: {name}: {what}" for name, what in left.items()]


def _all_ids(target: Target) -> list[str]:
    ids: Any = target.control.zrange(keys.JOBS, 0, -1)
    return [str(job_id) for job_id in ids]


def _leases(target: Target) -> str:
    return ", ".join(target.control.scan_iter(keys.lease("*")))


def _unsent(target: Target) -> str:
    unsent: Any = target.control.zrange(keys.UNSENT, 0, -1)
    return ", ".join(unsent)


def _messages(target: Target) -> str:
    """Waiting messages, and unacknowledged ones of dead workers."""
    redis = target.control
    queues = [key for key in redis.scan_iter("unet.*") if redis.type(key) == "list"]
    waiting = [f"{redis.llen(queue)} in {queue}" for queue in queues]
    count = redis.hlen(UNACKED)
    return ", ".join([*waiting, *([f"{count} unacked"] if count else [])])


def _bindings(target: Target) -> str:
    """Event bindings unknown to the sweep: known ones are removed an hour after their consumers."""
    members: Any = target.control.smembers(f"{BINDING}{EVENTS}")
    bound = {f"{EVENTS} {member}" for member in members}
    noted: Any = target.control.zrange(keys.BINDINGS_SEEN, 0, -1)
    left = bound - set(noted)
    return f"{len(left)} event bindings" if left else ""


def _orphaned_images(target: Target) -> str:
    """Image objects of lost attempts."""
    wanted: set[str] = set()
    for job_id in _all_ids(target):
        job = read_job(target.stack.api_url, job_id)
        wanted |= {job_id} if job is not None and job["images"] else set()
    pages = target.s3.get_paginator("list_objects_v2").paginate(Bucket=target.stack.env["SWIFT_IMAGE_BUCKET"])
    found = [item["Key"] for page in pages for item in page.get("Contents", [])]
    orphans = [
        key for key in found if key.startswith(keys.IMAGE_PREFIX) and not any(j in key for j in wanted)
    ]
    return f"{len(orphans)} image objects without a job: {orphans[:3]}" if orphans else ""


LEFTOVERS: dict[str, Callable[[Target], str]] = {
    "leases": _leases,
    "unsent jobs": _unsent,
    "messages": _messages,
    "bindings": _bindings,
    "images": _orphaned_images,
}


def _wait_until(is_true: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not is_true():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
