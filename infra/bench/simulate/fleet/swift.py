"""This project's fleet: jobs are dispatched to free workers, idle ones serve and follow."""

from collections import OrderedDict
from collections.abc import Generator, Iterator
from typing import Any

from infra.bench.simulate.fleet.base import Fleet, JobQueues
from infra.bench.simulate.fleet.following import Availability, Followers, Following
from infra.bench.simulate.fleet.generation import Generation
from infra.bench.simulate.fleet.placement import Placement
from infra.bench.simulate.fleet.step_queue import QueuedStep, StepQueues
from infra.bench.simulate.fleet.steps import Steps
from infra.bench.simulate.fleet.worker import Worker
from infra.bench.simulate.kernel import Event, Process
from infra.bench.simulate.traffic import SimulatedJob
from workers.runtime.celery_worker.job_order import LOADS


class SwiftFleet(Fleet):
    """UNet workers, and with policy `fixed` ControlNet workers."""

    @property
    def _is_elastic(self) -> bool:
        return self.config.policy == "elastic"

    def start(self, steps_at_a_time: int) -> None:
        """Begin to take jobs; ``steps_at_a_time`` are simulated as one."""
        self.queues = StepQueues(self.simulation)
        self._jobs = JobQueues(len(self.catalog[0]))
        self._placement = Placement()
        self._free: OrderedDict[Worker, None] = OrderedDict()  # without a job; the first has been for longest
        self._idle: OrderedDict[Worker, None] = OrderedDict()  # and without anything else to do
        self._steps = Steps(self, self.queues)
        self._followers = Followers(self, Availability(self._idle_for, self._jobs.count))
        changed = self._placement.changed
        self._generation = Generation(
            self, self._steps, self._followers, self._attach, changed, steps_at_a_time
        )
        for worker in self.workers:
            if worker.serves:
                self._free[worker] = None
            self.simulation.start(self._run(worker))

    def submit(self, job: SimulatedJob) -> None:
        """Dispatch a job as `api.dispatch` does: to the best free worker unless older jobs wait."""
        worker = None
        if self.config.placement and not self._jobs.count([job.model]):
            worker = self._placement.choose(job, self._free)
        if worker is not None and not self._is_left(worker, job.model):
            del self._free[worker]
            worker.reserved = job
            if worker.is_idle:
                worker.wake(self.simulation)
            return
        self._jobs.add(job)
        self._wake_one(job.model)
        if self.config.loaded_first:
            self.simulation.start(self._wake_later(job))

    def _is_left(self, worker: Worker, model: int) -> bool:
        """Whether it leaves a new job to the workers that have loaded its model."""
        is_elsewhere = self.holders["model", model] and not worker.has_loaded(model)
        return self.config.loaded_first and bool(is_elsewhere)

    def _wake_one(self, model: int) -> None:
        """Have an idle worker take a new job."""
        idle = (worker for worker in self._idle if worker.is_idle and model in worker.serves)
        if (first := next((one for one in idle if not self._is_left(one, model)), None)) is not None:
            first.wake(self.simulation)

    def _wake_later(self, job: SimulatedJob) -> Process:
        """Have an idle worker load the job's model, unless one that has loaded it has taken the job."""
        yield LOADS * self.model_load_s
        if job.started_s < 0:
            idle = (worker for worker in self._idle if worker.is_idle and job.model in worker.serves)
            if (first := next(idle, None)) is not None:
                first.wake(self.simulation)

    def waiting(self) -> int:
        """How many jobs no worker has taken."""
        return self._jobs.total() + sum(worker.reserved is not None for worker in self.workers)

    def _run(self, worker: Worker) -> Process:
        """The life of a worker: jobs come first, then following, then serving."""
        while True:
            if (job := self._next_job(worker)) is not None:
                yield from self._generation.run(worker, job)
                if worker.reserved is None:
                    self._free[worker] = None
            elif (part := self._next_part(worker)) is not None:
                yield from self._steps.serve(worker, part)
            else:
                reason = yield from self._wait(worker)
                if isinstance(reason, Following):
                    yield from self._followers.follow(worker, reason)
                    self._placement.changed(worker)
                elif isinstance(reason, QueuedStep):
                    yield from self._steps.serve(worker, reason)

    def _next_job(self, worker: Worker) -> SimulatedJob | None:
        job, worker.reserved = worker.reserved, None
        if job is None:
            job = self._take(worker)
            if job is not None:
                self._free.pop(worker, None)
        return job

    def _take(self, worker: Worker) -> SimulatedJob | None:
        if not self.config.loaded_first or len(worker.serves) < 2:
            return self._jobs.take_in_turn(worker)
        now_s, load_s = self.simulation.now_s, self.model_load_s
        return self._jobs.take_loaded_first(worker, now_s, load_s, self.holders)

    def _next_part(self, worker: Worker) -> QueuedStep | None:
        return self.queues.take(worker) if self._is_elastic or not worker.serves else None

    def _wait(self, worker: Worker) -> Generator[Event, Any, Any]:
        """Wait for something to do; returns it."""
        worker.begin("idle", self.simulation)
        worker.woken, worker.is_idle = Event(), True
        if worker.serves:
            self._idle[worker] = None
            for controlnet in sorted(worker.wanted):
                self._load_ahead(worker, controlnet)
            worker.wanted.clear()
        self.queues.join(worker)
        reason = yield worker.woken
        self.queues.leave(worker)
        self._idle.pop(worker, None)
        return reason

    def _idle_for(self, model: int) -> Iterator[Worker]:
        return (worker for worker in self._idle if worker.is_idle and worker.has_loaded(model))

    def _attach(self, worker: Worker, controlnet: int) -> Process:
        """Load a ControlNet that nobody holds; else ask one idle worker to hold it unless one does."""
        if not self._is_elastic:
            return
        if not self.holders["controlnet", controlnet]:
            yield from self.load(worker, ("controlnet", controlnet))
        elif not worker.holds(controlnet):
            worker.wanted.add(controlnet)
            if not self.queues.has_idle(controlnet):
                idle = next((one for one in self._idle if one.is_idle), None)
                if idle is not None:
                    self._load_ahead(idle, controlnet)

    def _load_ahead(self, worker: Worker, controlnet: int) -> None:
        """Load a ControlNet beside whatever the worker does, if it fits without an eviction."""
        size_bytes = self.measured.controlnet_bytes * (1 + len(worker.loading))
        if not self._is_elastic or controlnet in worker.loading or worker.holds(controlnet):
            return
        if worker.memory.has_room(size_bytes):
            worker.loading.add(controlnet)
            self.simulation.start(self._load_beside(worker, controlnet))

    def _load_beside(self, worker: Worker, controlnet: int) -> Process:
        yield self.measured.controlnet_bytes / self.measured.model_load_bytes_per_s
        worker.loading.discard(controlnet)
        if worker.memory.has_room(self.measured.controlnet_bytes) and not worker.holds(controlnet):
            self.put(worker, ("controlnet", controlnet))
            if worker.is_idle:
                worker.wake(self.simulation)  # steps of it may wait

    def _worker(self, i: int) -> Worker:
        worker = super()._worker(i)
        if i >= self.config.devices - self.config.controlnet_devices:
            worker.serves = ()
            worker.steps_of = self.catalog[1]  # what it has not loaded it loads at the first step
        return worker

    def fill_controlnets(self, worker: Worker, i: int) -> None:
        """UNet workers of policy `fixed` hold none."""
        if self._is_elastic or not worker.serves:
            super().fill_controlnets(worker, i)
