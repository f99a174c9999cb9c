"""The web over real servers, empty at the start of each test."""

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.services import Services, connect
from shared.catalogue import read_catalogue
from shared.settings import Settings


@pytest.fixture
def settings(servers: Settings, tmp_path: Path) -> Settings:
    return servers.model_copy(update={"home": tmp_path})


@pytest.fixture
def services(settings: Settings) -> Services:
    services = connect(settings, read_catalogue(settings.catalog))
    services.control.flushdb()
    for bucket in (services.loras, services.images):
        for blob in list(bucket.list()):
            bucket.delete(blob.key)
    return services


@pytest.fixture
def client(services: Services) -> FlaskClient:
    return create_app(services).test_client()
