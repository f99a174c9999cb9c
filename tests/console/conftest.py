"""The console in a browser, over the API as it is really run, with Redis and S3 and without workers."""

from collections.abc import Iterator

import pytest

from api.services import Services, connect
from shared.catalog.catalog import read_catalog
from shared.settings import Settings
from tests.api.api_keys import BOOTSTRAP_KEY
from tests.api.gunicorn_server import environment, serving
from tests.browser import allowed_statuses, assert_accessible, browser, page, screenshot  # noqa: F401
from tests.empty_buckets import EmptyBuckets


@pytest.fixture(scope="session")
def own_servers(servers: Settings) -> Settings:
    """With a database of the control Redis of their own: these APIs run on beside tests of other files."""
    return servers.model_copy(update={"redis_url": servers.redis_url.removesuffix("/0") + "/5"})


@pytest.fixture(scope="session")
def api_only(own_servers: Settings) -> Iterator[str]:
    """The address of an API without authentication, and without workers."""
    with serving(environment(own_servers)) as (port, _):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def keyed_api(own_servers: Settings) -> Iterator[str]:
    """The address of one that asks for keys; `BOOTSTRAP_KEY` has all scopes."""
    keys = {"SWIFT_AUTH": "keys", "SWIFT_BOOTSTRAP_KEY": BOOTSTRAP_KEY, "SWIFT_AUTH_CACHE_S": "0.1"}
    with serving({**environment(own_servers), **keys}) as (port, _):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def connected(own_servers: Settings) -> Services:
    """Kept for the session: S3 clients take long to make."""
    return connect(own_servers, read_catalog(own_servers.catalog))


@pytest.fixture
def services(connected: Services, empty_buckets: EmptyBuckets) -> Services:
    """What the API is built on, emptied: for jobs, LoRAs and workers that a test makes up."""
    connected.control.flushdb()
    empty_buckets.empty(connected.loras, connected.images)
    return connected
