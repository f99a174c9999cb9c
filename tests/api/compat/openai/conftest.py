"""The official client, the API as it is run over real servers, and a thread that stands for a worker."""

import json
from collections.abc import Iterator

import pytest
from openai import OpenAI

from api.services import Services, connect
from shared.catalog.catalog import read_catalog
from shared.settings import Settings
from tests.api.compat.fake_worker import FakeWorker
from tests.api.gunicorn_server import environment, serving


@pytest.fixture(scope="session")
def own_servers(servers: Settings) -> Settings:
    """With a database of the control Redis of their own: the API runs on beside tests of other files."""
    return servers.model_copy(update={"redis_url": servers.redis_url.removesuffix("/0") + "/7"})


@pytest.fixture(scope="session")
def served(own_servers: Settings) -> Services:
    """What the API of `port` is built on."""
    return connect(own_servers, read_catalog(own_servers.catalog))


@pytest.fixture(scope="session")
def port(own_servers: Settings) -> Iterator[int]:
    """Of an API of this folder's tests."""
    variables = {"SWIFT_OPENAI_MODELS": "sd-turbo=emoji-sd", "SWIFT_MAX_IMAGES": "4"}
    with serving({**environment(own_servers), **variables}) as (port, _):
        yield port


@pytest.fixture
def openai(port: int, services: Services) -> Iterator[OpenAI]:
    """`services` has emptied the servers."""
    with OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="any", timeout=60) as client:
        yield client


@pytest.fixture
def worker(services: Services) -> Iterator[FakeWorker]:
    worker = FakeWorker(services)
    worker.start()
    yield worker
    worker.stop()


def error_of(error: object) -> dict[str, object]:
    """What the client read in a refusal."""
    body = getattr(error, "body", None)
    assert isinstance(body, dict), error
    assert set(body) == {"message", "type", "param", "code"}, json.dumps(body)
    return body
