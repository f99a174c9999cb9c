"""The fleet's state as a tenant sees it: without the names of other tenants' jobs and LoRAs."""

import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from shared.jobs.store import JobStore
from shared.registry.lora_inventory import LoraInventory
from shared.registry.workers import Heartbeat
from shared.storage.loras import is_visible

#: A job in a sentence.
_JOB = re.compile(r"job ([0-9a-f]{16})\b")


def only_own_jobs(workers: Sequence[Heartbeat], jobs: JobStore, tenant: str) -> list[Heartbeat]:
    """The heartbeats with the tenant's own jobs alone."""
    named = {job_id for worker in workers for job_id in _jobs_of(worker)}
    return _only_jobs(workers, jobs.owned(sorted(named), tenant))


def without_jobs(workers: Iterable[Heartbeat]) -> list[Heartbeat]:
    """The heartbeats as those see them who need not say who they are."""
    return _only_jobs(workers, frozenset())


def _only_jobs(workers: Iterable[Heartbeat], own: AbstractSet[str]) -> list[Heartbeat]:
    return [
        worker.model_copy(
            update={
                "jobs": [job_id for job_id in worker.jobs if job_id in own],
                "attached_jobs": {
                    name: [job_id for job_id in attached if job_id in own]
                    for name, attached in worker.attached_jobs.items()
                },
                "unavailable_reasons": [
                    _JOB.sub(lambda found: found[0] if found[1] in own else "a job", reason)
                    for reason in worker.unavailable_reasons
                ],
            }
        )
        for worker in workers
    ]


def only_seen_loras(
    inventory: Iterable[LoraInventory], disk_cache: Mapping[str, Sequence[str]], bucket: str, tenant: str
) -> tuple[list[LoraInventory], dict[str, list[str]]]:
    """What workers, and the disks of hosts, hold of the public LoRAs and the tenant's own."""

    def seen(versions: Iterable[str]) -> list[str]:
        return [version for version in versions if is_visible(version, bucket, tenant)]

    shown = [
        worker.model_copy(update={"patched": seen(worker.patched), "memory": seen(worker.memory)})
        for worker in inventory
    ]
    return shown, {host: seen(versions) for host, versions in disk_cache.items()}


def _jobs_of(worker: Heartbeat) -> Iterable[str]:
    yield from worker.jobs
    for attached in worker.attached_jobs.values():
        yield from attached
    for reason in worker.unavailable_reasons:
        yield from _JOB.findall(reason)
