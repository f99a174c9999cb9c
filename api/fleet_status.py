"""What the live workers serve, as the web sees it: for warnings, refusals, /readyz and metrics."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from shared.catalog.entries import Catalog
from shared.metrics import CATALOG_WITHOUT_WORKERS, JOBS_WITHOUT_WORKERS, LOAD_ERRORS
from shared.registry.workers import Heartbeat, WorkerKind, live_workers
from shared.scheduling.fair_queue import FairQueue

if TYPE_CHECKING:
    from redis import Redis


class WithoutWorkers(BaseModel):
    """Entries of the catalog for which no live worker takes work."""

    models: list[str] = Field([], description="their jobs stay queued")
    controlnets: list[str] = Field(
        [],
        description="no live worker may load them: their jobs fail, and are tried again by other workers",
    )


class FleetStatus:
    """What live workers serve, and what is wrong with them."""

    def __init__(self, workers: Iterable[Heartbeat]) -> None:
        self.workers = list(workers)

    def workers_for(self, kind: WorkerKind, name: str) -> list[str]:
        """Names of the workers that take work for a model or ControlNet right now."""
        return [worker.name for worker in self.workers if worker.takes_work_for(kind, name)]

    def without_workers(self, kind: WorkerKind, names: Iterable[str]) -> list[str]:
        """Those of ``names`` for which no worker takes work."""
        return [name for name in names if not self.workers_for(kind, name)]

    def load_error(self, kind: WorkerKind, name: str) -> str | None:
        """Why no worker can load it; ``None`` if one can, or has not tried, or none serves it."""
        errors = [worker.load_errors_of(kind).get(name) for worker in self._serving(kind, name)]
        return None if not errors or None in errors else errors[0]

    def count_load_errors(self, kind: WorkerKind, name: str) -> int:
        """How many workers could not load it."""
        return sum(name in worker.load_errors_of(kind) for worker in self._serving(kind, name))

    def worker_errors(self) -> dict[str, list[str]]:
        """By worker: why it takes no work, and what it could not load. Only workers with errors."""
        found = {
            worker.name: [
                *worker.unavailable_reasons,
                *worker.load_errors.values(),
                *worker.controlnet_load_errors.values(),
            ]
            for worker in self.workers
        }
        return {name: errors for name, errors in found.items() if errors}

    def compare(self, catalog: Catalog) -> WithoutWorkers:
        """What the catalog names and no worker takes work for."""
        return WithoutWorkers(
            models=self.without_workers("unet", catalog.models),
            controlnets=self.without_workers("controlnet", catalog.controlnets),
        )

    def _serving(self, kind: WorkerKind, name: str) -> list[Heartbeat]:
        return [worker for worker in self.workers if name in worker.served_of(kind)]


def update_metrics(redis: "Redis", queue: FairQueue, catalog: Catalog) -> None:
    """Set the metrics of catalog entries without workers; every API process reports the same numbers."""
    status, waiting = FleetStatus(live_workers(redis)), queue.count_waiting(list(catalog.models))
    for model in catalog.models:
        is_without = not status.workers_for("unet", model)
        JOBS_WITHOUT_WORKERS.labels(model).set(waiting[model] if is_without else 0)
        CATALOG_WITHOUT_WORKERS.labels("model", model).set(is_without)
        LOAD_ERRORS.labels("model", model).set(status.count_load_errors("unet", model))
    for controlnet in catalog.controlnets:
        is_without = not status.workers_for("controlnet", controlnet)
        CATALOG_WITHOUT_WORKERS.labels("controlnet", controlnet).set(is_without)
        LOAD_ERRORS.labels("controlnet", controlnet).set(status.count_load_errors("controlnet", controlnet))
