"""The fleet that people build today: Celery workers that run whole jobs with diffusers."""

from infra.bench.simulate.fleet.base import Fleet, JobQueues
from infra.bench.simulate.fleet.worker import Weights, Worker
from infra.bench.simulate.kernel import Event, Process
from infra.bench.simulate.traffic import SimulatedJob


class PlainFleet(Fleet):
    """One queue; a worker loads what a job needs into the same memory, and keeps it while it fits."""

    def start(self) -> None:
        """Begin to take jobs."""
        self._jobs = JobQueues(len(self.catalog[0]))
        self._idle: dict[Worker, None] = {}
        for worker in self.workers:
            self.simulation.start(self._run(worker))

    def submit(self, job: SimulatedJob) -> None:
        """A job arrives."""
        self._jobs.add(job)
        worker = next((worker for worker in self._idle if job.model in worker.serves), None)
        if worker is not None:
            del self._idle[worker]
            worker.wake(self.simulation)

    def waiting(self) -> int:
        """How many jobs no worker has taken."""
        return self._jobs.total()

    def _run(self, worker: Worker) -> Process:
        while True:
            while (job := self._jobs.take_oldest(worker)) is not None:
                yield from self._generate(worker, job)
            worker.begin("idle", self.simulation)
            worker.woken, worker.is_idle = Event(), True
            self._idle[worker] = None
            yield worker.woken

    def _generate(self, worker: Worker, job: SimulatedJob) -> Process:
        measured, simulation = self.measured, self.simulation
        job.started_s = simulation.now_s
        needed: list[Weights] = [("model", job.model)]
        needed += [("controlnet", controlnet) for controlnet in job.controlnets]
        for weights in needed:
            if weights in worker.memory:
                worker.memory.touch(weights)
            else:
                yield from self.load(worker, weights)
            worker.memory.pin(weights)
        worker.begin("wait", simulation)
        for lora in job.loras:
            if lora not in worker.host.disk:
                yield worker.host.fetch(lora, self.loras.size_bytes(lora))
        worker.begin("generate", simulation)
        yield measured.plain_job_s + measured.alone_s(job.steps, len(job.controlnets), len(job.loras))
        for weights in needed:
            worker.memory.unpin(weights)
        yield from self.end(job)  # it stores the image before it takes the next job
