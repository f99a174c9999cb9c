"""The web over real servers, empty at the start of each test."""

import pytest
from flask.testing import FlaskClient
from flask_openapi.openapi import OpenAPI

from api.app import create_app
from api.services import Services, connect
from shared.catalogue import read_catalogue
from shared.settings import Settings


@pytest.fixture(scope="session")
def connected(servers: Settings) -> Services:
    """Kept for the session: S3 clients take long to make."""
    return connect(servers, read_catalogue(servers.catalog))


@pytest.fixture(scope="session")
def app(connected: Services) -> OpenAPI:
    """Kept for the session: the OpenAPI document takes long to make."""
    return create_app(connected)


@pytest.fixture
def services(connected: Services) -> Services:
    connected.control.flushdb()
    for bucket in (connected.loras, connected.images):
        for blob in list(bucket.list()):
            bucket.delete(blob.key)
    return connected


@pytest.fixture
def client(app: OpenAPI, services: Services) -> FlaskClient:
    return app.test_client()
