"""Cross-origin requests of browsers (https://fetch.spec.whatwg.org/#http-cors-protocol): none, unless set.

Pages of the listed origins may use the API with an API key, never with a session's cookie: no answer allows
credentials, and the cookie is not sent across sites.
"""

from flask import Flask, Response, request
from werkzeug.datastructures import HeaderSet

from shared.settings import Settings

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
#: Headers that a page may send and read, besides those that it always may.
SENT = ("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "If-None-Match")
READ = ("Location", "ETag", "Retry-After", "RateLimit", "RateLimit-Policy", "Idempotency-Replayed")
#: How long a browser need not ask again.
MAX_AGE_S = 600


def register(app: Flask, settings: Settings) -> None:
    """Tell browsers that pages of ``cors_origins`` may read the answers of ``app``."""
    origins = settings.cors_origins
    if not origins:
        return

    @app.after_request
    def after_request(response: Response) -> Response:
        if "*" not in origins:
            response.vary.add("Origin")
        if is_listed(request.headers.get("Origin"), origins):
            response.access_control_allow_origin = request.headers["Origin"]
            response.access_control_expose_headers = HeaderSet(READ)
            if request.method == "OPTIONS":
                response.access_control_allow_methods = HeaderSet(METHODS)
                response.access_control_allow_headers = HeaderSet(SENT)
                response.access_control_max_age = MAX_AGE_S
        return response


def is_listed(origin: str | None, origins: tuple[str, ...]) -> bool:
    """Whether pages of ``origin`` may use the API."""
    return origin is not None and ("*" in origins or origin.lower() in origins)
