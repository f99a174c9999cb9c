"""`/v1/audit`: what admins have done; for admins."""

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag
from pydantic import BaseModel, Field

from api.auth.audit import AuditEntry
from api.json_response import json_response
from api.openapi import Query, operation_id
from api.schemas.problems import error_responses
from api.services import Services


class AuditQuery(Query):
    """Which page of the list."""

    limit: int = Field(100, ge=1, le=1000)
    cursor: str = Field("", max_length=64, description="`next_cursor` of the page before")


class AuditPage(BaseModel):
    """Acts of admins, the last first; ``next_cursor`` asks for the page after this one."""

    acts: list[AuditEntry]
    next_cursor: str | None


def audit_api(services: Services) -> APIBlueprint:
    """The route of the audit log."""
    tag = Tag(name="tenants")
    api = APIBlueprint("audit", __name__, abp_tags=[tag], operation_id_callback=operation_id)
    audit = services.audit

    @api.get(
        "/v1/audit",
        summary="List what admins have done, the last first",
        responses={200: AuditPage, **error_responses(422, 503)},
    )
    def list_audit(query: AuditQuery) -> Response:
        """The last ten thousand acts; the log of the API (`api.audit`) has all."""
        found = audit.page(before=query.cursor, limit=query.limit + 1)
        page = found[: query.limit]
        return json_response(
            AuditPage(acts=page, next_cursor=page[-1].id if len(found) > len(page) else None)
        )

    return api
