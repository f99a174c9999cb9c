"""What all simulated fleets have: workers on hosts, jobs that wait, weights in memory."""

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from infra.bench.simulate.config import FleetConfig
from infra.bench.simulate.fleet.hosts import Host
from infra.bench.simulate.fleet.links import SharedLink
from infra.bench.simulate.fleet.loras import LoraLoads
from infra.bench.simulate.fleet.worker import Weights, Worker
from infra.bench.simulate.kernel import Process, Simulation
from infra.bench.simulate.measurements import Measurements
from infra.bench.simulate.traffic import SimulatedJob
from workers.runtime.celery_worker.job_order import counted_wait_s

#: A device that computes ControlNets holds a base model and as many ControlNets as a job has at most.
MOST_CONTROLNETS = 3
#: Times are sums of floats.
MOMENT_S = 1e-6


class Fleet(ABC):
    """Takes jobs and generates their images."""

    def __init__(
        self,
        simulation: Simulation,
        measured: Measurements,
        config: FleetConfig,
        models: int,
        controlnets: int,
    ) -> None:
        """``models``, ``controlnets``: how many there are in the catalog."""
        self.simulation, self.measured, self.config = simulation, measured, config
        self.loras = LoraLoads(simulation, measured)
        self.finished: list[SimulatedJob] = []
        self.loads = 0  # of weights
        self.computed: Counter[Literal["requester", "other"]] = Counter()  # ControlNets of steps, by whom
        self.holders: Counter[Weights] = Counter()  # how many workers hold them
        self.catalog = (range(models), range(controlnets))
        self.hosts = self._hosts()
        self.workers = [self._worker(i) for i in range(config.devices)]
        for i, worker in enumerate(self.workers):
            self._fill(worker, i)

    @abstractmethod
    def submit(self, job: SimulatedJob) -> None:
        """A job arrives."""

    @abstractmethod
    def waiting(self) -> int:
        """How many jobs no worker has taken."""

    def size_bytes(self, weights: Weights) -> float:
        """Bytes of a base model or a ControlNet."""
        return self.measured.model_bytes if weights[0] == "model" else self.measured.controlnet_bytes

    @property
    def model_load_s(self) -> float:
        """Seconds that a base model takes to load."""
        return self.measured.model_bytes / self.measured.model_load_bytes_per_s

    def load(self, worker: Worker, weights: Weights) -> Process:
        """Load weights that are not in a worker's memory; its device does nothing else."""
        worker.begin("load", self.simulation)
        yield self.size_bytes(weights) / self.measured.model_load_bytes_per_s
        self.put(worker, weights)

    def put(self, worker: Worker, weights: Weights) -> None:
        """Weights are loaded: others are evicted for them."""
        evicted = worker.put(weights, self.size_bytes(weights))
        assert evicted is not None, "the configuration was checked"
        self.loads += 1
        self.holders[weights] += 1
        self.holders.subtract(evicted)

    def end(self, job: SimulatedJob) -> Process:
        """Store a job's image, beside the worker's next job."""
        yield self.measured.store_s
        job.ended_s = self.simulation.now_s
        self.finished.append(job)

    def check_memory(self, worker: Worker, controlnets: int = MOST_CONTROLNETS) -> None:
        """Raise `ValueError` if a worker's memory is too small for a job."""
        needed = self.measured.model_bytes + controlnets * self.measured.controlnet_bytes
        if worker.memory.capacity_bytes < needed:
            raise ValueError(
                f"{worker.memory.capacity_bytes / 1e9:.0f} GB of memory; a base model and {controlnets} "
                f"ControlNets take {needed / 1e9:.1f} GB"
            )

    def _hosts(self) -> Sequence[Host]:
        config, simulation = self.config, self.simulation
        count = -(-config.devices // config.devices_per_host)
        shared = SharedLink(simulation, config.s3_bytes_per_s)
        lines = [
            shared if config.is_s3_shared else SharedLink(simulation, config.s3_bytes_per_s)
            for _ in range(count)
        ]
        return [Host(f"h{i}", simulation, line, config.lora_cache_bytes) for i, line in enumerate(lines)]

    def _worker(self, i: int) -> Worker:
        config, models = self.config, self.catalog[0]
        count = min(config.models_per_worker or len(models), len(models))
        serves = [models[(i + j) % len(models)] for j in range(count)]
        host = self.hosts[i // config.devices_per_host]
        return Worker(f"w{i:04}", host, serves, config.memory_bytes, config.lora_memory_bytes)

    def _fill(self, worker: Worker, i: int) -> None:
        """What a worker has loaded when the traffic begins: every worker something else first."""
        self.check_memory(worker)
        controlnets = self.catalog[1]
        reserved_bytes = min(MOST_CONTROLNETS, len(controlnets)) * self.measured.controlnet_bytes
        for model in worker.serves:
            if worker.memory.has_room(self.measured.model_bytes + reserved_bytes):
                self.put(worker, ("model", model))
        self.fill_controlnets(worker, i)

    def fill_controlnets(self, worker: Worker, i: int) -> None:
        """Load as many ControlNets ahead as fit."""
        controlnets = self.catalog[1]
        for j in range(len(controlnets)):
            if worker.memory.has_room(self.measured.controlnet_bytes):
                self.put(worker, ("controlnet", controlnets[(i + j) % len(controlnets)]))


class JobQueues:
    """Jobs that no worker has taken, in a queue for each model, as Celery's on Redis."""

    def __init__(self, models: int) -> None:
        self._queues: list[deque[SimulatedJob]] = [deque() for _ in range(models)]

    def add(self, job: SimulatedJob) -> None:
        """A job waits for a worker of its model."""
        self._queues[job.model].append(job)

    def take_loaded_first(
        self, worker: Worker, now_s: float, load_s: float, holders: Mapping[Weights, int]
    ) -> SimulatedJob | None:
        """By the order of a real worker's `job_order`; ``holders``: how many workers have loaded what."""

        def wait_s(model: int) -> float:
            waited_s = now_s - self._queues[model][0].at_s
            return waited_s if worker.has_loaded(model) else counted_wait_s(waited_s, load_s)

        waits = {model: wait_s(model) for model in worker.serves if self._queues[model]}
        taken = [model for model, wait in waits.items() if wait >= -MOMENT_S or not holders["model", model]]
        return self._queues[max(taken, key=lambda model: waits[model])].popleft() if taken else None

    def take_in_turn(self, worker: Worker) -> SimulatedJob | None:
        """The oldest job of one of the worker's models; each comes first in turn, as kombu has it."""
        count = len(worker.serves)
        for i in range(count):
            place = (worker.turn + i) % count
            queue = self._queues[worker.serves[place]]
            if queue:
                worker.turn = place + 1
                return queue.popleft()
        return None

    def take_oldest(self, worker: Worker) -> SimulatedJob | None:
        """The oldest job of the worker's models: one queue for all of them."""
        queues = [queue for model in worker.serves if (queue := self._queues[model])]
        return min(queues, key=lambda queue: queue[0].at_s).popleft() if queues else None

    def count(self, models: Iterable[int]) -> int:
        """How many jobs of these models wait."""
        return sum(len(self._queues[model]) for model in models)

    def total(self) -> int:
        """How many jobs wait."""
        return sum(map(len, self._queues))
