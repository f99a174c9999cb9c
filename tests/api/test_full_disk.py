"""A control Redis whose disk is full: a real one, which may not let its append-only file grow."""

import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.services import Services, connect
from infra.bench.harness.ports import free_ports
from infra.local.servers import redis_command, wait_for_redis
from shared.settings import Settings
from tests.infra.local.waiting import eventually

JOB = {"prompt": "a red apple"}


@pytest.fixture
def redis_of_its_own(tmp_path: Path) -> Iterator[tuple[str, psutil.Process]]:
    port = free_ports(1)[0]
    command = redis_command(port, tmp_path, persistent=True)
    # Python ignores SIGXFSZ; so does the server then, and writes fail as on a full disk
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, restore_signals=False)
    url = f"redis://127.0.0.1:{port}/0"
    wait_for_redis(url, 30)
    yield url, psutil.Process(server.pid)
    server.kill()
    server.wait()


def test_jobs_are_refused_on_a_full_disk_and_accepted_once_there_is_space(
    services: Services, servers: Settings, redis_of_its_own: tuple[str, psutil.Process]
) -> None:
    url, server = redis_of_its_own
    settings = servers.model_copy(update={"redis_url": url})
    client = create_app(connect(settings, services.catalog)).test_client()
    assert submit(client) == 202
    # When nothing more can be written to the file
    server.rlimit(psutil.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    eventually(lambda: submit(client) != 202)
    # Then the answer is "later", not "a bug", until it can
    answer = client.post("/v1/jobs", json=JOB)
    assert (answer.status_code, answer.json["code"]) == (503, "unavailable")
    assert "Retry-After" in answer.headers
    server.rlimit(psutil.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert eventually(lambda: submit(client) == 202, timeout_s=60)


def submit(client: FlaskClient) -> int:
    return client.post("/v1/jobs", json=JOB).status_code
