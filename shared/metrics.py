"""What the fleet counts. Every process publishes its numbers; any API process shows them all."""

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from shared import keys

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

_STEP_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_JOB_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 600)

REQUESTS = Counter("swift_http_requests_total", "HTTP requests", ["method", "route", "status"])
REQUEST_S = Histogram("swift_http_request_seconds", "Time to answer", ["route"])
SUBMITTED = Counter("swift_jobs_submitted_total", "Jobs accepted", ["model"])
PLACED = Counter("swift_jobs_placed_total", "Accepted jobs: for a free worker, or into the queue", ["to"])
PLACED_LORAS = Counter(
    "swift_placed_loras_total", "LoRAs of jobs for a free worker, by how near it had them", ["tier"]
)
JOBS = Counter("swift_jobs_ended_total", "Attempts by how they ended", ["model", "status"])
JOB_S = Histogram("swift_job_seconds", "Time a worker held a job", ["model"], buckets=_JOB_S)
STEP_S = Histogram("swift_step_seconds", "Time of one step", ["model"], buckets=_STEP_S)
RESIDUAL_WAIT_S = Histogram(
    "swift_residual_wait_seconds", "Time a step waited for residuals", buckets=_STEP_S
)
CONTROLNET_FIRST_S = Histogram(
    "swift_controlnet_first_residual_seconds",
    "From attaching ControlNets to a job's first residual",
    buckets=_STEP_S,
)
CONTROLNET_STEPS = Counter(
    "swift_controlnet_steps_total", "Steps a ControlNet worker served", ["controlnet", "result"]
)
CONTROLNET_STEP_S = Histogram(
    "swift_controlnet_step_seconds", "Time of one ControlNet step", ["controlnet"], buckets=_STEP_S
)
CONTROLNET_BATCH = Histogram(
    "swift_controlnet_batch_jobs",
    "Jobs in one pass of a ControlNet",
    ["controlnet"],
    buckets=(1, 2, 4, 8, 16),
)
RESIDUAL_BYTES = Counter("swift_residual_bytes_total", "Residuals sent", ["controlnet"])
RESIDUALS = Counter("swift_residuals_total", "Residuals sent, by transport backend", ["backend"])
RESIDUALS_LOST = Counter("swift_residuals_lost_total", "Residuals announced and not found")
SHARED_MEMORY_FULL = Counter(
    "swift_shared_memory_full_total", "Residuals that went over Redis for want of shared memory"
)
HALVES = Counter(
    "swift_halves_total", "Unconditional halves of split steps by who computed them; lost assistants", ["by"]
)
LORA_LOOKUPS = Counter(
    "swift_lora_lookups_total",
    "LoRAs of jobs, by the nearest place that had them; a job's assistant looks for itself",
    ["tier", "role"],
)
LORA_PREFETCHES = Counter("swift_lora_prefetches_total", "LoRAs asked for ahead of their jobs", ["result"])
LORA_EVICTIONS = Counter("swift_lora_evictions_total", "LoRAs that gave way to others", ["tier"])
JOBS_UNSERVED = Gauge(
    "swift_jobs_unserved", "Jobs that wait for a model that no living worker serves", ["model"]
)
UNSERVED = Gauge("swift_unserved", "1: no living worker serves it", ["kind", "name"])
LOAD_FAILURES = Gauge("swift_load_failures", "Living workers that could not load it", ["kind", "name"])
LORA_CACHE_BYTES = Gauge("swift_lora_cache_bytes", "Bytes of LoRAs at hand: disk is the host's", ["tier"])
LORA_FETCHED_BYTES = Counter("swift_lora_fetched_bytes_total", "Bytes of LoRAs that came from S3")
LORA_FETCH_S = Histogram("swift_lora_fetch_seconds", "S3 to disk", buckets=_JOB_S)
LORA_PARSE_S = Histogram("swift_lora_parse_seconds", "Disk to memory", buckets=_STEP_S)
LORA_PATCH_S = Histogram("swift_lora_patch_seconds", "Loop blocked by patching", buckets=_STEP_S)
LORA_WAIT_S = Histogram("swift_lora_wait_seconds", "Loop blocked by a LoRA at its bound", buckets=_JOB_S)
LORA_LATE_STEPS = Histogram(
    "swift_lora_late_steps",
    "Steps of a job before the last of its LoRAs took effect",
    buckets=(0, 1, 2, 5, 10, 20),
)


def publish(redis: "Redis", process: str, ttl_s: float) -> None:
    """Store this process's numbers where any API process finds them, and drop names that have expired."""
    seconds, microseconds = redis.time()  # the server's clock: hosts' clocks differ
    now = seconds + microseconds / 1e6
    pipe = redis.pipeline()
    pipe.set(keys.worker_metrics(process), generate_latest(REGISTRY), px=int(ttl_s * 1000))
    pipe.zadd(keys.PUBLISHERS, {process: now + ttl_s})
    pipe.zremrangebyscore(keys.PUBLISHERS, "-inf", now)
    pipe.execute()


class FleetCollector(Collector):
    """The published numbers of all processes, with the label ``process``."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis

    def collect(self) -> Iterable[Metric]:
        """One family a metric, its samples from every process."""
        families: dict[str, Metric] = {}
        names = list(map(str, cast(list[str], self._redis.zrange(keys.PUBLISHERS, 0, -1))))
        texts: Any = self._redis.mget(map(keys.worker_metrics, names)) if names else []
        for name, text in zip(names, texts, strict=True):
            for family in _read(name, text or ""):  # nothing: it has just expired
                merged = families.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.samples:
                    merged.add_sample(sample.name, {**sample.labels, "process": name}, sample.value)
        return families.values()


def _read(process: str, text: str) -> list[Metric]:
    """The numbers of one process; none if they cannot be read, the others count all the same."""
    try:
        return list(text_string_to_metric_families(text))
    except (ValueError, LookupError) as error:
        log.warning("metrics of a process skipped", extra={"publisher": process, "error": str(error)})
        return []
