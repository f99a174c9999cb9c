"""The queues of steps, one for each ControlNet: `workers.transport.step_queue` with the claim of ADR 28."""

from collections import OrderedDict, defaultdict

from infra.bench.simulate.fleet.worker import Worker
from infra.bench.simulate.kernel import Event, Simulation


class QueuedStep:
    """One ControlNet of a step; ``done`` happens when its residuals are at the requester."""

    __slots__ = ("claimed_by", "controlnet", "done", "seconds")

    def __init__(self, controlnet: int, seconds: float) -> None:
        self.controlnet = controlnet
        self.seconds = seconds  # of computing
        self.claimed_by: Worker | None = None
        self.done = Event()


class StepQueues:
    """Steps that wait for a worker that holds their ControlNet, and idle workers that wait for steps."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._queued: defaultdict[int, OrderedDict[QueuedStep, None]] = defaultdict(OrderedDict)
        self._idle: defaultdict[int, OrderedDict[Worker, None]] = defaultdict(OrderedDict)

    def send(self, step: QueuedStep) -> None:
        """Give a step to the worker that has been idle for longest, or let it wait."""
        worker = next((one for one in self._idle[step.controlnet] if one.is_idle), None)
        if worker is None:
            self._queued[step.controlnet][step] = None
        else:
            step.claimed_by = worker
            worker.wake(self._simulation, step)

    def claim_own(self, step: QueuedStep, worker: Worker) -> bool:
        """The requester claims what nobody has claimed; returns whether it has."""
        if step.claimed_by is not None:
            return False
        del self._queued[step.controlnet][step]
        step.claimed_by = worker
        return True

    def take(self, worker: Worker) -> QueuedStep | None:
        """Claim the oldest step of a ControlNet that the worker may serve; each comes first in turn."""
        controlnets = worker.steps_of or worker.controlnets
        worker.turn += 1
        for i in range(len(controlnets)):
            queued = self._queued[controlnets[(worker.turn + i) % len(controlnets)]]
            if queued:
                step, _ = queued.popitem(last=False)
                step.claimed_by = worker
                return step
        return None

    def join(self, worker: Worker) -> None:
        """An idle worker waits for steps of the ControlNets that it serves."""
        for controlnet in worker.steps_of or worker.controlnets:
            self._idle[controlnet][worker] = None

    def leave(self, worker: Worker) -> None:
        """It is idle no more; until then `Worker.is_idle` tells."""
        for idle in self._idle.values():
            idle.pop(worker, None)

    def has_idle(self, controlnet: int) -> bool:
        """Whether an idle worker holds a ControlNet."""
        return any(worker.is_idle for worker in self._idle[controlnet])

    def waiting(self) -> int:
        """How many ControlNets of steps nobody has claimed."""
        return sum(map(len, self._queued.values()))
