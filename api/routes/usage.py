"""`/v1/usage`: what each tenant has used, by day."""

from datetime import UTC, date, datetime, timedelta

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag
from pydantic import BaseModel, Field

from api.auth.principal import Principal, current_principal
from api.json_response import json_response
from api.openapi import Query, operation_id
from api.schemas.problems import error_responses
from api.services import Services
from api.usage import DayUsage, read_usage
from shared.errors import InvalidRequest, NotFound

#: Days of one answer, and how many it has unless the query says so.
MAX_DAYS, DEFAULT_DAYS = 100, 30


class UsageQuery(Query):
    """Which days, and of which tenant."""

    since: date | None = Field(
        None, description=f"first day, in UTC; default: {DEFAULT_DAYS} days, `until` being the last"
    )
    until: date | None = Field(
        None, description=f"last day; default: today. At most {MAX_DAYS} days with `since`"
    )
    tenant: str | None = Field(
        None, max_length=32, description="of this tenant alone; admins may name any, others their own"
    )


class UsageResponse(BaseModel):
    """Days on which something was used, the latest first, by tenant."""

    usage: list[DayUsage]


def usage_api(services: Services) -> APIBlueprint:
    """The route of usage."""
    tag = Tag(name="usage", description="What tenants have used")
    api = APIBlueprint("usage", __name__, abp_tags=[tag], operation_id_callback=operation_id)

    @api.get(
        "/v1/usage",
        summary="Read what was used, by day",
        responses={200: UsageResponse, **error_responses(404, 422, 503)},
    )
    def read_used(query: UsageQuery) -> Response:
        """One's own tenant's; admins read all tenants' at once. Days are kept for 400 days."""
        tenant = _tenant(current_principal(), query.tenant)
        days = _days(query, datetime.fromtimestamp(services.jobs.now(), UTC).date())
        return json_response(UsageResponse(usage=read_usage(services.control, days, tenant)))

    return api


def _tenant(principal: Principal, asked: str | None) -> str | None:
    """Whose usage is read; ``None``: that of all. Raises `NotFound` for what the principal may not see."""
    if principal.is_admin:
        return asked
    if asked not in (None, principal.tenant):
        raise NotFound(f"there is no tenant {asked!r}")
    return principal.tenant


def _days(query: UsageQuery, today: date) -> list[date]:
    """The days of the query, the latest first."""
    until = query.until or today
    since = query.since or until - timedelta(days=min(DEFAULT_DAYS - 1, (until - date.min).days))
    count = (until - since).days + 1
    if not 0 < count <= MAX_DAYS:
        raise InvalidRequest(f"from since to until there must be 1 to {MAX_DAYS} days", field="since")
    return [until - timedelta(days=n) for n in range(count)]
