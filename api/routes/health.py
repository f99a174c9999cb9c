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

from api.fleet_status import FleetStatus, WithoutWorkers, update_metrics
from api.openapi import operation_id
from api.schemas.jobs import answer
from api.schemas.problems import problem, refusals
from api.services import Services
from shared.errors import SwiftError, Unavailable
from shared.metrics import FleetCollector, publish
from shared.redis_clients import without_retries
from shared.registry.workers import live_workers
from shared.storage.object_store import Bucket

if TYPE_CHECKING:
    from redis import Redis

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
    """Jobs are accepted; ``status`` is ``degraded`` where some of them must wait, or workers are not well."""

    without_workers: WithoutWorkers = WithoutWorkers()
    worker_errors: dict[str, list[str]] = Field({}, description="by live worker: what is wrong with it")


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

    @api.get("/healthz", summary="The process is alive", responses={200: Health, **refusals()})
    def healthz() -> Response:
        return answer(Health())

    @api.get(
        "/readyz", summary="Everything jobs need is reachable", responses={200: Readiness, **refusals(503)}
    )
    def readyz() -> Response:
        with ThreadPoolExecutor(len(checks)) as pool:
            told = dict(zip(checks, pool.map(_try, checks.values()), strict=True))
        broken = [name for name, outcome in told.items() if outcome != "ok"]
        if broken:
            return problem(503, Unavailable.code, f"not ready: {', '.join(broken)}", checks=told)
        return answer(_describe(services, FleetStatus(live_workers(control)), told))

    @api.get("/metrics", summary="Prometheus metrics", responses={200: METRICS, **refusals(503)})
    def metrics() -> Response:
        publish_metrics(services)
        registry = CollectorRegistry()
        registry.register(FleetCollector(services.control))
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    return api


def _describe(services: Services, fleet: FleetStatus, checks: dict[str, str]) -> Readiness:
    without_workers, errors = fleet.compare(services.catalog), fleet.worker_errors()
    is_ok = not (without_workers.models or without_workers.controlnets or errors)
    return Readiness(
        status="ok" if is_ok else "degraded",
        checks=checks,
        without_workers=without_workers,
        worker_errors=errors,
    )


def publish_metrics(services: Services) -> None:
    """Publish this process's metrics, and those of catalog entries without workers."""
    update_metrics(services.control, services.catalog)
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
