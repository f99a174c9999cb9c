"""Which UNet worker gets a job: the free one that holds its LoRAs nearest, else whoever is free first."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from shared.jobs.spec import JobSpec
from shared.metrics import PLACED, PLACED_LORAS
from shared.registry.availability import Availability
from shared.registry.lora_inventory import LoraInventory, LoraTier, read_disk_caches, read_inventories
from shared.storage.loras import version_of

if TYPE_CHECKING:
    from redis import Redis

#: What it saves to find a LoRA there: S3, the parse, the patch.
WORTH: Mapping[LoraTier, int] = {"patched": 3, "memory": 2, "disk": 1, "none": 0}


def tier_of(lora: str, model: str, worker: LoraInventory, disk: AbstractSet[str]) -> LoraTier:
    """How near a worker has a LoRA; parsed and patched ones are those of a model."""
    if f"{model}@{lora}" in worker.patched:
        return "patched"
    if f"{model}@{lora}" in worker.memory:
        return "memory"
    return "disk" if lora in disk else "none"


def rank(
    model: str, loras: Sequence[str], free: Sequence[LoraInventory], disks: Mapping[str, AbstractSet[str]]
) -> list[LoraInventory]:
    """Free workers that serve ``model``, best first.

    One that has the model loaded comes before all others: loading takes longer than any LoRA. Then counts
    how near the job's LoRAs are; then, whose patched LoRAs nobody asked for are not lost for this job.
    """

    def merit(worker: LoraInventory) -> tuple[bool, int, int, str]:
        disk = disks.get(worker.host, set())
        near = sum(WORTH[tier_of(lora, model, worker, disk)] for lora in loras)
        wanted = {f"{model}@{lora}" for lora in loras}
        return model not in worker.loaded, -near, len(set(worker.patched) - wanted), worker.worker

    return sorted((worker for worker in free if model in worker.serves), key=merit)


class Placement:
    """Promises free workers to jobs. Only who is free is asked: no job ever waits for a better worker."""

    def __init__(self, redis: "Redis", bucket: str) -> None:
        self.availability = Availability(redis)
        self._redis = redis
        self._bucket = bucket

    def promise(self, spec: JobSpec) -> str | None:
        """The worker that shall draw this job; none if all are busy, or older jobs wait."""
        free = read_inventories(self._redis, self.availability.free_workers())
        if not free:
            PLACED.labels("queue").inc()
            return None
        loras = [version_of(self._bucket, ref.name, ref.etag) for ref in spec.loras]
        disks = read_disk_caches(self._redis, sorted({worker.host for worker in free}), loras)
        ranked = rank(spec.model, loras, free, disks)
        chosen = self.availability.reserve(spec.model, [worker.worker for worker in ranked])
        PLACED.labels("queue" if chosen is None else "worker").inc()
        for worker in ranked:
            if worker.worker == chosen:
                for lora in loras:
                    PLACED_LORAS.labels(tier_of(lora, spec.model, worker, disks[worker.host])).inc()
        return chosen
