"""Prometheus metrics. Every process publishes its own to Redis; any API process exposes those of all."""

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

HTTP_REQUESTS = Counter("swift_http_requests_total", "HTTP requests", ["method", "route", "status"])
HTTP_REQUEST_S = Histogram("swift_http_request_duration_seconds", "Time to answer a request", ["route"])
AUTH_FAILURES = Counter(
    "swift_auth_failures_total",
    "Requests whose API key or session was refused, by the problem's code",
    ["code"],
)
JOBS_SUBMITTED = Counter("swift_jobs_submitted_total", "Jobs accepted", ["model"])
JOBS_DISPATCHED = Counter(
    "swift_jobs_dispatched_total", "Jobs by where they were sent: to a reserved worker or the queue", ["to"]
)
DISPATCHED_LORAS = Counter(
    "swift_dispatched_loras_total", "LoRAs of jobs sent to a reserved worker, by where it had them", ["tier"]
)
ETA_RATIO = Histogram(
    "swift_eta_ratio",
    "Time until a job was done by the time that was estimated when it was accepted, by whether it could "
    "begin at once (idle) or had to wait (queued)",
    ["kind"],
    buckets=(0.25, 0.5, 0.75, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5),
)
ATTEMPTS_ENDED = Counter("swift_attempts_ended_total", "Attempts, by how they ended", ["model", "status"])
ATTEMPT_S = Histogram(
    "swift_attempt_duration_seconds", "Time from claiming a job to the end", ["model"], buckets=_JOB_S
)
QUEUE_WAIT_S = Histogram(
    "swift_queue_wait_seconds",
    "Time a job waited for a worker: since it was accepted, or since its last attempt ended",
    ["model"],
    buckets=_JOB_S,
)
ACTIVITY_S = Counter(
    "swift_worker_activity_seconds_total",
    "Time of a worker's device by what it did: generate, follow, serve, idle",
    ["activity"],
)
STEP_S = Histogram("swift_step_duration_seconds", "Time of a denoising step", ["model"], buckets=_STEP_S)
RESIDUAL_WAIT_S = Histogram(
    "swift_residual_wait_seconds", "Time a step waited for residuals", buckets=_STEP_S
)
FIRST_RESIDUAL_S = Histogram(
    "swift_controlnet_first_residual_seconds",
    "Time from attaching ControlNets to a job's first residual",
    buckets=_STEP_S,
)
CONTROLNET_STEPS = Counter(
    "swift_controlnet_steps_total", "Steps of ControlNets, by what became of them", ["controlnet", "result"]
)
CONTROLNET_LOADS = Counter(
    "swift_controlnet_loads_total",
    "ControlNets that UNet workers began to load, by what for: a job that begins, idle, a step that waits",
    ["controlnet", "reason"],
)
CONTROLNET_STEP_S = Histogram(
    "swift_controlnet_step_duration_seconds", "Time of a ControlNet's step", ["controlnet"], buckets=_STEP_S
)
CONTROLNET_BATCH_JOBS = Histogram(
    "swift_controlnet_batch_jobs",
    "Jobs in a forward pass of a ControlNet",
    ["controlnet"],
    buckets=(1, 2, 4, 8, 16),
)
RESIDUAL_BYTES = Counter("swift_residual_bytes_total", "Bytes of residuals sent", ["controlnet"])
RESIDUALS = Counter("swift_residuals_total", "Residuals sent, by transport backend", ["backend"])
RESIDUALS_LOST = Counter("swift_residuals_lost_total", "Residuals that were announced and not found")
BACKEND_FULL = Counter(
    "swift_residual_backend_full_total",
    "Residuals that a transport backend had no space for: the next one carried them",
    ["backend"],
)
CFG_BRANCHES = Counter(
    "swift_cfg_branches_total", "Unconditional branches of split steps by the worker's role", ["role"]
)
CFG_FOLLOWERS_LOST = Counter(
    "swift_cfg_followers_lost_total", "Followers that failed, left or answered too late"
)
EMBEDDING_LOOKUPS = Counter(
    "swift_embedding_lookups_total",
    "Prompts, by where their embeddings were found: memory, shared, asked (another worker), or none",
    ["tier"],
)
CHECKPOINTS = Counter(
    "swift_checkpoints_total", "Checkpoints of running jobs, by what became of them", ["result"]
)
JOBS_CONTINUED = Counter(
    "swift_jobs_continued_total", "Attempts that went on from the checkpoint of another one", ["model"]
)
LORA_LOOKUPS = Counter(
    "swift_lora_lookups_total",
    "LoRAs of jobs, by the tier that had them; followers look up their own",
    ["tier", "role"],
)
LORA_EVICTIONS = Counter("swift_lora_evictions_total", "LoRAs evicted from a cache", ["tier"])
LORA_CACHE_BYTES = Gauge("swift_lora_cache_bytes", "Bytes in a cache; on disk: of the host", ["tier"])
LORA_FETCHED_BYTES = Counter("swift_lora_fetched_bytes_total", "Bytes of LoRAs fetched from S3")
LORA_FETCH_S = Histogram("swift_lora_fetch_duration_seconds", "Time from S3 to disk", buckets=_JOB_S)
LORA_PARSE_S = Histogram("swift_lora_parse_duration_seconds", "Time from disk to memory", buckets=_STEP_S)
LORA_PATCH_S = Histogram(
    "swift_lora_patch_duration_seconds", "Time the denoising loop is blocked by patching", buckets=_STEP_S
)
LORA_WAIT_S = Histogram(
    "swift_lora_wait_seconds", "Time the denoising loop waits for a LoRA at its bound", buckets=_JOB_S
)
LORA_EFFECTIVE_STEP = Histogram(
    "swift_lora_effective_step",
    "Step of a job at which the last of its LoRAs took effect",
    buckets=(0, 1, 2, 5, 10, 20),
)
WEBHOOK_DELIVERIES = Counter(
    "swift_webhook_deliveries_total",
    "Attempts to deliver webhooks, by result: delivered, retried, failed (the last try), gone (410), dropped "
    "(the endpoint was deleted or disabled)",
    ["result"],
)
JOBS_WITHOUT_WORKERS = Gauge(
    "swift_jobs_without_workers", "Jobs that wait for a model for which no live worker takes work", ["model"]
)
CATALOG_WITHOUT_WORKERS = Gauge(
    "swift_catalog_entry_without_workers", "1 if no live worker takes work for the entry", ["kind", "name"]
)
LOAD_ERRORS = Gauge(
    "swift_workers_with_load_error", "Live workers that could not load the entry", ["kind", "name"]
)
# Of the whole fleet, and not of one process: `api.fleet_metrics` reads them when somebody asks for metrics.
JOBS_WAITING = "swift_jobs_waiting"
JOBS_RUNNING = "swift_jobs_running"
TENANT_DEVICE_S = "swift_tenant_device_seconds_total"
WORKER_BUSY_SHARE = "swift_worker_busy_share"
WORKER_DEVICE_FREE_BYTES = "swift_worker_device_free_bytes"
WORKER_DEVICE_BYTES = "swift_worker_device_bytes"
WEBHOOK_DISPATCHERS = "swift_webhook_dispatchers"
WEBHOOK_EVENTS_WAITING = "swift_webhook_events_waiting"


