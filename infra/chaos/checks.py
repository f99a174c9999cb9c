"""Checks after the last fault: jobs ended once, equal requests gave equal images, nothing is left over."""

import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
import requests
from numpy.typing import NDArray

from infra.bench.harness.fleet import read_pixels
from infra.chaos.diffusers_images import generate_with_diffusers
from infra.chaos.interruptions import (
    Interruption,
    Recovered,
    check_attempts,
    late,
    read_events,
    recovered,
)
from infra.chaos.leftovers import POLL_S, find_leftovers, wait_until
from infra.chaos.recipes.modes import RECIPES
from infra.chaos.target import ANSWER_S, Target, read_job
from infra.chaos.tenants import check_isolation, check_receivers
from infra.chaos.traffic import Accepted
from infra.chaos.webhooks import DELIVERED_S, WebhookCounts, WebhookReceiver
from shared import keys
from shared.jobs.record import ENDED

#: Limit after the last fault until every job has ended.
ENDED_S = 300.0
#: A job that is excused, and missing.
LOST = "lost with the end of the append-only file"
#: Limit for processes to end.
STOPPED_S = 10.0
#: Pixels of an image, ``(h, w, 3)``, by recipe and place.
Images = dict[tuple[int, int], list[NDArray[np.int16]]]


@dataclass
class Verdict:
    """Numbers of what was checked, and the violations."""

    statuses: Counter[str] = field(default_factory=Counter)  # of jobs, or LOST
    images: int = 0
    groups: int = 0
    peer_groups: int = 0  # of these, compared with diffusers' images
    recovered: list[Recovered] = field(default_factory=list)
    continued: int = 0  # jobs that another attempt continued
    hand_overs: int = 0  # attempts that gave their job back: their worker was told to stop, or preempted
    webhooks: WebhookCounts = field(default_factory=lambda: WebhookCounts(0, 0, {}))
    kills: Counter[str] = field(default_factory=Counter)  # with SIGKILL, by the name of the process
    violations: list[str] = field(default_factory=list)


