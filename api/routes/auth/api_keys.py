"""`/v1/tenants/{id}/keys`: the API keys of a tenant; for admins."""

import time
from datetime import UTC, datetime

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from api.auth.audit import note_changes
from api.json_response import json_response
from api.openapi import operation_id
from api.public_urls import public_url
from api.schemas.problems import error_responses
from api.schemas.tenants import KeyList, KeyPath, KeyResponse, MadeKey, NewKey, Rotation, TenantPath
from api.services import Services
from shared.errors import Conflict, InvalidRequest
from shared.tenants.api_key import ApiKey
from shared.tenants.key_store import KeyStore, StoredKey


def api_keys_api(services: Services) -> APIBlueprint:
    """The routes of API keys."""
    tag = Tag(name="tenants")
    api = APIBlueprint("api_keys", __name__, abp_tags=[tag], operation_id_callback=operation_id)
    tenants, stored = services.tenants, services.api_keys

    @api.get(
        "/v1/tenants/<id>/keys",
        summary="List a tenant's API keys",
        responses={200: KeyList, **error_responses(404, 503)},
    )
    def list_keys(path: TenantPath) -> Response:
        """Expired and revoked ones, too, for 90 days."""
        tenants.get(path.id)
        uses = stored.last_uses(path.id)
        found = [KeyResponse.of(key, uses.get(key.id)) for key in stored.of_tenant(path.id)]
        return json_response(KeyList(keys=found))

    @api.post(
        "/v1/tenants/<id>/keys",
        summary="Make an API key",
        responses={201: MadeKey, **error_responses(404, 408, 409, 413, 422, 503)},
    )
    def create_key(path: TenantPath, body: NewKey) -> Response:
        """`key` of the response is shown this once: only its hash is stored."""
        note_changes(body.model_dump(mode="json"))
        return _create(stored, tenants.get(path.id).id, body)

    @api.get(
        "/v1/tenants/<id>/keys/<key_id>",
        summary="Read an API key",
        responses={200: KeyResponse, **error_responses(404, 503)},
    )
    def read_key(path: KeyPath) -> Response:
        """What is stored of it; not the key itself."""
        key = stored.get(path.id, path.key_id)
        return json_response(KeyResponse.of(key, stored.last_uses(path.id).get(key.id)))

    @api.post(
        "/v1/tenants/<id>/keys/<key_id>/rotate",
        summary="Replace an API key",
        responses={201: MadeKey, **error_responses(404, 408, 409, 413, 422, 503)},
    )
    def rotate_key(path: KeyPath, body: Rotation) -> Response:
        """Makes a key with the same name, scopes and expiry; the old one works for another `overlap_s`."""
        old = stored.get(path.id, path.key_id)
        note_changes({"replaces": old.id, "scopes": list(old.scopes), "overlap_s": body.overlap_s})
        return _rotate(stored, old, body.overlap_s)

    @api.delete(
        "/v1/tenants/<id>/keys/<key_id>",
        summary="Revoke an API key",
        responses={204: None, **error_responses(404, 503)},
    )
    def revoke_key(path: KeyPath) -> Response:
        """It ends at once, or after `SWIFT_AUTH_CACHE_S` where it was in use; its sessions, too."""
        stored.revoke(path.id, path.key_id, time.time())
        return Response(status=204)

    return api


def _create(stored: KeyStore, tenant: str, body: NewKey) -> Response:
    if body.expires_at is not None and body.expires_at <= datetime.now(UTC):
        raise InvalidRequest("must be in the future", field="expires_at")
    expires_at = body.expires_at.timestamp() if body.expires_at else None
    made, key = _make(tenant, name=body.name, scopes=body.scopes, expires_at=expires_at)
    stored.add(key)
    return _answer(made, key)


def _rotate(stored: KeyStore, old: StoredKey, overlap_s: int) -> Response:
    now = time.time()
    if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
        raise Conflict(f"key {old.id!r} has ended already: make a new one")
    made, key = _make(old.tenant, name=old.name, scopes=old.scopes, expires_at=old.expires_at)
    stored.add(key)
    stored.expire(old.tenant, old.id, now + overlap_s)
    return _answer(made, key)


def _make(tenant: str, **fields: object) -> tuple[ApiKey, StoredKey]:
    made = ApiKey.random()
    return made, StoredKey.model_validate(
        {**fields, "id": made.id, "sha256": made.sha256, "tenant": tenant, "created_at": time.time()}
    )


def _answer(made: ApiKey, key: StoredKey) -> Response:
    location = public_url(f"/v1/tenants/{key.tenant}/keys/{key.id}")
    response = json_response(MadeKey.of(key, key=str(made)), 201, {"Location": location})
    response.headers["Cache-Control"] = "no-store"
    return response
