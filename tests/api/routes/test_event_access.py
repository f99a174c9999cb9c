"""Event streams end with the key or session that opened them."""

import json
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.services import Services
from shared.settings import Settings
from shared.tenants.api_key import ApiKey
from tests.api.api_keys import BOOTSTRAP_KEY, bearer, make_key, make_tenant
from tests.api.gunicorn_server import call, environment, serving

#: Ends what a stream was opened with: a key of the tenant acme.
End = Callable[[FlaskClient, Services, str], object]


def revoke(client: FlaskClient, _: Services, key: str) -> None:
    path = f"/v1/tenants/acme/keys/{ApiKey.parse(key).id}"
    assert client.delete(path, headers=bearer()).status_code == 204


def expire(_: FlaskClient, services: Services, key: str) -> None:
    services.api_keys.expire("acme", ApiKey.parse(key).id, time.time())


def delete_tenant(client: FlaskClient, _: Services, key: str) -> None:
    assert client.delete("/v1/tenants/acme", headers=bearer()).status_code == 204


ENDS: list[tuple[End, str]] = [
    (revoke, "key_revoked"),
    (expire, "key_expired"),
    (delete_tenant, "key_unknown"),
]


@pytest.fixture
def key(keyed_client: FlaskClient) -> str:
    make_tenant(keyed_client, "acme")
    return make_key(keyed_client, "acme", scopes=["jobs"])


@pytest.fixture
def job_id(keyed_client: FlaskClient, key: str) -> str:
    answer = keyed_client.post("/v1/jobs", json={"prompt": "a cat"}, headers=bearer(key))
    return str(answer.json["id"])


def events(answer: TestResponse) -> Iterator[tuple[str, dict[str, str]]]:
    """Kind and data of each event; every block is a chunk."""
    for chunk in answer.response:
        text = chunk.decode() if isinstance(chunk, bytes) else chunk
        fields = dict(line.split(": ", 1) for line in text.splitlines() if line and not line.startswith(":"))
        if "event" in fields:
            yield fields["event"], json.loads(fields["data"])


@pytest.mark.parametrize(("end", "code"), ENDS, ids=[code for _, code in ENDS])
@pytest.mark.parametrize("path", ["/v1/events", "/v1/jobs/{}/events", "/v1/events?job={}"])
def test_a_quiet_stream_ends_with_its_key_and_says_why(
    keyed_client: FlaskClient, services: Services, key: str, job_id: str, path: str, end: End, code: str
) -> None:
    stream = keyed_client.get(path.format(job_id), headers=bearer(key))
    assert stream.status_code == 200
    end(keyed_client, services, key)
    *earlier, (kind, data) = events(stream)
    assert (kind, data["code"]) == ("unauthorized", code)
    assert [kind for kind, _ in earlier] in ([], ["status"])
    # And a client that opens it again is told the same
    again = keyed_client.get(path.format(job_id), headers=bearer(key))
    assert (again.status_code, again.json["code"]) == (401, code)


def test_no_event_that_happens_after_the_revocation_is_sent(
    keyed_client: FlaskClient, services: Services, key: str, job_id: str
) -> None:
    stream = keyed_client.get("/v1/events", headers=bearer(key))
    revoke(keyed_client, services, key)
    services.jobs.cancel(job_id)
    assert [kind for kind, _ in events(stream)] == ["unauthorized"]


def test_the_stream_of_another_key_of_the_tenant_goes_on(
    keyed_client: FlaskClient, services: Services, key: str, job_id: str
) -> None:
    other = make_key(keyed_client, "acme", scopes=["jobs"])
    stream = keyed_client.get(f"/v1/jobs/{job_id}/events", headers=bearer(other))
    revoke(keyed_client, services, key)
    services.jobs.cancel(job_id)
    assert [kind for kind, _ in events(stream)] == ["status", "status", "done"]


@pytest.mark.parametrize("end", ["log out", "revoke the key"])
def test_a_browsers_stream_ends_with_its_session(
    keyed_client: FlaskClient, services: Services, key: str, end: str
) -> None:
    login = keyed_client.post("/v1/session", json={"key": key})
    stream = keyed_client.get("/v1/events")
    if end == "log out":
        answer = keyed_client.delete("/v1/session", headers={"X-CSRF-Token": login.json["csrf_token"]})
        assert answer.status_code == 204
    else:
        revoke(keyed_client, services, key)
    ((kind, data),) = events(stream)
    assert kind == "unauthorized"
    assert data["code"] == ("session_ended" if end == "log out" else "key_revoked")


def test_a_stream_of_a_real_server_is_closed_when_its_key_is_revoked(servers: Settings) -> None:
    own = {"SWIFT_AUTH": "keys", "SWIFT_BOOTSTRAP_KEY": BOOTSTRAP_KEY, "SWIFT_AUTH_CACHE_S": "0.1"}
    with serving({**environment(servers), **own}) as (port, _):
        path = "/v1/tenants/local/keys"
        made = json.loads(call(port, "POST", path, {"scopes": ["jobs"]}, **bearer())[1])
        headers = ["Host: localhost", f"Authorization: Bearer {made['key']}", "Connection: close"]
        request = "\r\n".join(["GET /v1/events HTTP/1.1", *headers, "", ""])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            client.sendall(request.encode())
            assert client.recv(65536).startswith(b"HTTP/1.1 200")
            assert call(port, "DELETE", f"{path}/{made['id']}", **bearer())[0].status == 204
            rest = b"".join(iter(lambda: client.recv(65536), b""))
    assert b"event: unauthorized" in rest
    assert b"key_revoked" in rest
