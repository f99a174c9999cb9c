"""Sessions of browsers: a cookie that only the API's own pages make a browser send."""

from contextlib import ExitStack
from dataclasses import fields, replace
from functools import cached_property

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.auth.bounded_verifier import BoundedVerifier
from api.auth.lookups import AT_ONCE, Lookups
from api.services import Services
from shared.tenants.api_key import ApiKey
from shared.tenants.sessions import MAX_SESSIONS
from tests.api.api_keys import BOOTSTRAP_KEY, UNKNOWN_KEY, bearer, make_key, make_tenant

COOKIE = "swift_session"


def log_in(client: FlaskClient, key: str = BOOTSTRAP_KEY) -> str:
    """Log in; returns the token that changes must repeat."""
    answer = client.post("/v1/session", json={"key": key})
    assert answer.status_code == 200, answer.json
    token: str = answer.json["csrf_token"]
    return token


def test_a_login_sets_a_cookie_that_no_script_and_no_other_site_can_use(keyed_client: FlaskClient) -> None:
    answer = keyed_client.post("/v1/session", json={"key": BOOTSTRAP_KEY})
    cookie = answer.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert BOOTSTRAP_KEY not in answer.text + cookie
    assert answer.headers["Cache-Control"] == "no-store"
    secure = keyed_client.post("/v1/session", json={"key": BOOTSTRAP_KEY}, base_url="https://localhost")
    assert "Secure" in secure.headers["Set-Cookie"].split("; ")


def test_a_session_reads_what_its_key_may(keyed_client: FlaskClient) -> None:
    key = make_key(keyed_client, scopes=["jobs"])
    log_in(keyed_client, key)
    assert keyed_client.get("/v1/jobs").status_code == 200
    assert keyed_client.get("/v1/fleet").status_code == 403
    who = keyed_client.get("/v1/session").json
    assert (who["tenant"], who["scopes"], who["key_id"]) == ("local", ["jobs"], ApiKey.parse(key).id)


@pytest.mark.parametrize(
    "headers", [{}, {"X-CSRF-Token": "wrong"}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "ä"}]
)
def test_a_change_without_the_sessions_token_is_refused(
    keyed_client: FlaskClient, headers: dict[str, str]
) -> None:
    token = log_in(keyed_client)
    for method, path in (("POST", "/v1/jobs"), ("POST", "/v1/tenants"), ("DELETE", "/v1/session")):
        answer = keyed_client.open(path, method=method, json={}, headers=headers)
        assert (answer.status_code, answer.json["code"]) == (403, "csrf_token_missing")
    answer = keyed_client.post("/v1/jobs", json={"prompt": "a cat"}, headers={"X-CSRF-Token": token})
    assert answer.status_code == 202


def test_the_token_can_be_read_again_with_the_cookie_alone(keyed_client: FlaskClient) -> None:
    token = log_in(keyed_client)
    assert keyed_client.get("/v1/session").json["csrf_token"] == token
    assert keyed_client.get("/v1/session", headers=bearer()).json["csrf_token"] is None


def test_a_key_in_the_header_needs_no_token(keyed_client: FlaskClient) -> None:
    log_in(keyed_client)
    answer = keyed_client.post("/v1/jobs", json={"prompt": "a cat"}, headers=bearer())
    assert answer.status_code == 202


def test_a_session_that_was_closed_is_over_though_the_cookie_is_sent(keyed_client: FlaskClient) -> None:
    token = log_in(keyed_client)
    cookie = keyed_client.get_cookie(COOKIE)
    assert cookie is not None
    answer = keyed_client.delete("/v1/session", headers={"X-CSRF-Token": token})
    assert answer.status_code == 204
    assert keyed_client.get_cookie(COOKIE) is None
    keyed_client.set_cookie(COOKIE, cookie.value)
    answer = keyed_client.get("/v1/jobs")
    assert (answer.status_code, answer.json["code"]) == (401, "session_ended")


def test_a_session_ends_with_its_key(keyed_client: FlaskClient) -> None:
    key = make_key(keyed_client)
    log_in(keyed_client, key)
    keyed_client.delete(f"/v1/tenants/local/keys/{ApiKey.parse(key).id}", headers=bearer())
    answer = keyed_client.get("/v1/jobs")
    assert (answer.status_code, answer.json["code"]) == (401, "key_revoked")


