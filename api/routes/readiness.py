"""Whether the servers and workers that the API depends on are there, as /readyz tells."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import redis
from pydantic import BaseModel, Field

from api.fleet_status import FleetStatus, WithoutWorkers
from api.services import Services
from api.tenant_view import without_jobs
from shared.errors import SwiftError, Unavailable
from shared.redis_clients import without_retries
from shared.registry.workers import WorkerKind, live_workers
from shared.storage.object_store import Bucket
from shared.webhooks.dispatchers import read_dispatcher_state

if TYPE_CHECKING:
    from redis import Redis

ROLES: dict[WorkerKind, str] = {"unet": "UNet", "controlnet": "ControlNet"}
#: Of the entries without a worker, as many are named in a check.
NAMED_ENTRIES = 5


class Health(BaseModel):
    """The process is alive; on /readyz also what it depends on."""

    status: str = "ok"
    checks: dict[str, str] = {}


class Readiness(Health):
    """Servers and workers are there; ``status`` is ``degraded`` where some jobs must wait for a worker, or
    webhooks are not sent.
    """

    without_workers: WithoutWorkers = WithoutWorkers()
    worker_errors: dict[str, list[str]] = Field({}, description="by live worker: what is wrong with it")
    webhooks: str | None = Field(None, description="why webhooks are not sent; null if nothing is wrong")


class CheckedFleet(NamedTuple):
    """The outcome of each check, "ok" or what is missing; ``readiness`` only where all are "ok"."""

    checks: dict[str, str]
    readiness: Readiness | None

    @property
    def broken(self) -> list[str]:
        """Names of the checks that are not "ok"."""
        return [name for name, result in self.checks.items() if result != "ok"]


class ReadinessCheck:
    """Asks the servers and looks for workers, once in ``readiness_cache_s`` however many clients ask.

    Anybody may ask, without a key: they wait for the one that looks, and get what it finds.
    """

    def __init__(self, services: Services, now: Callable[[], float] = time.monotonic) -> None:
        settings = services.settings
        self._services, self._now = services, now
        self._control = without_retries(services.control)
        loras = Bucket(settings, settings.lora_bucket, attempts=1)
        images = Bucket(settings, settings.image_bucket, attempts=1)
        self._checks: dict[str, Callable[[], Any]] = {
            "control_redis": self._control.ping,
            **_residual_checks(self._control, services.residuals),
            "lora_bucket": loras.ready,
            "image_bucket": images.ready,
        }
        self._lock = Lock()
        self._latest: tuple[float, CheckedFleet] | None = None

    def __call__(self) -> CheckedFleet:
        """What was found just now, or a moment ago."""
        with self._lock:
            if self._latest is None or self._now() - self._latest[0] >= self._services.readiness_cache_s:
                found = self._look()
                self._latest = self._now(), found
            return self._latest[1]

    def _look(self) -> CheckedFleet:
        with ThreadPoolExecutor(len(self._checks)) as pool:
            results = dict(zip(self._checks, pool.map(_try, self._checks.values()), strict=True))
        if results["control_redis"] != "ok":
            return CheckedFleet(results, None)
        workers = live_workers(self._control)
        fleet = FleetStatus(workers if self._services.settings.auth == "off" else without_jobs(workers))
        found = CheckedFleet(results | _check_workers(self._services, fleet), None)
        return (
            found
            if found.broken
            else CheckedFleet(found.checks, _describe(self._services, fleet, found.checks))
        )


def _check_workers(services: Services, fleet: FleetStatus) -> dict[str, str]:
    """Whether there is a worker of each role that this fleet is to have; else what has none, and why.

    A role is there when it serves something: which entries of the catalog still lack a worker does not stop
    the others' jobs. ControlNet workers may be left out by design: UNet workers compute ControlNets then.
    """
    settings, catalog = services.settings, services.catalog
    results = {"unet_workers": _check_role(fleet, "unet", "model", list(catalog.models))}
    if settings.controlnet_workers > 0 or settings.controlnet_devices:
        names = list(catalog.controlnets)
        results["controlnet_workers"] = _check_role(fleet, "controlnet", "ControlNet", names)
    return results


def _check_role(fleet: FleetStatus, kind: WorkerKind, what: str, names: list[str]) -> str:
    missing = fleet.without_workers(kind, names)
    if len(missing) < len(names) or not names:
        return "ok"
    named = ", ".join([*missing[:NAMED_ENTRIES], *(["…"] if len(missing) > NAMED_ENTRIES else [])])
    errors = FleetStatus(worker for worker in fleet.workers if worker.served_of(kind)).worker_errors()
    reasons = [f"{worker}: {error}" for worker, found in errors.items() for error in found]
    return "; ".join([f"no {ROLES[kind]} worker takes work yet for {what} {named}", *reasons])


def _describe(services: Services, fleet: FleetStatus, checks: dict[str, str]) -> Readiness:
    without_workers, errors = fleet.compare(services.catalog), fleet.worker_errors()
    webhooks = read_dispatcher_state(services.control).problem
    is_ok = not (without_workers.models or without_workers.controlnets or errors or webhooks)
    return Readiness(
        status="ok" if is_ok else "degraded",
        checks=checks,
        without_workers=without_workers,
        worker_errors=errors,
        webhooks=webhooks,
    )


def _try(check: Callable[[], Any]) -> str:
    try:
        check()
    except (redis.RedisError, SwiftError) as error:
        return f"{type(error).__name__}: {error}"
    return "ok"


def _residual_checks(control: "Redis", residuals: Sequence["Redis"]) -> dict[str, Callable[[], Any]]:
    """One check a server; from the second on its place in the setting is in the name."""
    names = ["residual_redis", *(f"residual_redis_{i}" for i in range(2, len(residuals) + 1))]
    return {
        name: partial(_check_residual, control, without_retries(residual))
        for name, residual in zip(names, residuals, strict=True)
    }


def _check_residual(control: "Redis", residual: "Redis") -> None:
    if _run_id(control) == _run_id(residual):
        raise Unavailable("it is the control Redis: tensors would stall the queue")


def _run_id(client: "Redis") -> str:
    info: Any = client.info("server")
    return str(info["run_id"])
