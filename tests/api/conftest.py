"""The web over real servers, empty at the start of each test. It answers nothing that its document hides."""

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import flask_openapi.utils
import pytest
from flask import Response, request, request_finished
from flask.testing import FlaskClient
from flask_openapi.openapi import OpenAPI

from api.app import create_app
from api.services import Services, connect
from shared.catalog.catalog import read_catalog
from shared.registry.live_workers import LiveWorkersCache
from shared.settings import Settings
from tests.api.api_keys import BOOTSTRAP_KEY
from tests.empty_buckets import EmptyBuckets


@pytest.fixture(scope="session", autouse=True)
def model_schemas_are_made_once() -> Iterator[None]:
    """The schemas of an app's document, which are most of what an app costs, are the same in all apps."""
    make = cache(flask_openapi.utils.get_model_schema)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            flask_openapi.utils, "get_model_schema", lambda *args, **mode: copy.deepcopy(make(*args, **mode))
        )
        yield


@pytest.fixture(scope="session")
def connected(servers: Settings) -> Services:
    """Kept for the session: S3 clients take long to make."""
    # A fleet that is to have ControlNet workers.
    settings = servers.model_copy(update={"controlnet_workers": 1})
    services = connect(settings, read_catalog(settings.catalog))
    live_workers = LiveWorkersCache(services.control, cache_s=0)
    return replace(services, live_workers=live_workers, readiness_cache_s=0, estimates_cache_s=0)


@pytest.fixture(scope="session")
def app(connected: Services) -> OpenAPI:
    """Kept for the session: the OpenAPI document takes long to make."""
    return create_app(connected)


@pytest.fixture(scope="session")
def app_with(connected: Services) -> Callable[..., OpenAPI]:
    """Makes an app with some settings changed, one for all tests that change the same: it takes long."""

    @cache
    def make(**changes: object) -> OpenAPI:
        settings = connected.settings.model_copy(update=changes)
        return create_app(replace(connected, settings=settings))

    return make


@pytest.fixture
def services(connected: Services, empty_buckets: EmptyBuckets) -> Services:
    connected.control.flushdb()
    empty_buckets.empty(connected.loras, connected.images)
    return connected


@pytest.fixture
def client(app: OpenAPI, services: Services) -> FlaskClient:
    return app.test_client()


@pytest.fixture(scope="session")
def keyed(connected: Services) -> Services:
    """The same servers for an API that asks for keys; it looks every key up, and counts no wrong ones."""
    update = {"auth": "keys", "bootstrap_key": BOOTSTRAP_KEY, "auth_cache_s": 1e-6, "wrong_keys_per_min": 0}
    return replace(connected, settings=connected.settings.model_copy(update=update))


@pytest.fixture(scope="session")
def keyed_app(keyed: Services) -> OpenAPI:
    """Kept for the session, as `app`."""
    return create_app(keyed)


@pytest.fixture
def keyed_client(keyed_app: OpenAPI, services: Services) -> FlaskClient:
    """A client without a key; `services` has emptied the servers."""
    return keyed_app.test_client()


@pytest.fixture(scope="session")
def undocumented() -> Iterator[list[str]]:
    """Answers of any app that its OpenAPI document does not name by their status; bugs are its default."""
    found: list[str] = []
    paths: dict[str, Any] = {}  # of the document, which takes long to make and is the same for all

    def check(app: OpenAPI, response: Response, **_: object) -> None:
        if not paths:
            paths.update(app.api_doc["paths"])
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", request.url_rule.rule if request.url_rule else "")
        method = "get" if request.method == "HEAD" else request.method.lower()
        operation = paths.get(path, {}).get(method)
        if operation is not None and str(response.status_code) not in {*operation["responses"], "500"}:
            found.append(f"{method} {path}: {response.status_code}")

    with request_finished.connected_to(check):
        yield found


@pytest.fixture(autouse=True)
def every_answer_is_documented(undocumented: list[str]) -> Iterator[None]:
    undocumented.clear()
    yield
    assert undocumented == []
