"""`/v1/session`: browsers log in with an API key, and carry a cookie from then on."""

from datetime import UTC, datetime, timedelta

from flask import Response, request
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field

from api.auth.authentication import admit_login
from api.auth.credentials import COOKIE, Credentials, read_credentials
from api.auth.principal import ANYBODY, Principal, current_principal
from api.json_response import json_response
from api.openapi import operation_id
from api.public_urls import public_url
from api.schemas.problems import error_responses
from api.services import Services
from shared.tenants.scopes import SCOPES, Scope


class Login(BaseModel):
    """What a browser logs in with."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(max_length=200, description="an API key")


class SessionResponse(BaseModel):
    """Who the client is, and what it may do."""

    tenant: str
    scopes: list[Scope]
    key_id: str | None = Field(description="the API key it uses; null while authentication is off")
    csrf_token: str | None = Field(
        description="of a session: changes must repeat it in the header X-CSRF-Token; null of a key"
    )
    expires_at: datetime | None = Field(description="of a session that begins now")

    @classmethod
    def of(
        cls, principal: Principal, csrf_token: str | None = None, expires_at: datetime | None = None
    ) -> "SessionResponse":
        """The response for a principal."""
        return cls(
            tenant=principal.tenant,
            scopes=[scope for scope in SCOPES if scope in principal.scopes],
            key_id=principal.key_id,
            csrf_token=csrf_token,
            expires_at=expires_at,
        )


def session_api(services: Services) -> APIBlueprint:
    """The routes of a browser's session."""
    tag = Tag(name="session", description="Log in and out from a browser")
    api = APIBlueprint("session", __name__, abp_tags=[tag], operation_id_callback=operation_id)
    settings, verifier = services.settings, services.verifier

    @api.post(
        "/v1/session",
        summary="Log in",
        responses={200: SessionResponse, **error_responses(408, 413, 422, 429, 503)},
    )
    def log_in(body: Login) -> Response:
        """Sets a cookie that only the API's own pages make a browser send. With authentication off there is
        nothing to log in to: any key is taken, and no cookie set. Of the sessions of a key the last 20 stay.
        """
        if settings.auth == "off":
            return json_response(SessionResponse.of(ANYBODY))
        credentials = Credentials("key", body.key)
        principal = services.bounded_verifier.principal_of(credentials, request.remote_addr or "")
        admit_login(principal, services.rate_limits)
        token, session = verifier.open_session(body.key)
        expires_at = datetime.now(UTC) + timedelta(seconds=settings.session_ttl_s)
        response = json_response(SessionResponse.of(principal, session.csrf_token, expires_at))
        response.set_cookie(
            COOKIE,
            token,
            max_age=settings.session_ttl_s,
            path=public_url("") or "/",
            secure=request.is_secure,
            httponly=True,
            samesite="Strict",
        )
        response.headers["Cache-Control"] = "no-store"
        return response

    @api.get("/v1/session", summary="Who am I", responses={200: SessionResponse, **error_responses(503)})
    def read_session() -> Response:
        """Who the request is from, by its key or its session's cookie."""
        credentials = read_credentials(request.environ)
        is_session = settings.auth != "off" and credentials is not None and credentials.kind == "session"
        token = verifier.session_of(credentials.text).csrf_token if is_session and credentials else None
        response = json_response(SessionResponse.of(current_principal(), token))
        response.headers["Cache-Control"] = "no-store"
        return response

    @api.delete("/v1/session", summary="Log out", responses={204: None, **error_responses(503)})
    def log_out() -> Response:
        """Ends the session and removes its cookie; a key stays as it is."""
        credentials = read_credentials(request.environ)
        if settings.auth != "off" and credentials is not None and credentials.kind == "session":
            verifier.close_session(credentials.text)
        response = Response(status=204)
        response.delete_cookie(COOKIE, path=public_url("") or "/", httponly=True, samesite="Strict")
        return response

    return api
