"""What admins have done: a log line of ``api.audit`` for each act, and the last ones in the control Redis."""

import json
import logging
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import redis
from flask import Flask, Response, g, request
from pydantic import BaseModel, Field

from api.auth.principal import Principal
from api.auth.scopes import ADMIN, needed_for
from api.middleware.hosts import SAFE
from shared import keys
from shared.errors import InvalidRequest

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger("api.audit")

#: Acts that are kept in Redis; the log lines are kept as long as the logs are.
KEPT = 10_000
#: Longer targets are cut: no route of ours has them.
TARGET_CHARS = 200
#: Endpoint of logins.
LOGIN = "session.log_in"
#: Endpoints that change LoRAs: those of the tenant `LOCAL` are everybody's.
LORA_CHANGES = frozenset({"loras.upload_lora", "loras.complete_upload", "loras.delete_lora"})
NOTHING: Mapping[str, Any] = {}
_ID = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")


class AuditEntry(BaseModel):
    """Something that an admin has done, or was refused."""

    id: str
    at: float = Field(description="seconds since 1970")
    tenant: str = Field(description="of the admin")
    key_id: str | None = Field(description="the admin's API key; null while authentication is off")
    client: str = Field(description="address that the request came from")
    operation: str = Field(description="as the OpenAPI document calls it", examples=["create_tenant"])
    target: str = Field(description="path of what was made or changed")
    status: int = Field(description="HTTP status of the response")
    changes: dict[str, Any] = Field(
        {}, description="what was asked for, by field: never keys or secrets", examples=[{"weight": 2}]
    )


class AuditLog:
    """Acts in a stream of the control Redis, the last `KEPT` of them."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis

    def record(self, principal: Principal, *, changes: Mapping[str, Any] = NOTHING, **act: Any) -> None:
        """Log an act and store it; one that Redis does not take is in the log alone.

        ``changes``: the fields that it is about and their values, as JSON has them.
        """
        fields: dict[Any, Any] = {"tenant": principal.tenant, "key_id": principal.key_id or "", **act}
        log.info("admin act", extra={**fields, "changes": dict(changes)})
        stored = {"at": time.time(), **fields, "changes": json.dumps(dict(changes))}
        try:
            self._redis.xadd(keys.AUDIT, stored, maxlen=KEPT, approximate=True)
        except redis.RedisError as error:
            log.warning("admin act not stored", extra={"error": type(error).__name__})

    def page(self, *, before: str, limit: int) -> list[AuditEntry]:
        """At most ``limit`` acts, the last first; those before the act ``before``, unless it is empty."""
        if before and not _ID.fullmatch(before):
            raise InvalidRequest("it is not the next_cursor of a page", field="cursor")
        end = f"({before}" if before else "+"
        found = cast(
            list[tuple[str, dict[str, Any]]], self._redis.xrevrange(keys.AUDIT, end, "-", count=limit)
        )
        return [_entry(entry_id, fields) for entry_id, fields in found]


def register(app: Flask, audit: AuditLog) -> None:
    """Record every request of an admin to a route of admins that changes something, or was to, logins with an
    admin's key, and changes of public LoRAs.
    """

    @app.after_request
    def after_request(response: Response) -> Response:
        principal: Principal | None = g.get("principal")
        if principal is not None and request.method not in SAFE and _is_act(principal, request.endpoint):
            audit.record(
                principal,
                client=request.remote_addr or "",
                operation=str(request.endpoint).rpartition(".")[2],
                target=response.headers.get("Location", request.path)[:TARGET_CHARS],
                status=response.status_code,
                changes=g.get("audit_changes", NOTHING),
            )
        return response


def _is_act(principal: Principal, endpoint: str | None) -> bool:
    if endpoint is None:
        return False
    is_login = endpoint == LOGIN and principal.is_admin
    is_public = endpoint in LORA_CHANGES and principal.tenant == keys.LOCAL
    return needed_for(endpoint) == ADMIN or is_login or is_public


def note_changes(changes: Mapping[str, Any]) -> None:
    """Have the audit log say what the present request is to change: fields and their values as JSON has them.

    Never keys or secrets.
    """
    g.audit_changes = changes


def _entry(entry_id: str, fields: Mapping[str, Any]) -> AuditEntry:
    changes = json.loads(fields.get("changes", "{}"))  # earlier versions have stored none
    return AuditEntry.model_validate(
        {**fields, "id": entry_id, "key_id": fields.get("key_id") or None, "changes": changes}
    )
