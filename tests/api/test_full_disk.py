"""A control Redis whose disk is full: a real one, which may not let its append-only file grow."""

from pathlib import Path

from flask.testing import FlaskClient

from api.app import create_app
from api.services import Services, connect
from shared.settings import Settings
from tests.infra.local.redis_on_full_disk import limit_files, running_server
from tests.infra.local.waiting import eventually

JOB = {"prompt": "a red apple"}


def test_jobs_are_refused_on_a_full_disk_and_accepted_once_there_is_space(
    services: Services, servers: Settings, tmp_path: Path
) -> None:
    with running_server(tmp_path) as (redis, server):
        port = redis.connection_pool.connection_kwargs["port"]
        settings = servers.model_copy(update={"redis_url": f"redis://127.0.0.1:{port}/0"})
        client = create_app(connect(settings, services.catalog)).test_client()
        assert submit(client) == 202
        # When nothing more can be written to the file
        limit_files(server, 1)
        eventually(lambda: submit(client) != 202)
        # Then the answer is "later", not "a bug", until it can
        answer = client.post("/v1/jobs", json=JOB)
        assert (answer.status_code, answer.json["code"]) == (503, "unavailable")
        assert "Retry-After" in answer.headers
        limit_files(server)
        assert eventually(lambda: submit(client) == 202, timeout_s=60)


def submit(client: FlaskClient) -> int:
    return client.post("/v1/jobs", json=JOB).status_code
