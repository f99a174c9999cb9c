"""Tests of compatible APIs ask the app in this process, or one API over sockets, with a worker's stand-in."""

import gc
from collections.abc import Iterator

import pytest

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
    """Of an API that the tests of all compatible APIs share: it takes seconds to start."""
    variables = {
        "SWIFT_MAX_CONTROL_PX": "1000000",
        "SWIFT_MAX_IMAGES": "4",
        "SWIFT_OPENAI_MODELS": "sd-turbo=emoji-sd",
    }
    with serving({**environment(own_servers), **variables}) as (port, _):
        yield port


@pytest.fixture
def services(request: pytest.FixtureRequest, services: Services) -> Services:
    """Those of the API over sockets, where a test asks it."""
    if "port" not in request.fixturenames:
        return services
    served: Services = request.getfixturevalue("served")
    served.control.flushdb()
    return served


@pytest.fixture
def worker(services: Services) -> Iterator[FakeWorker]:
    """A thread that stands for a worker."""
    worker = FakeWorker(services)
    worker.start()
    yield worker
    worker.stop()


@pytest.fixture
def only_new_objects() -> None:
    """Have `gc` pass over everything that is there: of tests before, it would visit millions of objects."""
    gc.collect()
    gc.freeze()
