"""Finds out who a request is from, and whether it may do what it asks for, before any route runs."""

import hmac
from collections.abc import Callable, Iterable
from typing import Any

import redis
from flask import Flask, Response, g, request

from api.auth.bounded_verifier import BoundedVerifier
from api.auth.credentials import Credentials, read_credentials
from api.auth.principal import ANYBODY, Principal
from api.auth.rate_limits import RateLimits
from api.auth.scopes import needed_for
from api.auth.verifier import KeyVerifier
from api.middleware.access_log import KEY_ID, TENANT
from api.middleware.errors import explain
from api.middleware.hosts import SAFE
from shared.errors import (
    CsrfTokenMissing,
    KeyMissing,
    ScopeMissing,
    SwiftError,
    TooManyRequests,
)
from shared.settings import Settings

#: Repeats the token of a browser's session: a page of another origin can make a browser send the cookie, and
#: cannot read this.
CSRF_HEADER = "X-CSRF-Token"
#: JSON that a request without a key may send: bodies are held in memory, which is for those with one.
STRANGERS_BYTES = 16 << 10

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
#: Puts a problem into the words of the API whose path it is.
Reshape = Callable[[Response, str], Response]


def _as_it_is(response: Response, _: str) -> Response:
    return response


def register(
    app: Flask,
    settings: Settings,
    verifier: KeyVerifier,
    bounded_verifier: BoundedVerifier,
    limits: RateLimits,
    *,
    reshape: Reshape = _as_it_is,
) -> None:
    """Set the principal of every request to ``app``, or refuse it: 401, 403, 429.

    With authentication off the principal is `ANYBODY`, whatever key is sent: clients send some.
    """
    if settings.auth == "off":

        @app.before_request
        def admit() -> None:
            g.principal = ANYBODY

        return

    @app.before_request
    def authenticate() -> None:
        needed = needed_for(request.endpoint)
        if needed is None or request.method == "OPTIONS":
            g.max_body_bytes = STRANGERS_BYTES
            return
        principal = _authenticate(verifier, bounded_verifier)
        _log_as(principal)
        if needed and not principal.has_any(needed):
            raise ScopeMissing(f"API key {principal.key_id} lacks scope {' or '.join(sorted(needed))}")
        limits.count(principal.tenant)
        g.principal = principal

    app.wsgi_app = WrongKeyGuard(app.wsgi_app, bounded_verifier, reshape)  # type: ignore[method-assign]


class WrongKeyGuard:
    """WSGI middleware: refuses addresses that have sent too many wrong keys before anything else is done."""

    def __init__(self, app: Wsgi, verifier: BoundedVerifier, reshape: Reshape = _as_it_is) -> None:
        self._app, self._verifier, self._reshape = app, verifier, reshape

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        credentials = read_credentials(environ)
        if credentials is not None:
            try:
                self._verifier.check_address(credentials, environ.get("REMOTE_ADDR", ""))
            except TooManyRequests as error:
                response = self._reshape(explain(error), environ.get("PATH_INFO", ""))
                return response(environ, start_response)
        return self._app(environ, start_response)


def admit_login(principal: Principal, limits: RateLimits) -> None:
    """Count the present request, a login, for the tenant of its key; raises `TooManyRequests`."""
    _log_as(principal)
    limits.count(principal.tenant)
    g.principal = principal


def find_principal(verifier: BoundedVerifier) -> Principal | None:
    """Who a request to an open route is from; ``None`` if it does not say so, or not rightly."""
    credentials = read_credentials(request.environ)
    if credentials is None:
        return None
    try:
        return verifier.principal_of(credentials, request.remote_addr or "")
    except (SwiftError, redis.RedisError):
        return None


def _log_as(principal: Principal) -> None:
    request.environ |= {TENANT: principal.tenant, KEY_ID: principal.key_id}


def _authenticate(verifier: KeyVerifier, bounded_verifier: BoundedVerifier) -> Principal:
    credentials = read_credentials(request.environ)
    if credentials is None:
        raise KeyMissing("an API key is needed: Authorization: Bearer KEY")
    principal = bounded_verifier.principal_of(credentials, request.remote_addr or "")
    if credentials.kind == "session" and request.method not in SAFE:
        _check_csrf(verifier, credentials)
    return principal


def _check_csrf(verifier: KeyVerifier, credentials: Credentials) -> None:
    sent = request.headers.get(CSRF_HEADER, "").encode(errors="replace")
    if not hmac.compare_digest(sent, verifier.session_of(credentials.text).csrf_token.encode()):
        raise CsrfTokenMissing(f"a session's changes must repeat its csrf_token in the header {CSRF_HEADER}")
