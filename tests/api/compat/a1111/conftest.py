"""Real clients of A1111's API, the API as it is run over real servers, and a worker's stand-in."""

from collections.abc import Iterator

import pytest
from sd_backend_client.api.a1111_webservice import A1111Webservice
from webuiapi import WebUIApi

from api.services import Services, connect
from shared.catalog.catalog import read_catalog
from shared.settings import Settings
from tests.api.compat.fake_worker import FakeWorker
from tests.api.gunicorn_server import environment, serving


@pytest.fixture(scope="session")
def own_servers(servers: Settings) -> Settings:
    """With a database of the control Redis of their own: the API runs on beside tests of other files."""
    return servers.model_copy(update={"redis_url": servers.redis_url.removesuffix("/0") + "/6"})


@pytest.fixture(scope="session")
def served(own_servers: Settings) -> Services:
    """What the API of `port` is built on."""
    return connect(own_servers, read_catalog(own_servers.catalog))


@pytest.fixture(scope="session")
def port(own_servers: Settings) -> Iterator[int]:
    """Of an API of this folder's tests."""
    variables = {"SWIFT_MAX_IMAGES": "4", "SWIFT_MAX_CONTROL_PX": "1000000"}
    with serving({**environment(own_servers), **variables}) as (port, _):
        yield port


@pytest.fixture
def webui(port: int, services: Services) -> WebUIApi:
    """`services` has emptied the servers."""
    return WebUIApi(host="127.0.0.1", port=port, sampler="Euler a", steps=4)


@pytest.fixture
def backend(port: int, services: Services) -> Iterator[A1111Webservice]:
    client = A1111Webservice(f"http://127.0.0.1:{port}", generation_timeout=60)
    yield client
    client.disconnect()


@pytest.fixture
def worker(services: Services) -> Iterator[FakeWorker]:
    worker = FakeWorker(services)
    worker.start()
    yield worker
    worker.stop()
