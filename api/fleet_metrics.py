"""Metrics of the whole fleet, read from the control Redis when somebody asks for them."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shared import keys
from shared.catalog.entries import Catalog
from shared.metrics import (
    JOBS_RUNNING,
    JOBS_WAITING,
    TENANT_DEVICE_S,
    WEBHOOK_DISPATCHERS,
    WEBHOOK_EVENTS_WAITING,
    WORKER_BUSY_SHARE,
    WORKER_DEVICE_BYTES,
    WORKER_DEVICE_FREE_BYTES,
)
from shared.registry.workers import Heartbeat, live_workers
from shared.webhooks.dispatchers import read_dispatcher_state

if TYPE_CHECKING:
    from redis import Redis


class FleetNumbersCollector(Collector):
    """Collects jobs by model, what live workers say of their devices, and what tenants have used of them.

    Any API process answers the same, so these metrics have no label ``process``: none is counted twice.
    """

    def __init__(self, redis: "Redis", catalog: Catalog, tenant: str | None) -> None:
        """``tenant``: whose series of tenants is shown; ``None``: those of all."""
        self._redis = redis
        self._catalog = catalog
        self._tenant = tenant

    def collect(self) -> Iterable[Metric]:
        """Gauges of jobs and of workers, and a counter of tenants."""
        yield from self._jobs()
        yield from _workers(live_workers(self._redis))
        yield self._tenants()
        yield from self._webhooks()

    def _jobs(self) -> Iterable[Metric]:
        models = sorted({*map(str, self._redis.smembers(keys.MODELS)), *self._catalog.models})
        pipe = self._redis.pipeline(transaction=False)
        for status in ("queued", "running"):
            for model in models:
                pipe.zcard(keys.by_model(status, model))
        counts: list[int] = pipe.execute()
        waiting = _gauge(JOBS_WAITING, "Accepted jobs that no worker has taken", ["model"])
        running = _gauge(JOBS_RUNNING, "Jobs that a worker runs", ["model"])
        for model, queued, taken in zip(models, counts, counts[len(models) :], strict=False):
            if queued or taken or model in self._catalog.models:
                waiting.add_metric([model], queued)
                running.add_metric([model], taken)
        return waiting, running

    def _webhooks(self) -> Iterable[Metric]:
        state = read_dispatcher_state(self._redis)
        dispatchers = _gauge(WEBHOOK_DISPATCHERS, "Processes that send webhooks", [])
        dispatchers.add_metric([], state.dispatchers)
        waiting = _gauge(WEBHOOK_EVENTS_WAITING, "Events of jobs of which no delivery is made yet", [])
        waiting.add_metric([], state.events_waiting)
        return dispatchers, waiting

    def _tenants(self) -> Metric:
        used: dict[str, str] = self._redis.hgetall(keys.USAGE_SERIES)  # type: ignore[assignment]
        counter = CounterMetricFamily(
            TENANT_DEVICE_S,
            "Time that devices worked for a tenant's jobs: of those who used most, and _other for the rest",
            labels=["tenant"],
        )
        for tenant, milliseconds in sorted(used.items()):
            if self._tenant in (None, tenant):
                counter.add_metric([tenant], int(milliseconds) / 1000)
        return counter


def _workers(workers: Sequence[Heartbeat]) -> Iterable[Metric]:
    busy = _gauge(
        WORKER_BUSY_SHARE, "Share of the last minute in which a worker's device was busy", ["worker", "kind"]
    )
    free = _gauge(WORKER_DEVICE_FREE_BYTES, "Free memory of a worker's GPU, of all processes", ["worker"])
    total = _gauge(WORKER_DEVICE_BYTES, "Memory of a worker's GPU", ["worker"])
    for worker in workers:
        busy.add_metric([worker.name, worker.kind], worker.utilization)
        if worker.device_free_bytes is not None:
            free.add_metric([worker.name], worker.device_free_bytes)
        if worker.device_total_bytes is not None:
            total.add_metric([worker.name], worker.device_total_bytes)
    return busy, free, total


def _gauge(name: str, documentation: str, labels: Sequence[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, labels=labels)
