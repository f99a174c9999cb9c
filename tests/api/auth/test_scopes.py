"""Every route says which scope it needs."""

from flask_openapi.openapi import OpenAPI

from api.auth.scopes import ADMIN, NEEDED, needed_for


def test_every_route_has_a_scope_or_is_open(app: OpenAPI) -> None:
    endpoints = {rule.endpoint for rule in app.url_map.iter_rules()}
    undeclared = {one for one in endpoints if not {one, one.rpartition(".")[0]} & NEEDED.keys()}
    assert undeclared == set()


def test_every_declaration_is_of_a_route(app: OpenAPI) -> None:
    endpoints = {rule.endpoint for rule in app.url_map.iter_rules()}
    declared = endpoints | {endpoint.rpartition(".")[0] for endpoint in endpoints}
    assert NEEDED.keys() - declared == set()


def test_only_health_documents_the_login_and_the_console_are_open(app: OpenAPI) -> None:
    endpoints = {rule.endpoint: rule.rule for rule in app.url_map.iter_rules()}
    found = {rule for endpoint, rule in endpoints.items() if needed_for(endpoint) is None}
    api = {rule for rule in found if not rule.startswith(("/docs", "/static"))}
    assert api == {"/healthz", "/readyz", "/openapi.json", "/v1/session", "/", "/console/<name>"}


def test_a_route_that_nobody_has_declared_is_the_admins() -> None:
    assert needed_for("jobs.read_job") == {"jobs"}
    assert needed_for("new.route") == needed_for("new") == ADMIN == {"admin"}
    assert needed_for(None) == frozenset()
