"""Real clients of A1111's API."""

from collections.abc import Iterator

import pytest
from sd_backend_client.api.a1111_webservice import A1111Webservice
from webuiapi import WebUIApi

from api.services import Services


@pytest.fixture
def webui(port: int, services: Services) -> WebUIApi:
    """`services` has emptied the servers."""
    return WebUIApi(host="127.0.0.1", port=port, sampler="Euler a", steps=4)


@pytest.fixture
def backend(port: int, services: Services) -> Iterator[A1111Webservice]:
    client = A1111Webservice(f"http://127.0.0.1:{port}", generation_timeout=60)
    yield client
    client.disconnect()
