"""A step of the denoising loop: encoder, ControlNets here or elsewhere, decoder."""

from collections.abc import Sequence

from infra.bench.simulate.fleet.base import Fleet
from infra.bench.simulate.fleet.step_queue import QueuedStep, StepQueues
from infra.bench.simulate.fleet.worker import Activity, Worker
from infra.bench.simulate.kernel import Event, Process, Simulation


class Steps:
    """Computes steps on workers of a fleet, and serves ControlNets for those of others."""

    def __init__(self, fleet: Fleet, queues: StepQueues) -> None:
        self._fleet, self._simulation, self._measured = fleet, fleet.simulation, fleet.measured
        self._queues = queues
        self._may_claim = fleet.config.policy == "elastic"

    def compute(
        self, worker: Worker, controlnets: Sequence[int], count: int, share: float, activity: Activity
    ) -> Process:
        """``count`` steps with the same ControlNets; ``share`` of both CFG branches is computed here."""
        measured, queues = self._measured, self._queues
        each_s = count * share * measured.controlnet_s
        parts = [QueuedStep(controlnet, each_s) for controlnet in controlnets]
        for part in parts:
            queues.send(part)
        yield count * share * measured.encoder_share * measured.unet_s
        own_s, others = 0.0, []
        for part in parts:
            if self._may_claim and worker.holds(part.controlnet) and queues.claim_own(part, worker):
                own_s += part.seconds
                self._fleet.computed["requester"] += count
                worker.memory.touch(("controlnet", part.controlnet))
            else:
                others.append(part)
        if own_s:
            yield own_s
        for part in others:
            if not part.done.is_set:
                worker.begin("wait", self._simulation)
                yield from self._await(worker, part)
                worker.begin(activity, self._simulation)
            self._fleet.computed["requester" if part.claimed_by is worker else "other"] += count
        decoder_s = share * (1 - measured.encoder_share) * measured.unet_s
        extra_s = measured.request_s if others else measured.claim_s if parts else 0.0
        yield count * (decoder_s + measured.step_s + extra_s)

    def serve(self, worker: Worker, part: QueuedStep) -> Process:
        """Compute a part that the worker has claimed, and send it."""
        if not worker.holds(part.controlnet):
            yield from self._fleet.load(worker, ("controlnet", part.controlnet))
        worker.memory.touch(("controlnet", part.controlnet))
        worker.begin("serve", self._simulation)
        yield part.seconds
        self._simulation.set(part.done, after_s=self._measured.residual_s)

    def _await(self, worker: Worker, part: QueuedStep) -> Process:
        """Wait for a part; load its ControlNet here if nobody claims it for as long as that takes."""
        if self._may_claim:
            worker.wanted.add(part.controlnet)
            load_s = self._measured.controlnet_bytes / self._measured.model_load_bytes_per_s
            yield _first(self._simulation, part.done, load_s)
            if self._queues.claim_own(part, worker):
                if not worker.holds(part.controlnet):
                    yield from self._fleet.load(worker, ("controlnet", part.controlnet))
                yield part.seconds
                return
        yield part.done


def _first(simulation: Simulation, event: Event, seconds: float) -> Event:
    """What happens when ``event`` does, or in ``seconds``."""
    first = Event()
    simulation.set(first, after_s=seconds)

    def pass_on() -> Process:
        yield event
        simulation.set(first)

    simulation.start(pass_on())
    return first
