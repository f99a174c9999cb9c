"""Which free worker gets a job: by the API's own `api.dispatch.rank_workers`."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import islice

from api.dispatch import rank_workers
from infra.bench.simulate.fleet.worker import Worker
from infra.bench.simulate.traffic import SimulatedJob
from shared.registry.lora_inventory import LoraInventory

#: The API ranks all free workers. Of more than so many, those are ranked that hold one of the job's LoRAs,
#: have loaded its model, or have been free for longest: the others would be ranked after them.
RANKED = 12


class Placement:
    """Ranks free workers for jobs. `changed` is called when a worker's models or LoRAs have changed."""

    def __init__(self) -> None:
        self._inventories: dict[str, LoraInventory] = {}
        self._holders: defaultdict[tuple[int, int], dict[Worker, None]] = defaultdict(
            dict
        )  # in a fixed order
        self._held: dict[str, frozenset[tuple[int, int]]] = {}

    def changed(self, worker: Worker) -> None:
        """Forget what is known of a worker's inventory."""
        self._inventories.pop(worker.name, None)
        held = frozenset(worker.loras) | worker.patched
        before = self._held.get(worker.name, frozenset())
        for key in before - held:
            self._holders[key].pop(worker, None)
        for key in held - before:
            self._holders[key][worker] = None
        self._held[worker.name] = held

    def choose(self, job: SimulatedJob, free: Mapping[Worker, None]) -> Worker | None:
        """The free worker that can start the job soonest."""
        candidates = self._candidates(job, free)
        loras = [str(lora) for lora in job.loras]
        hosts = {worker.host for worker in candidates.values()}
        disks = {host.name: {str(lora) for lora in job.loras if lora in host.disk} for host in hosts}
        inventories = [self._inventory(worker) for worker in candidates.values()]
        serving = {worker.name for worker in candidates.values() if not worker.is_idle}
        controlnets = [str(controlnet) for controlnet in job.controlnets]
        ranked = rank_workers(str(job.model), loras, inventories, disks, serving, controlnets)
        return candidates[ranked[0].worker] if ranked else None

    def _candidates(self, job: SimulatedJob, free: Mapping[Worker, None]) -> dict[str, Worker]:
        if len(free) <= RANKED:
            return {worker.name: worker for worker in free}
        holders: Iterable[Worker] = (
            worker for lora in job.loras for worker in self._holders[job.model, lora] if worker in free
        )
        found = {worker.name: worker for worker in islice(holders, RANKED)}
        loaded = (worker for worker in free if worker.has_loaded(job.model))
        found |= {worker.name: worker for worker in islice(loaded, RANKED)}
        return found | {worker.name: worker for worker in islice(free, RANKED // 4)}

    def _inventory(self, worker: Worker) -> LoraInventory:
        if worker.name not in self._inventories:
            self._inventories[worker.name] = LoraInventory.model_construct(
                worker=worker.name,
                host=worker.host.name,
                serves=[str(model) for model in worker.serves],
                loaded=[str(model) for model in worker.serves if worker.has_loaded(model)],
                patched=sorted(f"{model}@{lora}" for model, lora in worker.patched),
                memory=[f"{model}@{lora}" for model, lora in worker.loras],
                controlnets=[str(controlnet) for controlnet in worker.controlnets],
            )
        return self._inventories[worker.name]