class Check:
    """Checks the accepted jobs of one run; ``excused`` ones may be missing."""

    def __init__(
        self, target: Target, accepted: Sequence[Accepted], excused: Collection[str], mode: str
    ) -> None:
        self._target, self._accepted, self._excused = target, accepted, excused
        self._mode, self._recipes = mode, RECIPES[mode]
        self._jobs: dict[str, dict[str, Any] | None] = {}
        self.verdict = Verdict()

    def check_jobs(self) -> None:
        """Wait until every job has ended, then check ends and images."""
        verdict = self.verdict
        if not wait_until(self._target.is_healthy, ENDED_S):
            verdict.violations.append(f"the fleet is not healthy {ENDED_S:.0f} s after the last fault")
        self._jobs = _ended_jobs(self._target, self._accepted)
        images: Images = defaultdict(list)
        for one in self._accepted:
            job, is_excused = self._jobs[one.job_id], one.job_id in self._excused
            done = _count_done_events(self._target, one.job_id)
            verdict.violations += check_job(one, job, done, is_excused)
            if job is None:
                verdict.statuses[LOST] += is_excused
                continue
            verdict.statuses[job["status"]] += 1
            verdict.continued += bool((job.get("receipt") or {}).get("continued_at"))
            self._read_images(one, job, images)
        verdict.images, verdict.groups = sum(map(len, images.values())), len(images)
        self._compare(images)

    def check_interruptions(self, interruptions: Sequence[Interruption], *, is_accountable: bool) -> None:
        """How soon jobs were queued again; where ``is_accountable`` also each job's attempts."""
        control, verdict = self._target.control, self.verdict
        events = {one.job_id: read_events(control, one.job_id) for one in self._accepted}
        verdict.recovered = found = recovered(interruptions, events)
        verdict.violations += late(found) if is_accountable else ()
        names = ("attempts", "hand_overs", "infrastructure_losses")
        for job_id, job in self._jobs.items():
            values: Any = control.hmget(keys.job(job_id), names)
            record = {name: int(value or 0) for name, value in zip(names, values, strict=True)}
            verdict.hand_overs += record["hand_overs"]
            if not is_accountable:
                continue
            of_job = [one for one in found if one.job_id == job_id]
            verdict.violations += check_attempts(job_id, record, (job or {}).get("receipt"), of_job)

    def check_webhooks(self, receiver: WebhookReceiver) -> None:
        """Whether every end of a job was told by a webhook that was taken, in all repeats with one id."""
        ended = {job_id: job["status"] for job_id, job in self._jobs.items() if job is not None}
        self.verdict.violations += receiver.violations(ended)
        owners = {one.job_id: one.tenant for one in self._accepted}
        self.verdict.violations += check_receivers(receiver.tenants, owners)
        # One that was taken while its dispatcher was stopped is sent again, and until then left over.
        wait_until(lambda: not self._target.control.exists(keys.WEBHOOK_TENANTS), DELIVERED_S)
        self.verdict.webhooks = receiver.counts()

    def check_tenants(self) -> None:
        """Whether any tenant sees a job of another one."""
        self.verdict.violations += check_isolation(self._target, self._accepted)

    def check_leftovers(self) -> None:
        """What is left over of the jobs."""
        ids = [one.job_id for one in self._accepted]
        self.verdict.violations += find_leftovers(self._target, ids, self._excused)

    def _read_images(self, one: Accepted, job: Mapping[str, Any], images: Images) -> None:
        for n, image in enumerate(job["images"]):
            try:
                url, headers = self._target.stack.api_url + image["url"], self._target.headers(one.tenant)
                answer = requests.get(url, headers=headers, timeout=ANSWER_S)
                answer.raise_for_status()
            except requests.RequestException as error:
                self.verdict.violations.append(f"image {n} of job {one.job_id}: {error}")
                continue
            images[one.recipe, n].append(read_pixels(answer.content).astype(np.int16))

    def _compare(self, images: Images) -> None:
        """Equal requests with each other, and with diffusers' images."""
        requests_of: dict[int, dict[str, Any]] = {}
        for one in self._accepted:
            job = self._jobs[one.job_id]
            if job is not None and job["images"] and self._recipes[one.recipe].peer_distance is not None:
                size = {side: job["images"][0][side] for side in ("width", "height")}
                requests_of.setdefault(one.recipe, {**job["request"], **size})
        folder = self._target.stack.home.parent / "diffusers"
        peers = generate_with_diffusers(self._mode, requests_of, folder)
        self.verdict.peer_groups = len(peers)
        for (place, n), found in sorted(images.items()):
            recipe = self._recipes[place]
            what = f"recipe {recipe.name}, image {n}"
            self.verdict.violations += compare(what, found, found[0], recipe.distance)
            if (place, n) in peers:
                peer = peers[place, n]
                self.verdict.violations += compare(f"{what}, diffusers", found, peer, recipe.peer_distance)


def compare(
    what: str,
    images: Sequence[NDArray[np.int16]],
    expected: NDArray[np.int16],
    distance: float | None,
) -> Iterator[str]:
    """A violation if an image is farther than ``distance``, of 255, from ``expected``; None: any may be."""
    distances = [float(np.abs(image - expected).max()) for image in images]
    wrong = [found for found in distances if distance is not None and found > distance]
    if wrong:
        yield f"{what}: {len(wrong)} of {len(images)} images differ, by up to {max(wrong):.0f} of 255"


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
    wait_until(lambda: not _processes(home), STOPPED_S)
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
            job = read_job(target.stack.api_url, one.job_id, target.headers(one.tenant))
            if job is None or job["status"] in ENDED or time.monotonic() > deadline:
                break
            time.sleep(POLL_S)
        jobs[one.job_id] = job
    return jobs


def _count_done_events(target: Target, job_id: str) -> int:
    entries: Any = target.control.xrange(keys.events(job_id))
    return sum(fields["type"] == "done" for _, fields in entries)