def publish(redis: "Redis", process: str, ttl_s: float) -> None:
    """Store this process's metrics in Redis for ``ttl_s`` seconds; drop expired processes from the index."""
    seconds, microseconds = redis.time()  # Redis' clock: those of hosts differ
    now = seconds + microseconds / 1e6
    pipe = redis.pipeline()
    pipe.set(keys.worker_metrics(process), generate_latest(REGISTRY), px=int(ttl_s * 1000))
    pipe.zadd(keys.PUBLISHERS, {process: now + ttl_s})
    pipe.zremrangebyscore(keys.PUBLISHERS, "-inf", now)
    pipe.execute()


class FleetCollector(Collector):
    """Collects the published metrics of all processes and adds the label ``process``."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis

    def collect(self) -> Iterable[Metric]:
        """One metric family for each name, with the samples of every process."""
        families: dict[str, Metric] = {}
        names = list(map(str, cast(list[str], self._redis.zrange(keys.PUBLISHERS, 0, -1))))
        texts: Any = self._redis.mget(map(keys.worker_metrics, names)) if names else []
        for name, text in zip(names, texts, strict=True):
            for family in _read(name, text or ""):  # it may just have expired
                merged = families.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.samples:
                    merged.add_sample(sample.name, {**sample.labels, "process": name}, sample.value)
        return families.values()


def _read(process: str, text: str) -> list[Metric]:
    """The metrics of one process; none if they cannot be read, so that one process hides no other."""
    try:
        families = text_string_to_metric_families(text)
        # When each counter began: text of this format has no place for it but in a metric of its own.
        return [family for family in families if not family.name.endswith("_created")]
    except (ValueError, LookupError) as error:
        log.warning("metrics of a process skipped", extra={"publisher": process, "error": str(error)})
        return []
