"""Runs one soak in a process of its own: ``python -m infra.bench.parts.soak.run < ORDER``.

It answers with a `Soaked`.

Jobs with random LoRAs are drawn by several workers with one cache between them, while workers are killed
with SIGKILL and LoRAs are overwritten. Every picture is compared with all others of the same LoRAs.
"""

import hashlib
import random
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import FrameType

from infra.bench.harness.fleet import read_pixels
from infra.bench.parts.soak.host import CacheWatch, Crew, running_servers
from infra.bench.parts.soak.loras import Shelf
from infra.bench.parts.soak.messages import DONE, PREFETCH, QUEUE, STOP, SURVIVOR, Order, Report, Soaked
from shared.errors import LoraGone
from shared.jobs.options import LoraLoading
from shared.jobs.record import Job
from shared.jobs.spec import JobSpec
from shared.jobs.store import JobStore
from shared.redis_clients import control_redis
from shared.settings import Settings, read_settings
from shared.storage.object_store import Bucket
from workers.lora.cache.cache import CACHE_FOLDER
from workers.lora.cache.directory import CacheDirectory

PROMPT, SEED, STEPS, LATE_STEPS = "a penguin on a teal background", 7, 4, 2
#: Of the jobs: without a LoRA, with two, in mode exact, told of in advance.
PLAIN, TWO, EXACT, FORETOLD = 0.08, 0.3, 0.4, 0.3
#: A worker that has begun to fetch is killed then, not at just any moment.
ARRIVAL_S = 1.0
SILENCE_S = 120.0
#: Workers that have been told to stop end at once.
STOP_S = 5.0


