"""`/v1/tenants`: who owns jobs and LoRAs, and how much each may use; for admins."""

import time

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag
from pydantic import Field

from api.auth.audit import note_changes
from api.json_response import json_response
from api.openapi import Query, operation_id
from api.public_urls import public_url
from api.schemas.problems import error_responses
from api.schemas.tenants import NewTenant, TenantChange, TenantPage, TenantPath, TenantResponse
from api.services import Services
from shared.tenants.store import TenantStore
from shared.tenants.tenant import Tenant


class TenantQuery(Query):
    """Which page of the list."""

    limit: int = Field(200, ge=1, le=1000)
    cursor: str = Field("", max_length=64, description="`next_cursor` of the page before")


def tenants_api(services: Services) -> APIBlueprint:
    """The routes of tenants."""
    tag = Tag(name="tenants", description="Who owns jobs and LoRAs, and their API keys; for admins")
    api = APIBlueprint("tenants", __name__, abp_tags=[tag], operation_id_callback=operation_id)
    tenants = services.tenants

    @api.get("/v1/tenants", summary="List tenants", responses={200: TenantPage, **error_responses(422, 503)})
    def list_tenants(query: TenantQuery) -> Response:
        return json_response(_page(tenants, query))

    @api.post(
        "/v1/tenants",
        summary="Create a tenant",
        responses={201: TenantResponse, **error_responses(408, 409, 413, 422, 503)},
    )
    def create_tenant(body: NewTenant) -> Response:
        """An id is given once: that of a deleted tenant is refused, for what it owned may still be there."""
        note_changes(body.model_dump(mode="json", exclude_unset=True))
        tenant = Tenant(**dict(body), created_at=time.time())
        tenants.create(tenant)
        return json_response(
            TenantResponse.of(tenant), 201, {"Location": public_url(f"/v1/tenants/{tenant.id}")}
        )

    @api.get(
        "/v1/tenants/<id>",
        summary="Read a tenant",
        responses={200: TenantResponse, **error_responses(404, 503)},
    )
    def read_tenant(path: TenantPath) -> Response:
        return json_response(TenantResponse.of(tenants.get(path.id)))

    @api.patch(
        "/v1/tenants/<id>",
        summary="Change a tenant",
        responses={200: TenantResponse, **error_responses(404, 408, 409, 413, 422, 503)},
    )
    def change_tenant(path: TenantPath, body: TenantChange) -> Response:
        """Fields that are left out stay. All API processes know after `SWIFT_AUTH_CACHE_S`."""
        note_changes(body.model_dump(mode="json", exclude_unset=True))
        tenant = tenants.change(path.id, body.apply)
        services.fair_queue.compete(tenant.id)
        return json_response(TenantResponse.of(tenant))

    @api.delete(
        "/v1/tenants/<id>",
        summary="Delete a tenant",
        responses={204: None, **error_responses(404, 409, 503)},
    )
    def delete_tenant(path: TenantPath) -> Response:
        """Its keys end at once, or after `SWIFT_AUTH_CACHE_S` where they were in use; no webhook is sent
        then. Its jobs are cancelled, and deleted with its images and LoRAs, within some minutes while a UNet
        worker runs. What it has used stays in `/v1/usage`.
        """
        tenants.delete(path.id)
        return Response(status=204)

    return api


def _page(tenants: TenantStore, query: TenantQuery) -> TenantPage:
    found = tenants.page(after=query.cursor, limit=query.limit + 1)
    page = found[: query.limit]
    cursor = page[-1].id if len(found) > len(page) else None
    first = [] if query.cursor else [Tenant.local()]
    return TenantPage(tenants=[TenantResponse.of(tenant) for tenant in [*first, *page]], next_cursor=cursor)
