"""Requests with and without keys: what is let in, and how the others are refused."""

import gzip
import json
import socket
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from flask_openapi.openapi import OpenAPI
from werkzeug.test import TestResponse, create_environ, run_wsgi_app
from werkzeug.wrappers import Response

from api.app import create_app
from api.auth.authentication import WrongKeyGuard
from api.auth.bounded_verifier import PAUSE_S, BoundedVerifier
from api.auth.credentials import Credentials
from api.auth.lookups import Lookups
from api.auth.scopes import needed_for
from api.services import Services
from shared import keys
from shared.errors import TooManyRequests, Unauthorized
from shared.settings import Settings
from shared.tenants.api_key import ApiKey
from shared.tenants.scopes import SCOPES
from tests.api.api_keys import BOOTSTRAP_KEY, UNKNOWN_KEY, basic, bearer, make_key
from tests.api.gunicorn_server import call, environment, serving
from tests.counting_redis import CountingRedis

#: Values of parameters of a path that are no ids.
VALUES = {"n": 0, "name": "anime"}
#: What the names of endpoints begin with whose errors have the shape of another API.
OPENAI, A1111 = "openai.", "a1111."


def calls(app: OpenAPI) -> list[tuple[str, str, str]]:
    """Method, path and endpoint of every route that needs a key."""
    adapter = app.url_map.bind("localhost")
    found = []
    for rule in app.url_map.iter_rules():
        if needed_for(rule.endpoint) is not None:
            path = adapter.build(rule.endpoint, {name: VALUES.get(name, "0" * 16) for name in rule.arguments})
            found += [(method, path, rule.endpoint) for method in rule.methods - {"OPTIONS"}]
    assert len(found) > 30
    return found


def code_of(answer: TestResponse, endpoint: str) -> str:
    """The code of a refusal, in the shape of the errors of its API."""
    if endpoint.startswith(OPENAI):
        return str(answer.json["error"]["code"])
    if endpoint.startswith(A1111):
        assert set(answer.json) == {"error", "detail", "body", "errors"}
        return str(answer.json["error"])
    assert answer.content_type == "application/problem+json"
    return str(answer.json["code"])


def test_without_a_key_every_route_that_needs_one_refuses(
    keyed_app: OpenAPI, keyed_client: FlaskClient
) -> None:
    for method, path, endpoint in calls(keyed_app):
        answer = keyed_client.open(path, method=method)
        assert answer.status_code == 401, (method, path)
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="swiftdiffusion"'
        assert method == "HEAD" or code_of(answer, endpoint) == "key_missing"


def test_a_key_without_the_scope_is_refused_naming_it(keyed_app: OpenAPI, keyed_client: FlaskClient) -> None:
    made = {scope: make_key(keyed_client, scopes=[scope]) for scope in SCOPES if scope != "admin"}
    for method, path, endpoint in calls(keyed_app):
        needed = needed_for(endpoint)
        for scope, key in made.items():
            answer = keyed_client.open(path, method=method, headers=bearer(key))
            if not needed or scope in needed:
                assert answer.status_code not in (401, 500), (method, path)
                continue
            assert answer.status_code == 403, (method, path)
            assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
            if method != "HEAD":
                assert code_of(answer, endpoint) == "scope_missing"
                assert " or ".join(sorted(needed)) in answer.text


def test_an_admin_may_do_everything(keyed_app: OpenAPI, keyed_client: FlaskClient) -> None:
    for method, path, _ in calls(keyed_app):
        answer = keyed_client.open(path, method=method, headers=bearer())
        assert answer.status_code not in (401, 403, 500), (method, path)


def test_health_documents_and_preflights_need_no_key(keyed_client: FlaskClient) -> None:
    assert keyed_client.get("/healthz").status_code == 200
    assert keyed_client.get("/readyz").status_code == 503  # no worker
    assert keyed_client.get("/openapi.json").status_code == 200
    assert keyed_client.get("/docs", follow_redirects=True).status_code == 200
    assert keyed_client.options("/v1/jobs").status_code == 200
    assert keyed_client.get("/metrics").status_code == 401


def test_a_path_that_does_not_exist_is_told_to_those_with_a_key(keyed_client: FlaskClient) -> None:
    assert keyed_client.get("/v1/nothing").status_code == 401
    assert keyed_client.get("/v1/nothing", headers=bearer()).status_code == 404
    assert keyed_client.open("/v1/jobs", method="PATCH", headers=bearer()).status_code == 405


def test_a_key_may_be_basics_password(keyed_client: FlaskClient) -> None:
    for header in (basic("anybody", BOOTSTRAP_KEY), basic(BOOTSTRAP_KEY, "")):
        assert keyed_client.get("/v1/jobs", headers=header).status_code == 200


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("password", "key_malformed"),
        (BOOTSTRAP_KEY[:-1], "key_malformed"),
        (UNKNOWN_KEY, "key_unknown"),
    ],
)
def test_a_wrong_key_has_a_clear_error_that_does_not_repeat_it(
    keyed_client: FlaskClient, key: str, code: str
) -> None:
    answer = keyed_client.get("/v1/jobs", headers=bearer(key))
    assert (answer.status_code, answer.json["code"]) == (401, code)
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    assert key not in answer.text + str(answer.headers)


def test_the_body_of_a_request_without_a_key_is_not_read(keyed_client: FlaskClient) -> None:
    answer = keyed_client.post("/v1/jobs", data="{", content_type="application/json")
    assert answer.status_code == 401


