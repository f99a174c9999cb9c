"""Health, readiness and metrics, as load balancers and Prometheus expect them."""

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from api.auth.authentication import find_principal
from api.auth.principal import current_principal
from api.fleet_metrics import FleetNumbersCollector
from api.fleet_status import update_metrics
from api.json_response import json_response
from api.openapi import operation_id
from api.routes.readiness import Health, Readiness, ReadinessCheck
from api.schemas.problems import error_responses, problem
from api.services import Services
from shared.errors import Unavailable
from shared.keys import LOCAL
from shared.metrics import FleetCollector, publish

#: A process's numbers outlive this many missed publications.
GRACE_BEATS = 4
METRICS = {
    "description": "The numbers of every process",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}


def health_api(services: Services) -> APIBlueprint:
    """The routes an operator's machines ask."""
    tag = Tag(name="operations", description="Health, readiness, metrics")
    api = APIBlueprint("health", __name__, abp_tags=[tag], operation_id_callback=operation_id)
    check = ReadinessCheck(services)

    @api.get("/healthz", summary="The process is alive", responses={200: Health, **error_responses()})
    def healthz() -> Response:
        return json_response(Health())

    @api.get(
        "/readyz", summary="Servers and workers are there", responses={200: Readiness, **error_responses(503)}
    )
    def readyz() -> Response:
        """What was found within the last second: anybody may ask, as often as they like."""
        found, shows_details = check(), _shows_details(services)
        if found.readiness is None:
            hidden = {} if shows_details else dict.fromkeys(found.broken, "failed")
            detail = f"not ready: {', '.join(found.broken)}"
            return problem(503, Unavailable.code, detail, checks=found.checks | hidden)
        if shows_details:
            return json_response(found.readiness)
        return json_response(Health(status=found.readiness.status, checks=found.checks))

    @api.get("/metrics", summary="Prometheus metrics", responses={200: METRICS, **error_responses(503)})
    def metrics() -> Response:
        """Series of tenants are for admins and the operator's own tenant, `local`; others see their own."""
        who = current_principal()
        shown_to = None if who.is_admin or who.tenant == LOCAL else who.tenant
        publish_metrics(services)
        registry = CollectorRegistry()
        registry.register(FleetCollector(services.control))
        registry.register(FleetNumbersCollector(services.control, services.catalog, shown_to))
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


def publish_metrics(services: Services) -> None:
    """Publish this process's metrics, and those of catalog entries without workers."""
    update_metrics(services.control, services.fair_queue, services.catalog)
    publish(services.control, services.process, services.settings.heartbeat_s * GRACE_BEATS)
