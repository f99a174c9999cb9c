"""Finds out who a request is from, before any route runs."""

from flask import Flask, g

from api.auth.principal import ANYBODY


def register(app: Flask) -> None:
    """Set the principal of every request to ``app``: authentication is off, so it is `ANYBODY`."""

    @app.before_request
    def before_request() -> None:
        g.principal = ANYBODY
