"""Health, readiness and metrics, as load balancers and Prometheus expect them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import redis
from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field

from api.auth.authentication import find_principal
from api.fleet_metrics import FleetNumbersCollector
from api.fleet_status import FleetStatus, WithoutWorkers, update_metrics
from api.json_response import json_response
from api.openapi import operation_id
from api.schemas.problems import error_responses, problem
from api.services import Services
from api.tenant_view import without_jobs
from shared.errors import SwiftError, Unavailable
from shared.metrics import FleetCollector, publish
from shared.redis_clients import without_retries
from shared.registry.workers import WorkerKind, live_workers
from shared.storage.object_store import Bucket
from shared.webhooks.dispatchers import read_dispatcher_state

if TYPE_CHECKING:
    from redis import Redis

ROLES: dict[WorkerKind, str] = {"unet": "UNet", "controlnet": "ControlNet"}
#: Of the entries without a worker, as many are named in a check.
NAMED_ENTRIES = 5
#: A process's numbers outlive this many missed publications.
GRACE_BEATS = 4
METRICS = {
    "description": "The numbers of every process",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}


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


def health_api(services: Services) -> APIBlueprint:
    """The routes an operator's machines ask."""
    tag = Tag(name="operations", description="Health, readiness, metrics")
    api = APIBlueprint("health", __name__, abp_tags=[tag], operation_id_callback=operation_id)
    settings = services.settings
    control = without_retries(services.control)
    loras = Bucket(settings, settings.lora_bucket, attempts=1)
    images = Bucket(settings, settings.image_bucket, attempts=1)
    checks: dict[str, Callable[[], Any]] = {
        "control_redis": control.ping,
        **_residual_checks(control, services.residuals),
        "lora_bucket": loras.ready,
        "image_bucket": images.ready,
    }

    @api.get("/healthz", summary="The process is alive", responses={200: Health, **error_responses()})
    def healthz() -> Response:
        return json_response(Health())

    @api.get(
        "/readyz", summary="Servers and workers are there", responses={200: Readiness, **error_responses(503)}
    )
    def readyz() -> Response:
        with ThreadPoolExecutor(len(checks)) as pool:
            results = dict(zip(checks, pool.map(_try, checks.values()), strict=True))
        if results["control_redis"] == "ok":
            workers = live_workers(control)
            fleet = FleetStatus(workers if settings.auth == "off" else without_jobs(workers))
            results |= _check_workers(services, fleet)
        broken = [name for name, result in results.items() if result != "ok"]
        shows_details = _shows_details(services)
        if broken and not shows_details:
            results |= dict.fromkeys(broken, "failed")
        if broken:
            return problem(503, Unavailable.code, f"not ready: {', '.join(broken)}", checks=results)
        found = _describe(services, fleet, results)
        return json_response(found if shows_details else Health(status=found.status, checks=found.checks))

    @api.get("/metrics", summary="Prometheus metrics", responses={200: METRICS, **error_responses(503)})
    def metrics() -> Response:
        publish_metrics(services)
        registry = CollectorRegistry()
        registry.register(FleetCollector(services.control))
        registry.register(FleetNumbersCollector(services.control, services.catalog))
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    return api


def _shows_details(services: Services) -> bool:
    """Whether the client may read reasons, which name servers, workers and what they serve. An API that asks
    for keys shows them to those with scope ``fleet``; probes look at the status.
    """
    if services.settings.auth == "off":
        return True
    principal = find_principal(services.bounded_verifier)
    return principal is not None and principal.has_any(frozenset({"fleet"}))


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


def publish_metrics(services: Services) -> None:
    """Publish this process's metrics, and those of catalog entries without workers."""
    update_metrics(services.control, services.fair_queue, services.catalog)
    publish(services.control, services.process, services.settings.heartbeat_s * GRACE_BEATS)


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
