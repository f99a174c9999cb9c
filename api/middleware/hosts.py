"""Refuses other host names, and changes that web pages of other origins ask for.

A page of any site can send requests to this machine from its visitor's browser: by a name of its own that
leads here (DNS rebinding), then ``Host`` is that name; or across origins, then ``Origin`` is the page's.
"""

import re
from urllib.parse import urlsplit

from flask import Flask, request

from api.middleware.allowed_hosts import AllowedHosts
from api.middleware.cors import is_listed
from shared.errors import Forbidden, Misdirected
from shared.settings import Settings

#: Methods that change nothing.
SAFE = ("GET", "HEAD", "OPTIONS")
_ORIGIN = re.compile(r"https?://[^/?#@\s]+", re.IGNORECASE)
_HINT = "SWIFT_ALLOWED_HOSTS lists more"


def register(app: Flask, settings: Settings) -> None:
    """Refuse other hosts (421), and changes that pages of other origins ask for (403)."""
    allowed = AllowedHosts(settings.allowed_hosts, own=settings.api_host)

    @app.before_request
    def before_request() -> None:
        host = request.headers.get("Host")
        if host is None and request.environ.get("SERVER_PROTOCOL") != "HTTP/1.0":
            raise Misdirected("the request has no Host header")
        target = urlsplit(request.environ.get("RAW_URI", "")).netloc  # of GET http://host/path
        for name in (host, target or None):
            if name is not None and not allowed.answers_to(name):
                raise Misdirected(f"this is not {name!r}: {_HINT}")
        if request.method not in SAFE:
            _check_origin(allowed, settings.cors_origins)


def _check_origin(allowed: AllowedHosts, cors_origins: tuple[str, ...]) -> None:
    origin = request.headers.get("Origin")
    if is_listed(origin, cors_origins):
        return
    if origin is not None:
        host = urlsplit(origin).netloc if _ORIGIN.fullmatch(origin) else ""
        is_same = bool(host) and _strip_port(host) == _strip_port(request.headers.get("Host", ""))
        if not is_same and not allowed.lists(host):
            raise Forbidden(f"a page of origin {origin!r} may not change anything here: {_HINT}")
    elif request.headers.get("Sec-Fetch-Site", "").strip().lower() == "cross-site":
        raise Forbidden("a page of another site may not change anything here")


def _strip_port(host: str) -> str:
    """Without the default port of its scheme."""
    return host.lower().removesuffix(":80").removesuffix(":443")
