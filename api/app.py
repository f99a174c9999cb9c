"""The web app, built around its collaborators."""

from typing import Any

from flask import Request, redirect
from flask_openapi.openapi import OpenAPI
from werkzeug.exceptions import BadRequest, UnsupportedMediaType
from werkzeug.wrappers import Response as Redirect

from api import bodies, openapi, problems, requests, strict_json
from api.events import events_api
from api.fleet import fleet_api
from api.health import health_api
from api.jobs import jobs_api
from api.loras import loras_api
from api.middleware import hosts
from api.pictures import pictures_api
from api.services import Services


def create_app(services: Services) -> OpenAPI:
    """Every route of the contract over ``services``."""
    app = OpenAPI(
        "api",
        info=openapi.INFO,
        doc_prefix="/docs",
        validation_error_status="default",
        validation_error_model=problems.Problem,
        validation_error_callback=problems.explain_validation,
    )
    app.openapi_version = openapi.VERSION
    app.request_class = ExplainedRequest
    requests.register(app)
    hosts.register(app, services.settings)
    bodies.register(app, services.settings)
    problems.register(app)
    for room in (jobs_api, pictures_api, events_api, loras_api, fleet_api, health_api):
        app.register_api(room(services))

    @app.route("/openapi.json")
    def document() -> dict[str, Any]:
        return app.api_doc

    @app.route("/docs")
    def docs() -> Redirect:
        return redirect("/docs/swagger")

    return app


class ExplainedRequest(Request):
    """Says what is wrong with a body that is no JSON."""

    json_module = strict_json

    def on_json_loading_failed(self, e: ValueError | None) -> Any:
        """Refuse with 415 (``e`` is ``None``: another content type) or 400."""
        if e is None:
            raise UnsupportedMediaType("the body must be JSON, sent as application/json")
        raise BadRequest(f"the body is no JSON: {e}") from None
