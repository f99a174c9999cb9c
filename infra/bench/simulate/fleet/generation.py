"""A job on a UNet worker: weights, LoRAs, the denoising loop with or without a follower, VAE."""

from collections.abc import Callable
from functools import cache

from infra.bench.simulate.fleet.base import Fleet
from infra.bench.simulate.fleet.following import Followers, Following
from infra.bench.simulate.fleet.steps import Steps
from infra.bench.simulate.fleet.worker import Worker
from infra.bench.simulate.kernel import Event, Process
from infra.bench.simulate.traffic import SimulatedJob
from shared.jobs.options import LoraLoading
from shared.jobs.spec import LoraRef
from workers.lora.schedule import LoraSchedule


@cache
def deadline_step(steps: int) -> int:
    """The step before which a LoRA is patched at the latest, by the worker's own schedule."""
    ref = LoraRef(name="lora", etag="etag", size_bytes=1)
    return LoraSchedule(LoraLoading(), [ref], steps).deadline_step("lora")


class Generation:
    """Generates jobs on workers of a fleet."""

    def __init__(
        self,
        fleet: Fleet,
        steps: Steps,
        followers: Followers,
        attach: Callable[[Worker, int], Process],
        on_change: Callable[[Worker], None],
        steps_at_a_time: int,
    ) -> None:
        """``attach`` prepares for a ControlNet of a job; ``on_change``: a worker holds other LoRAs."""
        self._fleet, self._simulation, self._measured = fleet, fleet.simulation, fleet.measured
        self._steps, self._followers, self._attach = steps, followers, attach
        self._on_change = on_change
        self._steps_at_a_time = steps_at_a_time

    def run(self, worker: Worker, job: SimulatedJob) -> Process:
        """One job, until its image is being stored."""
        measured, simulation = self._measured, self._simulation
        job.started_s = simulation.now_s
        if worker.has_loaded(job.model):
            worker.memory.touch(("model", job.model))
        else:
            yield from self._fleet.load(worker, ("model", job.model))
            self._on_change(worker)
        worker.memory.pin(("model", job.model))
        worker.begin("generate", simulation)
        loads = {lora: self._fleet.loras.load(worker, job.model, lora, self._on_change) for lora in job.loras}
        for controlnet in job.controlnets:
            yield from self._attach(worker, controlnet)
        worker.begin("generate", simulation)
        yield measured.job_s + measured.text_s
        yield from self._restore(worker, job)
        following = Following(worker, job)
        yield from self._denoise(worker, job, loads, following)
        self._followers.release(following)
        yield measured.vae_s
        worker.memory.unpin(("model", job.model))
        simulation.start(self._fleet.end(job))

    def _denoise(
        self, worker: Worker, job: SimulatedJob, loads: dict[int, Event], following: Following
    ) -> Process:
        waiting = [lora for lora in job.loras if (job.model, lora) not in worker.patched]
        deadline, step = deadline_step(job.steps), 0
        while step < job.steps:
            due = [lora for lora in waiting if step >= deadline or loads[lora].is_set]
            if due:
                waiting = [lora for lora in waiting if lora not in due]
                self._fleet.loras.late_steps += [step] * len(due)
                yield from self._patch(worker, job, [loads[lora] for lora in due], due)
            count = min(self._steps_at_a_time, job.steps - step)
            if waiting:
                count = min(count, deadline - step)
            self._followers.offer(following)
            yield from self._predict(worker, job, count, following)
            step += count

    def _predict(self, worker: Worker, job: SimulatedJob, count: int, following: Following) -> Process:
        other = self._followers.ready(following)
        if other is None:
            yield from self._steps.compute(worker, job.controlnets, count, 1.0, "generate")
            return
        share, branch = self._measured.one_branch_share, Event()
        self._simulation.start(self._branch(other, job, count, share, branch))
        yield from self._steps.compute(worker, job.controlnets, count, share, "generate")
        if not branch.is_set:
            worker.begin("wait", self._simulation)
            yield branch
            worker.begin("generate", self._simulation)
        yield count * self._measured.follow_s

    def _branch(self, worker: Worker, job: SimulatedJob, count: int, share: float, done: Event) -> Process:
        yield from self._steps.compute(worker, job.controlnets, count, share, "follow")
        self._simulation.set(done)

    def _restore(self, worker: Worker, job: SimulatedJob) -> Process:
        """Take out what an earlier job has left and this one does not use."""
        kept = frozenset((job.model, lora) for lora in job.loras)
        if worker.patched - kept:
            yield self._measured.lora_restore_s
            worker.patched &= kept
            self._on_change(worker)

    def _patch(self, worker: Worker, job: SimulatedJob, loads: list[Event], due: list[int]) -> Process:
        for load in loads:
            if not load.is_set:
                worker.begin("wait", self._simulation)
                yield load
                worker.begin("generate", self._simulation)
        yield len(due) * self._measured.lora_patch_s
        worker.patched |= {(job.model, lora) for lora in due}
        self._on_change(worker)
