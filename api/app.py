"""The web app, built around its collaborators."""

from functools import lru_cache
from typing import Any

from flask import Request, Response, redirect
from flask_openapi.openapi import OpenAPI
from werkzeug.exceptions import BadRequest, UnsupportedMediaType
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wrappers import Response as Redirect

from api import openapi
from api.auth import audit, authentication
from api.compat import reshape
from api.compat.a1111.routes import a1111_api
from api.compat.openai.routes import openai_api
from api.console.routes import console_api
from api.middleware import compression, cors, errors, hosts, request_body, request_metrics
from api.middleware.access_log import AccessLog
from api.middleware.strict_json import StrictJson
from api.public_urls import public_url
from api.routes.auth.api_keys import api_keys_api
from api.routes.auth.audit import audit_api
from api.routes.auth.session import session_api
from api.routes.auth.tenants import tenants_api
from api.routes.events import events_api
from api.routes.fleet import fleet_api
from api.routes.health import health_api
from api.routes.images.images import images_api
from api.routes.jobs import jobs_api
from api.routes.loras import loras_api
from api.routes.usage import usage_api
from api.routes.webhooks import webhooks_api
from api.schemas.problems import Problem
from api.services import Services

BLUEPRINTS = (
    jobs_api,
    images_api,
    events_api,
    webhooks_api,
    loras_api,
    fleet_api,
    usage_api,
    tenants_api,
    api_keys_api,
    session_api,
    audit_api,
    health_api,
)


def create_app(services: Services) -> OpenAPI:
    """Every route of the contract over ``services``."""
    app = OpenAPI(
        "api",
        info=openapi.INFO,
        security_schemes=openapi.SECURITY_SCHEMES,
        doc_prefix="/docs",
        validation_error_status="default",
        validation_error_model=Problem,
        validation_error_callback=errors.explain_validation,
    )
    app.openapi_version = openapi.VERSION
    app.request_class = ExplainedRequest
    app.json = StrictJson(app)
    settings = services.settings
    request_metrics.register(app)
    compression.register(app, services.offload)
    cors.register(app, settings)
    hosts.register(app, settings)
    reshape.register(app)
    verifiers = services.verifier, services.bounded_verifier
    authentication.register(app, settings, *verifiers, services.rate_limits, reshape=reshape.reshape)
    audit.register(app, services.audit)
    request_body.register(app, settings)
    errors.register(app)
    for blueprint in BLUEPRINTS:
        app.register_api(blueprint(services))
    for compatible in (openai_api, a1111_api):
        app.register_blueprint(compatible(services))
    app.register_blueprint(console_api())

    @lru_cache(16)
    def document_at(prefix: str) -> str:
        security = {} if settings.auth == "off" else {"security": openapi.SECURITY}
        return app.json.dumps(app.api_doc | {"servers": [{"url": prefix or "/"}]} | security)

    def document() -> Response:
        return Response(document_at(public_url("")), mimetype="application/json")

    app.add_url_rule("/openapi.json", "document", document)
    app.view_functions["openapi.doc_url"] = document  # what /docs reads

    @app.route("/docs")
    def docs() -> Redirect:
        return redirect(public_url("/docs/swagger"))

    proxies = settings.trusted_proxies
    if proxies:
        fixed = ProxyFix(
            app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=proxies, x_port=proxies, x_prefix=proxies
        )
        app.wsgi_app = fixed  # type: ignore[method-assign]
    if settings.access_log:
        app.wsgi_app = AccessLog(app.wsgi_app)  # type: ignore[method-assign]
    return app


class ExplainedRequest(Request):
    """Says what is wrong with a body that is no JSON."""

    def on_json_loading_failed(self, e: ValueError | None) -> Any:
        """Refuse with 415 (``e`` is ``None``: another content type) or 400."""
        if e is None:
            raise UnsupportedMediaType("the body must be JSON, sent as application/json")
        raise BadRequest(f"the body is no JSON: {e}") from None
