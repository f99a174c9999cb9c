"""Which Host headers are allowed, and which origins may change something."""

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from flask_openapi.openapi import OpenAPI

from api.services import Services
from shared.errors import InvalidSetting

ClientOf = Callable[..., FlaskClient]


@pytest.fixture
def client_of(app_with: Callable[..., OpenAPI], services: Services) -> ClientOf:
    """Makes clients of apps that allow these hosts; `services` has emptied the servers."""

    def make(*allowed: str, **changes: object) -> FlaskClient:
        return app_with(allowed_hosts=allowed, **changes).test_client()

    return make


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8080",
        "127.0.0.1",
        "127.0.0.1:1",
        "[::1]",
        "[::1]:8080",
        "localhost.",
        "a.localhost",
    ],
)
def test_loopback_names_are_allowed(client: FlaskClient, host: str) -> None:
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "localhost@evil.example",
        "127.0.0.1.evil.example",
        "10.1.2.3",
        "0.0.0.0",
        "[::2]",
        "2130706433",
        "localhost:port",
        "local host",
        "[::1",
        "",
        "\xff",
    ],
)
def test_other_hosts_are_refused_naming_the_setting(client: FlaskClient, host: str) -> None:
    for method, path in (("GET", "/healthz"), ("POST", "/v1/jobs"), ("PUT", "/v1/jobs"), ("GET", "/nowhere")):
        answer = client.open(path, method=method, headers={"Host": host})
        assert (answer.status_code, answer.json["code"]) == (421, "misdirected_request")
        assert answer.content_type == "application/problem+json"
        assert "SWIFT_ALLOWED_HOSTS" in answer.json["detail"]


@pytest.mark.parametrize(
    ("allowed", "host"),
    [
        ("api.example.com", "API.example.com:80"),
        (".example.com", "example.com"),
        (".example.com", "a.b.example.com"),
        ("*.example.com", "a.example.com"),
        ("10.0.0.0/8", "10.9.8.7:8080"),
        ("fd00::/8", "[fd00::7]:8080"),
        ("192.168.1.5", "192.168.1.5"),
        ("*", "whatever.example"),
    ],
)
def test_hosts_that_an_operator_lists_are_allowed(client_of: ClientOf, allowed: str, host: str) -> None:
    client = client_of(allowed)
    assert client.get("/healthz", headers={"Host": host}).status_code == 200
    if allowed != "*":
        assert client.get("/healthz", headers={"Host": "evil.example"}).status_code == 421
        assert client.get("/healthz", headers={"Host": "evilexample.com"}).status_code == 421


def test_the_address_that_the_api_listens_on_is_allowed(client_of: ClientOf) -> None:
    client = client_of(api_host="10.1.2.3")
    assert client.get("/healthz", headers={"Host": "10.1.2.3:8080"}).status_code == 200
    everywhere = client_of(api_host="0.0.0.0")
    assert everywhere.get("/healthz", headers={"Host": "0.0.0.0"}).status_code == 421


@pytest.mark.parametrize("listed", ["10.0.0.0/99", "http://example.com", "two words", "é.example"])
def test_a_malformed_host_in_the_setting_stops_the_start(listed: str, client_of: ClientOf) -> None:
    with pytest.raises(InvalidSetting, match=f"SWIFT_ALLOWED_HOSTS: {listed!r}"):
        client_of("example.com", listed)


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "file://"},
    {"Origin": "http://localhost http://evil.example"},
    {"Sec-Fetch-Site": "cross-site"},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_pages_of_other_origins_may_not_change_anything(client: FlaskClient, headers: dict[str, str]) -> None:
    for method, path in (
        ("POST", "/v1/jobs"),
        ("DELETE", "/v1/jobs/x"),
        ("PUT", "/v1/loras/x"),
        ("DELETE", "/v1/loras/x"),
        ("POST", "/v1/loras/x/upload"),
        ("POST", "/v1/loras/x/complete?upload=y"),
    ):
        answer = client.open(path, method=method, headers=headers, json={"prompt": "a cat"})
        assert (answer.status_code, answer.json["code"]) == (403, "forbidden")
        assert answer.content_type == "application/problem+json"
    assert client.get("/v1/jobs").json["jobs"] == []


@pytest.mark.parametrize("headers", FOREIGN)
def test_reads_from_other_origins_are_answered_without_cors(
    client: FlaskClient, headers: dict[str, str]
) -> None:
    answer = client.get("/v1/jobs", headers=headers)
    assert answer.status_code == 200
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    ("allowed", "host", "origin"),
    [
        ((), "localhost", "http://localhost"),
        ((), "127.0.0.1:8080", "http://127.0.0.1:8080"),
        ((), "localhost:8080", "http://localhost:3000"),
        ((), "[::1]:8080", "http://[::1]:8080"),
        (("*",), "api.example.com", "https://api.example.com"),
        (("console.example.com",), "localhost", "https://console.example.com"),
    ],
)
def test_pages_of_the_api_and_of_listed_hosts_may_change_things(
    client_of: ClientOf, allowed: tuple[str, ...], host: str, origin: str
) -> None:
    headers = {"Host": host, "Origin": origin, "Sec-Fetch-Site": "cross-site"}
    answer = client_of(*allowed).post("/v1/jobs", headers=headers, json={"prompt": "a cat"})
    assert answer.status_code == 202


def test_allowing_every_host_does_not_allow_every_origin(client_of: ClientOf) -> None:
    headers = {"Host": "api.example.com", "Origin": "https://evil.example"}
    answer = client_of("*").post("/v1/jobs", headers=headers, json={"prompt": "a cat"})
    assert answer.status_code == 403
