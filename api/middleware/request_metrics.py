"""Counts and times every request, by its route and never by its path."""

import time

from flask import Flask, Response, g, request

from api.middleware.access_log import ROUTE
from shared.metrics import HTTP_REQUEST_S, HTTP_REQUESTS

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")


def register(app: Flask) -> None:
    """Measure the requests of ``app``."""

    @app.before_request
    def before_request() -> None:
        g.started_at = time.perf_counter()

    @app.after_request
    def after_request(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "none"
        request.environ[ROUTE] = route
        method = request.method if request.method in METHODS else "other"
        HTTP_REQUESTS.labels(method, route, str(response.status_code)).inc()
        HTTP_REQUEST_S.labels(route).observe(time.perf_counter() - g.started_at)
        return response