@pytest.mark.parametrize(
    ("key", "code"),
    [("x", "key_malformed"), (UNKNOWN_KEY, "key_unknown")],
    ids=["malformed", "unknown"],  # those of pytest would differ between the processes of a run
)
def test_a_wrong_key_begins_no_session(keyed_client: FlaskClient, key: str, code: str) -> None:
    answer = keyed_client.post("/v1/session", json={"key": key})
    assert (answer.status_code, answer.json["code"]) == (401, code)
    assert "Set-Cookie" not in answer.headers


def test_wrong_logins_count_as_wrong_keys(keyed: Services, services: Services) -> None:
    settings = keyed.settings.model_copy(update={"wrong_keys_per_min": 2})
    client = create_app(replace(keyed, settings=settings)).test_client()
    statuses = [client.post("/v1/session", json={"key": "x"}).status_code for _ in range(3)]
    assert statuses == [401, 401, 429]


class OneTurnServices(Services):
    """Services whose logins do not wait for their turn."""

    @cached_property
    def lookups(self) -> Lookups:
        return Lookups(lambda _: None, longest_wait_s=0.01)

    @cached_property
    def bounded_verifier(self) -> BoundedVerifier:
        return BoundedVerifier(self.verifier, self.lookups, lambda _: None)


def test_logins_take_turns_with_other_keys(keyed: Services, services: Services) -> None:
    given = OneTurnServices(**{field.name: getattr(keyed, field.name) for field in fields(keyed)})
    client = create_app(given).test_client()
    with ExitStack() as turns:
        for _ in range(AT_ONCE):
            turns.enter_context(given.lookups.turn())
        assert client.post("/v1/session", json={"key": BOOTSTRAP_KEY}).status_code == 503
    log_in(client)
    # A key that was right lately takes no turn
    with ExitStack() as turns:
        for _ in range(AT_ONCE):
            turns.enter_context(given.lookups.turn())
        log_in(client)


def test_logins_count_for_the_limit_of_the_keys_tenant(keyed_client: FlaskClient) -> None:
    make_tenant(keyed_client, "acme", limits={"requests_per_s": 2})
    key = make_key(keyed_client, "acme")
    # A second window may begin in between
    answers = [keyed_client.post("/v1/session", json={"key": key}) for _ in range(8)]
    assert [answer.status_code for answer in answers[:2]] == [200, 200]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) >= 3
    assert refused[0].headers["RateLimit-Policy"] == '"requests";q=2;w=1'
    assert "Set-Cookie" not in refused[0].headers


def test_a_keys_sessions_do_not_fill_the_store(keyed_client: FlaskClient, services: Services) -> None:
    log_in(keyed_client)
    first = keyed_client.get_cookie(COOKIE)
    assert first is not None
    for _ in range(MAX_SESSIONS):
        log_in(keyed_client)
    assert len(services.control.keys("swift:session:*")) == MAX_SESSIONS
    keyed_client.set_cookie(COOKIE, first.value)
    answer = keyed_client.get("/v1/jobs")
    assert (answer.status_code, answer.json["code"]) == (401, "session_ended")


def test_a_cookie_of_a_prefix_is_for_that_prefix(keyed: Services, services: Services) -> None:
    settings = keyed.settings.model_copy(update={"trusted_proxies": 1})
    client = create_app(replace(keyed, settings=settings)).test_client()
    headers = {"X-Forwarded-Prefix": "/images-api", "X-Forwarded-Proto": "https"}
    answer = client.post("/v1/session", json={"key": BOOTSTRAP_KEY}, headers=headers)
    assert {"Path=/images-api", "Secure"} <= set(answer.headers["Set-Cookie"].split("; "))


def test_with_authentication_off_there_is_nothing_to_log_in_to(client: FlaskClient) -> None:
    answer = client.post("/v1/session", json={"key": "anything"})
    assert answer.status_code == 200
    assert "Set-Cookie" not in answer.headers
    who = {"tenant": "local", "key_id": None, "csrf_token": None, "expires_at": None}
    assert {name: answer.json[name] for name in who} == who
    assert client.get("/v1/session").json == answer.json
    assert client.delete("/v1/session").status_code == 204