@dataclass
class Soak:
    """The state of a run."""

    order: Order
    jobs: JobStore
    images: Bucket
    shelf: Shelf
    crew: Crew
    folder: CacheDirectory
    watch: CacheWatch
    chance: random.Random
    told: Soaked = field(default_factory=Soaked)
    in_flight: dict[str, JobSpec] = field(default_factory=dict)
    pictures: dict[tuple[tuple[str, int], ...], str] = field(default_factory=dict)

    def run(self) -> None:
        """Keep the workers fed until all jobs have ended."""
        submitted = ended = 0
        heard_at = time.monotonic()
        while ended < self.order.jobs:
            while submitted < self.order.jobs and len(self.in_flight) < 2 * self.order.workers:
                self._submit()
                submitted += 1
            report = self._hear(1)
            if report is None:
                self._recover()
                if time.monotonic() - heard_at > SILENCE_S:
                    self.told.faults.append(
                        f"{SILENCE_S:.0f} s without a word; {len(self.in_flight)} jobs open"
                    )
                    return
                continue
            heard_at = time.monotonic()
            if self._look_at(report):
                ended += 1
                if ended < self.order.jobs:
                    self._disturb(ended)
        self._stop()

    def _submit(self) -> None:
        kind = self.chance.random()
        count = 0 if kind < PLAIN else 2 if kind < PLAIN + TWO else 1
        refs = {ref.name: ref for ref in (self.shelf.choose(self.chance) for _ in range(count))}
        is_exact = self.chance.random() < EXACT
        loading = LoraLoading(mode="exact") if is_exact else LoraLoading(max_async_steps=LATE_STEPS)
        spec = JobSpec(
            model="emoji-sd",
            prompt=PROMPT,
            negative_prompt="",
            width=64,
            height=64,
            num_inference_steps=STEPS,
            guidance_scale=1.0,
            scheduler="ddim",
            seed=SEED,
            num_images=1,
            controlnets=[],
            loras=list(refs.values()),
            lora_loading=loading,
            latent_parallelism="off",
        )
        job_id, _ = self.jobs.create(spec)
        self.jobs.sent(job_id)
        self.in_flight[job_id] = spec
        for ref in refs.values():
            if self.chance.random() < FORETOLD:
                self.jobs.redis.rpush(PREFETCH, ref.model_dump_json())
        self.jobs.redis.rpush(QUEUE, job_id)

    def _hear(self, timeout_s: int) -> Report | None:
        taken: list[str] | None = self.jobs.redis.blpop([DONE], timeout=timeout_s)  # type: ignore[assignment]
        return Report.model_validate_json(taken[1]) if taken else None

    def _recover(self) -> None:
        """What a killed worker held goes to another, as recovery does in the fleet."""
        for job_id in self.jobs.orphans():
            self.jobs.redis.rpush(QUEUE, job_id)
        lost = [job_id for job_id in self.in_flight if self.jobs.get(job_id).status == "queued"]
        if lost and not self.jobs.redis.llen(QUEUE):  # taken off the list, and killed before it was claimed
            self.jobs.redis.rpush(QUEUE, *lost)
        for name in self.crew.dead():
            self.told.faults.append(f"worker {name} ended by itself")
            self.crew.kill(name)

    def _look_at(self, report: Report) -> bool:
        """Hold a report and its job against what should be; returns whether the job has ended now."""
        self._note(report)
        if report.job_id not in self.in_flight:
            return False  # drawn twice: the second attempt is nobody's
        job = self.jobs.get(report.job_id)
        if job.status == "queued":
            self.jobs.redis.rpush(QUEUE, job.id)
        if job.status in ("queued", "running"):
            return False
        spec = self.in_flight.pop(job.id)
        self.told.repeated += job.attempts - 1
        code = job.error.code if job.error else job.status
        self.told.ended[code] += 1
        if job.status == "succeeded":
            self._compare(job)
        elif code != LoraGone.code or all(map(self.shelf.is_current, spec.loras)):
            self.told.faults.append(f"job {job.id}: {job.error}")
        return True

    def _note(self, report: Report) -> None:
        self.told.cache_bytes.append(self.folder.used_bytes())
        self.told.rss_mb.append(report.rss_mb)
        self.told.worker.append(report.worker)
        self.told.memory_most_bytes = max(self.told.memory_most_bytes, report.memory_tier_bytes)
        if report.weights_equal is not None:
            self.told.weights_compared += 1
            self.told.weights_changed += not report.weights_equal

    def _compare(self, job: Job) -> None:
        """The right bytes of every LoRA, and the same picture as every other job with these LoRAs."""
        assert job.receipt is not None
        loras = job.receipt.loras
        etags = [ref.etag for ref in job.receipt.spec.loras]
        self.told.stale += sum(
            lora.sha256 != self.shelf.sha256[etag] for lora, etag in zip(loras, etags, strict=True)
        )
        self.told.late_steps.append(max((lora.step for lora in loras), default=0))
        for span in job.timeline:
            words = span.name.split(" from ")
            if words[0].startswith("lora ") and len(words) == 2:
                self.told.tiers[words[1]] += 1
        key = tuple((lora.sha256, lora.step) for lora in loras)
        pixels = hashlib.sha256(read_pixels(self.images.get(job.images[0].key)).tobytes()).hexdigest()
        if key in self.pictures:
            self.told.alike += pixels == self.pictures[key]
            self.told.unlike += pixels != self.pictures[key]
        self.pictures[key] = pixels

    def _disturb(self, ended: int) -> None:
        if ended % 50 == 0:
            print(
                f"  {ended} of {self.order.jobs} jobs, {self.told.kills} kills", file=sys.stderr, flush=True
            )
        if ended % self.order.jobs_per_overwrite == 0:
            wanted = [int(ref.name.split("-")[1]) for spec in self.in_flight.values() for ref in spec.loras]
            self.shelf.put(self.chance.choice(wanted or list(self.shelf.now)))
            self.told.overwrites += 1
        if ended % self.order.jobs_per_kill == 0:
            self.told.kills += 1
            self.told.kills_while_fetching += self.watch.wait_for_arrival(ARRIVAL_S)
            self.crew.kill(f"victim{self.chance.randrange(1, self.order.workers)}")

    def _stop(self) -> None:
        for _ in range(self.order.workers):
            self.jobs.redis.rpush(QUEUE, STOP)
        stopped, began = 0, time.monotonic()
        while stopped < self.order.workers:
            report = self._hear(1)
            if report is None and time.monotonic() - began > SILENCE_S:
                self.told.faults.append(f"only {stopped} workers stopped")
                return
            if report is not None:
                self._note(report)
                stopped += report.job_id == STOP


def soak(order: Order, settings: Settings) -> Soaked:
    """Start everything, run, stop everything."""
    redis = control_redis(settings)
    folder = CacheDirectory(settings.home / CACHE_FOLDER, settings.lora_cache_bytes)
    with ExitStack() as stack:
        stack.enter_context(running_servers(settings, order.access_key, order.secret_key))
        shelf = Shelf(Bucket(settings, settings.lora_bucket), order.loras)
        for index in range(order.loras):
            shelf.put(index)
        names = [SURVIVOR, *(f"victim{i}" for i in range(1, order.workers))]
        crew = Crew(settings, names)
        stack.callback(crew.wait, STOP_S)
        watch = CacheWatch(folder)
        stack.callback(watch.close)
        images = Bucket(settings, settings.image_bucket)
        run = Soak(order, JobStore(redis, settings), images, shelf, crew, folder, watch, random.Random(SEED))
        run.run()
    told = run.told
    told.cache_capacity_bytes, told.loras_bytes = folder.capacity_bytes, shelf.total_bytes
    told.cache_most_bytes, told.cache_looks = watch.most_bytes, watch.looks
    return told


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _leave)  # so that workers and servers are stopped then, too
    print(soak(Order.model_validate_json(sys.stdin.read()), read_settings()).model_dump_json())
