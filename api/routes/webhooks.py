"""`/v1/webhooks`: where the events of a tenant's jobs are sent, and what became of each delivery."""

from typing import Any

from flask import Response, request
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from api.auth.principal import current_principal
from api.json_response import json_response
from api.openapi import operation_id
from api.routes.json_body import require_json_object
from api.schemas.problems import error_responses
from api.schemas.webhook_request import ReplayDeliveries, WebhookChange, WebhookRequest
from api.schemas.webhooks import (
    CreatedWebhook,
    DeliveryPage,
    DeliveryQuery,
    DeliveryResponse,
    ReplayResponse,
    SecretResponse,
    WebhookList,
    WebhookPath,
    WebhookResponse,
)
from api.services import Services
from api.submission.checks.webhook import check_webhook_url
from shared.webhooks.endpoint import DEFAULT, Endpoint


def webhooks_api(services: Services) -> APIBlueprint:
    """The routes of webhooks."""
    tag = Tag(name="webhooks", description="Events of jobs, sent to receivers as Standard Webhooks")
    api = APIBlueprint("webhooks", __name__, abp_tags=[tag], operation_id_callback=operation_id)

    @api.before_request
    def read_json() -> None:
        if request.endpoint in {f"webhooks.{name}" for name in TAKING_JSON}:
            require_json_object()

    _add_endpoints(api, services)
    _add_secrets(api, services)
    _add_deliveries(api, services)
    return api


#: Routes whose body must be a JSON object.
TAKING_JSON = ("create_webhook", "change_webhook", "replay_deliveries")


def _add_endpoints(api: APIBlueprint, services: Services) -> None:
    webhooks = services.webhooks

    @api.get("/v1/webhooks", summary="List webhooks", responses={200: WebhookList, **error_responses(503)})
    def list_webhooks() -> Response:
        """Those of all jobs; a job's own webhook is given with the job."""
        found = webhooks.all(current_principal().tenant)
        return json_response(WebhookList(webhooks=[WebhookResponse.of(one) for one in found]))

    @api.post(
        "/v1/webhooks",
        summary="Create a webhook",
        responses={201: CreatedWebhook, **error_responses(409, 422, 503)},
    )
    def create_webhook(body: WebhookRequest) -> Response:
        """Its `secret` is told here and not again; `POST …/rotate` makes another one."""
        check_webhook_url(body.url, services, field="url")
        endpoint = webhooks.create(
            current_principal().tenant,
            body.url,
            body.events,
            description=body.description,
            now=services.webhook_deliveries.now(),
        )
        created = CreatedWebhook.of(endpoint, secret=endpoint.secrets[0].value)
        return json_response(created, 201, {"Location": created.links.self})

    @api.get(
        "/v1/webhooks/<webhook_id>",
        summary="Read a webhook",
        responses={200: WebhookResponse, **error_responses(404, 503)},
    )
    def read_webhook(path: WebhookPath) -> Response:
        endpoint = webhooks.get(current_principal().tenant, path.webhook_id)
        return json_response(WebhookResponse.of(endpoint))

    @api.patch(
        "/v1/webhooks/<webhook_id>",
        summary="Change, disable or enable a webhook",
        responses={200: WebhookResponse, **error_responses(404, 422, 503)},
    )
    def change_webhook(path: WebhookPath, body: WebhookChange) -> Response:
        """Deliveries that wait go to the new URL."""
        tenant = current_principal().tenant
        webhooks.get(tenant, path.webhook_id)
        if body.url is not None:
            check_webhook_url(body.url, services, field="url")
        now = services.webhook_deliveries.now()
        changed = webhooks.update(tenant, path.webhook_id, lambda one: _changed(one, body, now))
        return json_response(WebhookResponse.of(changed))

    @api.delete(
        "/v1/webhooks/<webhook_id>",
        summary="Delete a webhook",
        responses={204: None, **error_responses(404, 503)},
    )
    def delete_webhook(path: WebhookPath) -> Response:
        """Nothing more is sent to it."""
        webhooks.delete(current_principal().tenant, path.webhook_id)
        return Response(status=204)


def _add_secrets(api: APIBlueprint, services: Services) -> None:
    webhooks = services.webhooks

    @api.get(
        f"/v1/webhooks/{DEFAULT}/secret",
        summary="Read the secret that signs webhooks of single jobs",
        responses={200: SecretResponse, **error_responses(503)},
    )
    def read_default_secret() -> Response:
        """It signs what is sent to the `webhook` of a job."""
        endpoint = webhooks.default(current_principal().tenant, services.webhook_deliveries.now())
        return json_response(SecretResponse.of(endpoint))

    @api.post(
        "/v1/webhooks/<webhook_id>/rotate",
        summary="Replace the secret of a webhook",
        responses={200: SecretResponse, **error_responses(404, 503)},
    )
    def rotate_secret(path: WebhookPath) -> Response:
        """For a day both secrets sign, so that the receiver can change its own. `default` rotates the
        secret of single jobs.
        """
        tenant, now = current_principal().tenant, services.webhook_deliveries.now()
        _find(services, tenant, path.webhook_id)
        rotated = webhooks.update(tenant, path.webhook_id, lambda one: one.rotated(now))
        return json_response(SecretResponse.of(rotated))


def _add_deliveries(api: APIBlueprint, services: Services) -> None:
    deliveries = services.webhook_deliveries

    @api.get(
        "/v1/webhooks/<webhook_id>/deliveries",
        summary="List deliveries, newest first",
        responses={200: DeliveryPage, **error_responses(404, 422, 503)},
    )
    def list_deliveries(path: WebhookPath, query: DeliveryQuery) -> Response:
        """What was sent and is to be, for `SWIFT_WEBHOOK_TTL_S` after its end. `default`: to single jobs'
        webhooks.
        """
        tenant = current_principal().tenant
        endpoint = _find(services, tenant, path.webhook_id)
        if query.job is None:
            page, cursor = deliveries.page(tenant, endpoint.id, limit=query.limit, cursor=query.cursor)
        else:
            page, cursor = deliveries.of_job(tenant, endpoint.id, query.job), None
        found = [DeliveryResponse.of(one, endpoint) for one in page]
        return json_response(DeliveryPage(deliveries=found, next_cursor=cursor))

    @api.post(
        "/v1/webhooks/<webhook_id>/replay",
        summary="Send deliveries again",
        responses={202: ReplayResponse, **error_responses(404, 422, 503)},
    )
    def replay_deliveries(path: WebhookPath, body: ReplayDeliveries) -> Response:
        """With the ids and payloads they had, now, and with all of their retries."""
        tenant = current_principal().tenant
        endpoint = _find(services, tenant, path.webhook_id)
        replayed = deliveries.replay(tenant, endpoint.id, body.deliveries)
        return json_response(ReplayResponse(replayed=replayed), 202)


def _find(services: Services, tenant: str, webhook_id: str) -> Endpoint:
    """An endpoint, also the one of single jobs; raises `NotFound`."""
    if webhook_id == DEFAULT:
        return services.webhooks.default(tenant, services.webhook_deliveries.now())
    return services.webhooks.get(tenant, webhook_id)


def _changed(endpoint: Endpoint, body: WebhookChange, now: float) -> Endpoint:
    fields: dict[str, Any] = body.model_dump(include={"url", "events", "description"}, exclude_none=True)
    changed = endpoint.model_copy(update=fields)
    if body.enabled is None:
        return changed
    return changed.enabled() if body.enabled else changed.disabled("request", now)