def test_who_has_no_key_cannot_fill_the_memory_of_bodies(
    client: FlaskClient, keyed_client: FlaskClient
) -> None:
    long = json.dumps({"key": "x" * 20_000})
    for headers in ({}, {"Content-Encoding": "gzip"}):
        data = gzip.compress(long.encode()) if headers else long
        answer = keyed_client.post("/v1/session", data=data, headers=headers, content_type="application/json")
        assert (answer.status_code, answer.json["code"]) == (413, "too_large")
    assert client.post("/v1/session", data=long, content_type="application/json").status_code == 422


def test_too_many_wrong_keys_are_refused_before_anything_else(keyed: Services, services: Services) -> None:
    settings = keyed.settings.model_copy(update={"wrong_keys_per_min": 3})
    client = create_app(replace(keyed, settings=settings)).test_client()
    right = bearer(make_key(client, scopes=["jobs"]))
    assert client.get("/v1/jobs", headers=right).status_code == 200
    for _ in range(3):
        assert client.get("/v1/jobs", headers=bearer("wrong")).status_code == 401
    answer = client.get("/healthz", headers=bearer("wrong"))
    assert (answer.status_code, answer.json["code"]) == (429, "too_many_requests")
    assert answer.headers["RateLimit-Policy"] == '"wrong-keys";q=3;w=60'
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert client.get("/v1/jobs", headers=right).status_code == 200
    assert client.get("/healthz").status_code == 200
    elsewhere = client.get("/v1/jobs", headers=bearer("wrong"), environ_base={"REMOTE_ADDR": "10.0.0.9"})
    assert elsewhere.status_code == 401


def test_a_refusal_for_too_many_wrong_keys_waits_and_others_do_not(keyed: Services) -> None:
    settings = keyed.settings.model_copy(update={"wrong_keys_per_min": 1})
    verifier, pauses = replace(keyed, settings=settings).verifier, list[float]()
    bounded = BoundedVerifier(verifier, Lookups(pauses.append), pauses.append)
    guard = WrongKeyGuard(Response("through"), bounded)
    with pytest.raises(Unauthorized):
        verifier.principal_of(Credentials("key", "wrong"), "127.0.0.1")
    environs = [create_environ(headers=one) for one in ({}, bearer("wrong"), bearer("wrong"), {})]
    statuses = [run_wsgi_app(guard, {**one, "REMOTE_ADDR": "127.0.0.1"})[1] for one in environs]
    assert [status.split()[0] for status in statuses] == ["200", "429", "429", "200"]
    assert [PAUSE_S[0] <= pause <= PAUSE_S[1] for pause in pauses] == [True, True]


def test_beyond_a_number_that_are_held_back_at_once_refusals_do_not_wait(keyed: Services) -> None:
    settings = keyed.settings.model_copy(update={"wrong_keys_per_min": 1})
    verifier, waiting, refused = replace(keyed, settings=settings).verifier, list[float](), list[str]()

    def send_another(seconds: float) -> None:
        """While this one waits the next one comes."""
        waiting.append(seconds)
        send()

    bounded = BoundedVerifier(verifier, Lookups(waiting.append), send_another, held_back=3)

    def send() -> None:
        with pytest.raises(TooManyRequests) as error:
            bounded.principal_of(Credentials("key", "wrong"), "127.0.0.1")
        refused.append(error.value.policy)

    with pytest.raises(Unauthorized):
        verifier.principal_of(Credentials("key", "wrong"), "127.0.0.1")
    send()
    assert (len(waiting), len(refused)) == (3, 4)


def test_a_wrong_key_is_looked_up_once_and_only_where_a_key_counts(
    keyed: Services, services: Services
) -> None:
    control = CountingRedis(services.control)
    client = create_app(replace(keyed, control=control)).test_client()
    name = keys.api_key(ApiKey.parse(UNKNOWN_KEY).id)
    for path, status, count in (("/v1/jobs", 401, 1), ("/readyz", 503, 1), ("/healthz", 200, 0)):
        control.calls.clear()
        assert client.get(path, headers=bearer(UNKNOWN_KEY)).status_code == status
        assert [call for call in control.calls if name in call] == [("HGETALL", name)] * count


def test_a_real_server_answers_a_right_key_while_it_holds_wrong_ones_back(servers: Settings) -> None:
    own = {"SWIFT_AUTH": "keys", "SWIFT_BOOTSTRAP_KEY": BOOTSTRAP_KEY, "SWIFT_WRONG_KEYS_PER_MIN": "1"}
    with serving({**environment(servers), **own}) as (port, _):
        assert call(port, "GET", "/v1/jobs", **bearer())[0].status == 200
        assert call(port, "GET", "/v1/jobs", **bearer("wrong"))[0].status == 401
        flood = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(20)]
        request = "GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer wrong\r\n\r\n"
        for client in flood:
            client.sendall(request.encode())
        # The same address has a right key: it need not wait
        assert call(port, "GET", "/v1/jobs", **bearer())[0].status == 200
        told = [client.recv(65536) for client in flood]
        assert all(answer.startswith(b"HTTP/1.1 429") and b"Retry-After" in answer for answer in told)
        for client in flood:
            client.close()


def test_with_authentication_off_any_key_is_taken(client: FlaskClient) -> None:
    for headers in ({}, bearer("sk-anything"), basic("a", "b"), {"Authorization": "nonsense"}):
        assert client.get("/v1/jobs", headers=headers).status_code == 200


def test_the_document_says_how_to_authenticate(client: FlaskClient, keyed_client: FlaskClient) -> None:
    document = keyed_client.get("/openapi.json").json
    assert [name for one in document["security"] for name in one] == ["bearer", "basic", "session"]
    schemes = document["components"]["securitySchemes"]
    assert schemes["bearer"]["scheme"] == "bearer"
    assert schemes["session"]["name"] == "swift_session"
    assert "security" not in client.get("/openapi.json").json
