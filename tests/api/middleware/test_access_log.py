"""What the log says of requests."""

import logging
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.services import Services
from shared.logs import TextLines
from tests.api.api_keys import BOOTSTRAP_KEY, bearer


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="api.access")
    return caplog


def line(log: pytest.LogCaptureFixture) -> logging.LogRecord:
    """The only one of the access log."""
    (found,) = (record for record in log.records if record.name == "api.access")
    return found


def fields(log: pytest.LogCaptureFixture) -> dict[str, Any]:
    return vars(line(log))


def test_a_request_is_a_line(client: FlaskClient, log: pytest.LogCaptureFixture) -> None:
    answer = client.get("/v1/jobs/nowhere?token=secret", buffered=True)
    told = fields(log)
    assert {name: told[name] for name in ("method", "route", "path", "status", "bytes", "client")} == {
        "method": "GET",
        "route": "/v1/jobs/<id>",
        "path": "/v1/jobs/nowhere",
        "status": 404,
        "bytes": len(answer.data),
        "client": "127.0.0.1",
    }
    assert told["ms"] >= 0
    assert "secret" not in TextLines({}).format(line(log))


def test_whose_key_it_was_is_in_the_line(keyed_client: FlaskClient, log: pytest.LogCaptureFixture) -> None:
    keyed_client.get("/v1/jobs", headers=bearer(), buffered=True)
    told = fields(log)
    assert (told["tenant"], told["key"]) == ("local", BOOTSTRAP_KEY.split("_")[1])
    assert BOOTSTRAP_KEY not in TextLines({}).format(line(log))
    log.clear()
    keyed_client.get("/v1/jobs", buffered=True)
    assert "tenant" not in fields(log)


def test_nothing_in_a_path_forges_a_line(client: FlaskClient, log: pytest.LogCaptureFixture) -> None:
    client.get("/v1/jobs/x%0d%0atime=now level=info message=forged%1b[2J", buffered=True)
    assert TextLines({}).format(line(log)).isprintable()


def test_a_stream_is_logged_at_its_end_with_all_its_bytes(
    client: FlaskClient, log: pytest.LogCaptureFixture
) -> None:
    job_id = client.post("/v1/jobs", json={"prompt": "a cat"}, buffered=True).json["id"]
    client.delete(f"/v1/jobs/{job_id}", buffered=True)
    log.clear()
    answer = client.get(f"/v1/jobs/{job_id}/events", buffered=True)
    told = fields(log)
    assert (told["route"], told["bytes"]) == ("/v1/jobs/<id>/events", len(answer.data))


@pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/v1/jobs", 421)])
def test_refusals_are_logged_too(
    client: FlaskClient, log: pytest.LogCaptureFixture, path: str, status: int
) -> None:
    client.get(path, headers={"Host": "evil.example"} if status == 421 else {}, buffered=True)
    assert fields(log)["status"] == status


def test_it_can_be_switched_off(services: Services, log: pytest.LogCaptureFixture) -> None:
    silent = replace(services, settings=services.settings.model_copy(update={"access_log": False}))
    create_app(silent).test_client().get("/healthz", buffered=True)
    assert "api.access" not in {record.name for record in log.records}
